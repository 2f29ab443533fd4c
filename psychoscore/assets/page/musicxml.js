// Notes as a score for piano on two staves, in MusicXML: bars, hands, spelling and ties as musicxml.py decides them.

import { rint } from "./model/arrays.js";
import { BAR, CUTS, NOMINAL, SIXTEENTH_S, SPAN, VALUES } from "./model/constants.js";
import { fifthsOf } from "./model/notes.js";

const FIFTHS = [..."FCGDAEB"];
const SIGNS = { "-1": "flat", 0: "natural", 1: "sharp" };
const TYPES = { 16: "whole", 12: "half", 8: "half", 6: "quarter", 4: "quarter", 3: "eighth", 2: "eighth", 1: "16th" }; // By sixteenths
const BEAT = 4, FULL_VELOCITY = 90; // Sixteenths under one beam; what MusicXML counts loudness in hundredths of

const modulo = (x, n) => (x % n + n) % n;
const range = n => [...Array(n).keys()];
const groupBy = (items, of) => items.reduce((groups, item) => groups.set(of(item), [...groups.get(of(item)) ?? [], item]), new Map());

// --- what is written

// A MIDI number as it is written in a key: the step, how many semitones it is altered by, the octave.
function spell(pitch, { fifths, mode }) {
  const lowest = fifths - (mode === "minor" ? 3 : 4); // the lowered sixth of major, or fifth of minor
  let place = lowest + modulo(7 * pitch - lowest, 12);
  if (place < -8 || place > 12) place -= 12 * Math.sign(place); // no double sharps or flats
  const alter = Math.floor((place + 1) / 7);
  return [FIFTHS[modulo(place + 1, 7)], alter, Math.floor((pitch - alter) / 12) - 1];
}

// Whether the right hand plays each note: the cheapest course of the cut between both hands.
function splitHands(notes) {
  const columns = groupBy(notes, note => note.onset), total = CUTS.map(() => 0), came = [];
  [...columns.values()].forEach((column, number) => {
    const cost = CUTS.map(cut => {
      let sum = 0;
      for (const { pitch } of column) sum += Math.exp(-Math.abs(pitch - cut) / 2);
      for (const isRight of [true, false]) {
        const hand = column.map(note => note.pitch).filter(pitch => pitch > cut === isRight);
        if (hand.length) sum += Math.max(Math.max(...hand) - Math.min(...hand) - SPAN, 0);
      }
      return sum + 0.02 * Math.abs(cut - 60);
    });
    if (!number) { cost.forEach((c, i) => { total[i] = c; }); return; }
    const ways = CUTS.map(to => range(CUTS.length).reduce((best, from) => {
      const way = total[from] + 0.15 * Math.abs(CUTS[from] - to);
      return way < best.way ? { way, from } : best;
    }, { way: Infinity }));
    came.push(ways.map(({ from }) => from));
    ways.forEach(({ way }, i) => { total[i] = way + cost[i]; });
  });
  const course = [total.indexOf(Math.min(...total))];
  for (const way of came.toReversed()) course.push(way[course.at(-1)]);
  const cuts = new Map([...columns.keys()].map((onset, i) => [onset, CUTS[course.at(-1 - i)]]));
  return notes.map(note => note.pitch > cuts.get(note.onset));
}

// A length as one value, or as several that are tied; `notes` is null for a rest.
function splitLength(start, length, notes) {
  const written = [];
  for (let place = start; place < start + length;) {
    const [size] = VALUES.find(([size, places]) => size <= start + length - place && places.includes(place % BAR));
    written.push({ start: place, length: size, begins: place === start, ends: place + size === start + length, notes });
    place += size;
  }
  return written;
}

// One hand as a row of note values and rests, without gaps.
function writeRhythm(notes, bars) {
  const groups = [...groupBy(notes, note => note.onset).values()], written = [];
  let end = 0;
  groups.forEach((group, i) => {
    const start = group[0].onset, following = groups[i + 1]?.[0].onset ?? bars * BAR;
    written.push(...splitLength(end, start - end, null));
    let held = Math.max(...group.map(note => note.length));
    if (held >= following - start - 1) held = following - start;
    written.push(...splitLength(start, held, group));
    end = start + held;
  });
  return [...written, ...splitLength(end, bars * BAR - end, null)];
}

// The beams of each value of a bar, outermost first: what is shorter than a beat and not parted by a rest, within a beat.
function beamsOf(bar) {
  const depth = w => w && w.notes && w.length < 4 ? (w.length < 2 ? 2 : 1) : 0, beat = w => Math.floor(w.start / BEAT);
  return bar.map((w, i) => range(depth(w)).flatMap(level => {
    const joins = other => depth(other) > level && beat(other) === beat(w), [before, after] = [joins(bar[i - 1]), joins(bar[i + 1])];
    if (before || after) return [before ? after ? "continue" : "end" : "begin"];
    if (!level) return [];
    const isBeamed = other => depth(other) > 0 && beat(other) === beat(w);
    return isBeamed(bar[i - 1]) ? ["backward hook"] : isBeamed(bar[i + 1]) ? ["forward hook"] : [];
  }));
}

// --- as XML

const element = (name, content, attributes = "") => `<${name}${attributes}>${content}</${name}>`;

function valueXml(w, staff, beams, key, shown) { // `shown`: what stands in the bar so far
  const duration = element("duration", w.length), voice = element("voice", staff), type = element("type", TYPES[w.length]) + (w.length % 3 ? "" : "<dot/>"), of = element("staff", staff);
  if (!w.notes) return element("note", `<rest${w.length === BAR ? ' measure="yes"' : ""}/>${duration}${voice}${type}${of}`);
  const ties = [...(w.begins ? [] : ["stop"]), ...(w.ends ? [] : ["start"])], loudness = Math.max(...w.notes.map(note => note.velocity));
  const tied = tag => ties.map(kind => `<${tag} type="${kind}"/>`).join("");
  return [...new Set(w.notes.map(note => note.pitch))].sort((a, b) => a - b).map((pitch, i) => {
    const [step, alter, octave] = spell(pitch, key), place = FIFTHS.indexOf(step), usual = Number(place < key.fifths) - Number(place >= 7 + key.fifths);
    const isShown = w.begins && (shown.get(step + octave) ?? usual) !== alter;
    if (w.begins) shown.set(step + octave, alter);
    const sounding = element("pitch", element("step", step) + (alter ? element("alter", alter) : "") + element("octave", octave));
    const rays = i ? "" : beams.map((kind, level) => element("beam", kind, ` number="${level + 1}"`)).join("");
    return element("note", `${i ? "<chord/>" : ""}${sounding}${duration}${tied("tie")}${voice}${type}${isShown ? element("accidental", SIGNS[alter]) : ""}${of}${rays}${ties.length ? element("notations", tied("tied")) : ""}`, ` dynamics="${(100 * loudness / FULL_VELOCITY).toFixed(2)}"`);
  }).join("\n");
}

// A document; the key by its name, such as "C# minor".
export function musicxml(notes, name) {
  const key = { fifths: fifthsOf(name), mode: name.split(" ")[1] };
  const grid = notes.map(({ onset_s, duration_s, pitch, velocity }) => ({ onset: rint(onset_s / SIXTEENTH_S), length: Math.max(rint(duration_s / SIXTEENTH_S), 1), pitch, velocity }));
  const right = splitHands(grid), bars = Math.ceil(Math.max(...grid.map(note => note.onset + note.length)) / BAR);
  const staves = [true, false].map(hand => groupBy(writeRhythm(grid.filter((_, i) => right[i] === hand), bars), w => Math.floor(w.start / BAR)));
  const opening = `<attributes><divisions>${BEAT}</divisions><key><fifths>${key.fifths}</fifths><mode>${key.mode}</mode></key><time><beats>4</beats><beat-type>4</beat-type></time><staves>2</staves>
<clef number="1"><sign>G</sign><line>2</line></clef><clef number="2"><sign>F</sign><line>4</line></clef></attributes>
<direction placement="above"><direction-type><words>${NOMINAL}</words></direction-type><staff>1</staff></direction>
<direction placement="above"><direction-type><metronome><beat-unit>quarter</beat-unit><per-minute>${60 / SIXTEENTH_S / BEAT}</per-minute></metronome></direction-type><staff>1</staff><sound tempo="${60 / SIXTEENTH_S / BEAT}"/></direction>`;
  const measures = range(bars).map(number => [`<measure number="${number + 1}">`, ...(number ? [] : [opening]), ...staves.flatMap((staff, i) => {
    const bar = staff.get(number), beams = beamsOf(bar), shown = new Map();
    return [...(i ? [`<backup><duration>${BAR}</duration></backup>`] : []), ...bar.map((w, j) => valueXml(w, i + 1, beams[j], key, shown))];
  }), "</measure>"].join("\n"));
  const title = `Piano piece in ${name}`;
  return `<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 4.0 Partwise//EN" "http://www.musicxml.org/dtds/partwise.dtd">
<score-partwise version="4.0">
<work><work-title>${title}</work-title></work>
<movement-title>${title}</movement-title>
<identification><creator type="composer">psychoscore</creator><encoding><supports element="accidental" type="yes"/><supports element="beam" type="yes"/></encoding></identification>
<part-list><score-part id="P1"><part-name>Piano</part-name><part-abbreviation>Pno</part-abbreviation><score-instrument id="P1-I1"><instrument-name>Piano</instrument-name></score-instrument><midi-instrument id="P1-I1"><midi-channel>1</midi-channel><midi-program>1</midi-program></midi-instrument></score-part></part-list>
<part id="P1">
${measures.join("\n")}
</part>
</score-partwise>
`;
}
