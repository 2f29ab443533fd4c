// A piano roll on a canvas: time across, pitch up, velocity as colour.

import { dark } from "./home.js";

const LOW = 21, HIGH = 108; // the piano

function mix(from, to, share) { // two "#rrggbb"
  const channel = (colour, at) => parseInt(colour.slice(at, at + 2), 16);
  return `rgb(${[1, 3, 5].map(at => Math.round(channel(from, at) + share * (channel(to, at) - channel(from, at)))).join(" ")})`;
}

// `label(n)` says what it shows.
export function createRoll(canvas, label = n => n ? `Piano roll, ${n} notes` : "Piano roll, empty") {
  const pen = canvas.getContext("2d");
  let notes = [], seconds = 20, written = 0, head = 0, from = 0, to = 20; // What is seen lies between two times

  function draw() {
    const style = getComputedStyle(canvas), colour = name => style.getPropertyValue(`--${name}`).trim();
    const scale = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) { canvas.width = Math.round(width * scale); canvas.height = Math.round(height * scale); }
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    const lowest = Math.min(48, ...notes.map(n => n.pitch - 2)), highest = Math.max(84, ...notes.map(n => n.pitch + 2));
    const low = Math.max(LOW, lowest), row = height / (Math.min(HIGH, highest) - low + 1);
    const x = time => (time - from) / (to - from) * width, long = time => time / (to - from) * width, y = pitch => height - (pitch - low + 1) * row;
    pen.fillStyle = colour("grid");
    for (let pitch = low; pitch <= HIGH; pitch++) if ([1, 3, 6, 8, 10].includes(pitch % 12)) pen.fillRect(0, y(pitch), width, row);
    if (notes.length) for (let time = seconds % 4; time < Math.min(seconds, to); time += 4) pen.fillRect(x(time), 0, 1, height); // where segments begin
    for (const note of notes) {
      if (note.onset_s > to || note.onset_s + note.duration_s < from) continue;
      pen.fillStyle = mix(colour("note-low"), colour("note-high"), note.velocity / 127);
      pen.fillRect(x(note.onset_s), y(note.pitch), Math.max(long(note.duration_s) - 0.5, 1.5), Math.max(row - 0.5, 1.5));
    }
    if (written < Math.min(seconds, to) && written > 0) { // what is still to come
      const left = Math.max(x(written), 0);
      pen.fillStyle = colour("edge");
      pen.globalAlpha = 0.35;
      pen.fillRect(left, 0, width - left, height);
      pen.globalAlpha = 1;
    }
    pen.fillStyle = colour("head");
    if (notes.length) pen.fillRect(x(head) - 1, 0, 2, height);
  }

  new ResizeObserver(draw).observe(canvas);
  dark.addEventListener("change", draw);
  return {
    show(newNotes, length, writtenSoFar, begin = 0, end = length) {
      [notes, seconds, written, from, to] = [newNotes, length, writtenSoFar, begin, end];
      canvas.setAttribute("aria-label", label(notes.length));
      draw();
    },
    moveHead(time) { head = time; draw(); },
  };
}
