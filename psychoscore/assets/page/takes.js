// The takes side by side: each its notes, and what was asked for against what is heard along time.

import { DIMENSIONS, N_CIRCUMPLEX } from "./model/constants.js";
import { dark } from "./home.js";
import { SEGMENT_S, meanOf } from "./take.js";

const DASHES = [[], [4, 3], [1.5, 3]];

function paint(canvas, take) {
  const pen = canvas.getContext("2d"), style = getComputedStyle(canvas), colour = name => style.getPropertyValue(`--${name}`).trim();
  const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width) return;
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  const { notes } = take, seconds = Math.max(take.whole, 4 * SEGMENT_S), top = height * 0.52, x = time => time / seconds * width;
  const low = Math.min(43, ...notes.map(n => n.pitch)), high = Math.max(84, ...notes.map(n => n.pitch));
  pen.fillStyle = colour("note-mid");
  for (const n of notes) pen.fillRect(x(n.onset_s), 2 + (top - 4) * (high - n.pitch) / (high - low), Math.max(x(n.duration_s) - 0.5, 1), 1.5);
  pen.fillStyle = colour("grid");
  pen.fillRect(0, top, width, 1);
  const y = place => height - 4 - place * (height - top - 8);
  DIMENSIONS.forEach(({ name }, i) => {
    pen.strokeStyle = pen.fillStyle = colour(`dial-${i % DASHES.length}`);
    pen.lineWidth = 1.25;
    pen.setLineDash(DASHES[i % DASHES.length]);
    pen.beginPath();
    take.asked.forEach((asked, n) => { pen[n ? "lineTo" : "moveTo"](x(SEGMENT_S * n), y(asked[name])); pen.lineTo(x(SEGMENT_S * (n + 1)), y(asked[name])); });
    pen.stroke();
    if (i >= N_CIRCUMPLEX) return; // nothing hears it
    take.segments.forEach(({ heard }, n) => {
      const [across, up] = [x(SEGMENT_S * (n + 0.5)), y(heard[name])];
      if (i) pen.fillRect(across - 1.75, up - 1.75, 3.5, 3.5);
      else { pen.beginPath(); pen.arc(across, up, 2, 0, 7); pen.fill(); }
    });
  });
}

// `onChoose(take)` when one is pressed.
export function createTakes(list, { say, onChoose }) {
  const rows = new Map();
  const redraw = () => rows.forEach(({ canvas }, take) => paint(canvas, take));
  new ResizeObserver(redraw).observe(list);
  dark.addEventListener("change", redraw);

  function make(take) {
    const item = document.createElement("li"), button = Object.assign(document.createElement("button"), { type: "button", className: "take" });
    const canvas = document.createElement("canvas"), text = Object.assign(document.createElement("span"), { className: "about" }), curves = Object.assign(document.createElement("span"), { className: "unseen" });
    canvas.setAttribute("aria-hidden", "true");
    button.append(text, canvas, curves);
    button.addEventListener("click", () => onChoose(take));
    item.append(button);
    list.append(item);
    const row = { item, button, canvas, text, curves };
    rows.set(take, row);
    return row;
  }

  return {
    show(takes, current, isLive) {
      takes.forEach((take, i) => {
        const row = rows.get(take) ?? make(take), said = say.take(i + 1, take.seed, take.whole);
        row.text.textContent = take === current && isLive ? `${said} · ${say.live}` : said;
        row.button.toggleAttribute("aria-current", take === current);
        if (take === current) row.button.setAttribute("aria-current", "true");
        const n = take.segments.length, form = `${take.whole} ${n} ${take.segments.at(-1)?.notes.length} ${JSON.stringify(take.asked.at(-1))}`;
        if (row.form === form) return;
        row.form = form;
        row.curves.textContent = n ? `. ${say.curves(meanOf(take.asked), meanOf(take.segments.map(s => s.heard)))}` : "";
        paint(row.canvas, take);
      });
    },
  };
}
