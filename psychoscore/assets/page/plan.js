// The plan under the roll: for each word a strip, which is a slider as well. A line is what is planned for each segment,
// dots are what it plays.

import { dark } from "./home.js";
import { DESCRIPTORS } from "./model/constants.js";
import { SEGMENT_S } from "./take.js";

const STEP = 0.05; // Of the height
const DOUBLE_MS = 400; // Between the two presses of a double click
const TOP_PX = 18, BOTTOM_PX = 4; // What of a strip is above and below its curve

// Values and places on the height, 0 to 1: all bins of a word are as high.
function makeScale({ low, high, edges }) {
  const knots = [Math.max(low, 2 * edges[0] - edges[1]), ...edges, Math.min(high, 2 * edges.at(-1) - edges.at(-2))], n = knots.length - 1;
  return {
    place(value) {
      if (value <= knots[0]) return 0;
      if (value >= knots[n]) return 1;
      const bin = knots.findIndex(knot => knot > value) - 1;
      return (bin + (value - knots[bin]) / (knots[bin + 1] - knots[bin])) / n;
    },
    value(place) {
      const at = Math.min(Math.max(place, 0), 1) * n, bin = Math.min(Math.floor(at), n - 1);
      return Math.round(1000 * (knots[bin] + (at - bin) * (knots[bin + 1] - knots[bin]))) / 1000;
    },
  };
}

// `words`: { word: { low, high } }; `onSet(word, value, isNew)` while one is moved, `onClear(word)` when it is given back.
export function createPlan(parent, { words, say, onSet, onClear }) {
  const rows = Object.entries(words).map(([word, { low, high }]) => {
    const strip = Object.assign(document.createElement("div"), { className: "strip", tabIndex: 0, id: `plan-${word}`, title: say.word(word, low, high) });
    for (const [key, value] of Object.entries({ role: "slider", "aria-label": strip.title, "aria-orientation": "vertical", "aria-valuemin": 0, "aria-valuemax": 100 })) strip.setAttribute(key, value);
    const canvas = document.createElement("canvas"), label = Object.assign(document.createElement("span"), { className: "of", textContent: word }), whose = Object.assign(document.createElement("span"), { className: "whose" });
    for (const part of [canvas, label, whose]) { part.setAttribute("aria-hidden", "true"); strip.append(part); }
    parent.append(strip);
    const row = { word, strip, canvas, whose, scale: makeScale(DESCRIPTORS.find(d => d.name === word)), own: null, planned: 0.5 };
    listen(row);
    return row;
  });

  function listen(row) {
    const { strip, word } = row;
    let isDown = false, pressed = -Infinity, isNew = true, lastKey = -Infinity;
    const set = (place, isNew) => { row.own = row.scale.value(place); show(row); onSet(word, row.own, isNew); };
    const clear = () => { row.own = null; show(row); onClear(word); };
    const at = event => { const box = strip.getBoundingClientRect(); return 1 - (event.clientY - box.top - TOP_PX) / (box.height - TOP_PX - BOTTOM_PX); };
    strip.addEventListener("pointerdown", event => {
      if (event.button) return;
      event.preventDefault();
      strip.setPointerCapture(event.pointerId);
      strip.focus({ focusVisible: false });
      if (event.timeStamp - pressed < DOUBLE_MS) { pressed = -Infinity; clear(); return; }
      [pressed, isDown, isNew] = [event.timeStamp, true, true];
    });
    strip.addEventListener("pointermove", event => { if (isDown) { set(at(event), isNew); isNew = false; } });
    strip.addEventListener("pointerup", event => { if (isDown && isNew) set(at(event), true); isDown = false; });
    strip.addEventListener("pointercancel", () => { isDown = false; });
    strip.addEventListener("keydown", event => {
      const moves = { ArrowUp: STEP, ArrowRight: STEP, ArrowDown: -STEP, ArrowLeft: -STEP, PageUp: 4 * STEP, PageDown: -4 * STEP, Home: -1, End: 1 };
      if (event.key === "Escape") clear();
      else if (event.key in moves) { set(placeNow(row) + moves[event.key], event.timeStamp - lastKey > 1500); lastKey = event.timeStamp; }
      else return;
      event.preventDefault();
    });
  }

  const placeNow = row => row.own === null ? row.planned : row.scale.place(row.own);

  function show(row) {
    const percent = Math.round(100 * placeNow(row));
    row.strip.classList.toggle("own", row.own !== null);
    row.whose.textContent = row.own === null ? "" : say.own;
    row.strip.setAttribute("aria-valuenow", percent);
    row.strip.setAttribute("aria-valuetext", `${percent} %, ${row.own === null ? say.planned : say.own}`);
    draw(row);
  }

  let take = null, from = 0, to = 24;

  function draw(row) {
    const { canvas, scale, word } = row, pen = canvas.getContext("2d"), style = getComputedStyle(canvas), colour = name => style.getPropertyValue(`--${name}`).trim();
    const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width) return;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) { canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio); }
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const x = time => (time - from) / (to - from) * width, y = place => height - BOTTOM_PX - place * (height - TOP_PX - BOTTOM_PX);
    let before = null;
    (take?.segments ?? []).forEach(({ plan: { [word]: planned } }, i) => {
      const [left, right] = [x(SEGMENT_S * i), x(SEGMENT_S * (i + 1))];
      const place = planned.from === null ? null : (scale.place(planned.from) + scale.place(planned.to)) / 2;
      if (place !== null) row.planned = place;
      if (right < 0 || left > width) { before = place; return; }
      if (place !== null) {
        pen.strokeStyle = take.asked[i].plan?.[word] === undefined ? colour("faint") : colour("accent");
        pen.lineWidth = 1.5;
        pen.beginPath();
        if (before !== null) { pen.moveTo(left, y(before)); pen.lineTo(left, y(place)); } else pen.moveTo(left, y(place));
        pen.lineTo(right, y(place));
        pen.stroke();
      }
      before = place;
      if (planned.played === null) return;
      pen.fillStyle = colour("head");
      pen.beginPath();
      pen.arc((left + right) / 2, y(scale.place(planned.played)), 2.5, 0, 7);
      pen.fill();
    });
    if (row.own !== null && take) { // what will be asked
      pen.strokeStyle = colour("accent");
      pen.lineWidth = 1.5;
      pen.setLineDash([3, 3]);
      pen.beginPath();
      pen.moveTo(Math.max(x(take.seconds), 0), y(scale.place(row.own)));
      pen.lineTo(width, y(scale.place(row.own)));
      pen.stroke();
      pen.setLineDash([]);
    }
  }

  new ResizeObserver(() => rows.forEach(draw)).observe(parent);
  dark.addEventListener("change", () => rows.forEach(draw));
  rows.forEach(show);
  return {
    // A take from one time to another, and what of its words is set by hand.
    show(newTake, begin, end, own) {
      [take, from, to] = [newTake, begin, end];
      for (const row of rows) { row.own = own[row.word] ?? null; show(row); }
    },
    move(begin, end) { [from, to] = [begin, end]; rows.forEach(draw); },
  };
}
