// Run the page's model in node: jobs in, as JSON; results out. What is asked for is a function below, by its name.

import { readFileSync } from "node:fs";

const folder = new URL("../psychoscore/assets/", import.meta.url), page = new URL("page/model/", folder), model = new URL("model/", folder);
const bytes = at => { const { buffer, byteOffset, length } = readFileSync(at); return buffer.slice(byteOffset, byteOffset + length); };
const json = name => JSON.parse(readFileSync(new URL(name, model), "utf8"));
const load = name => import(new URL(name, page));

async function makeComposer() {
  const [{ loadEngine }, { readPlanner }, { Composer }] = await Promise.all(["engine.js", "planner.js", "composer.js"].map(load));
  const engine = await loadEngine({ wasm: bytes(new URL("kernel.wasm", page)), weights: bytes(new URL("model.safetensors", model)), config: json("config.json") });
  return new Composer(engine, await readPlanner(bytes(new URL("planner.npz", model))), json("psychoscore.json"));
}

const told = (run, segments) => ({ ids: run.draft.ids, key: run.key, asked: run.asked, changes: run.changes, segments, notes: run.notes(), temperatures: run.draft.temperatures,
  midi: Buffer.from(run.midi()).toString("base64") });

const HEADER = ["LEFT", "TRAUMA", "ENTROPY"]; // Of which the grammar learns nothing

function until(run, number) { // Draw so many segments more
  for (const found = []; ;) {
    if (found.length === number || run.done) return found;
    const segment = run.step();
    if (segment) found.push(segment);
  }
}

const jobs = {
  async compose({ requests }) {
    const composer = await makeComposer(), found = [];
    for (const request of requests) {
      const began = performance.now(), run = composer.begin(request), segments = [];
      for await (const segment of run.segments()) segments.push(segment);
      found.push({ ...told(run, segments), seconds: (performance.now() - began) / 1000 });
    }
    return found;
  },

  // What may come at every token behind a header, as digits.
  async grammar({ pieces }) {
    const { Grammar } = await load("grammar.js"), { FAMILY } = await load("tokens.js");
    return pieces.map(({ ids, left, shift }) => {
      const grammar = new Grammar(left, shift), found = [];
      ids.slice(2).forEach((token, i) => {
        if (HEADER.includes(FAMILY[token]) || !i) return;
        found.push(grammar.allowed().join(""));
        grammar.push(token);
      });
      return found;
    });
  },

  async conditions({ pieces }) { const { conditions } = await load("tokens.js"); return pieces.map(ids => [...conditions(ids)]); },

  async headers({ vectors, left }) {
    const [{ headerIds }, { dynamicTemperature }] = await Promise.all(["tokens.js", "profile.js"].map(load));
    const numbers = vectors.map(vector => vector.map(value => value ?? NaN));
    return numbers.map(vector => ({ header: headerIds(left, vector), temperature: dynamicTemperature(vector) }));
  },

  async trajectories({ asked }) {
    const { asTrajectory, profileAt } = await load("profile.js");
    return asked.map(({ profile, seconds, at }) => at.map(s => profileAt(asTrajectory(profile, seconds), s)));
  },

  async plans({ draws }) {
    const { readPlanner } = await load("planner.js"), planner = await readPlanner(bytes(new URL("planner.npz", model)));
    return draws.map(({ dials, last, given, share }) => {
      const point = dials.map(value => value ?? NaN);
      return { isMinor: planner.isMinor(point, share), words: planner.draw(point, last, given, share), place: planner.placeOf(given) };
    });
  },

  async tonics({ seeds }) { const { drawTonic } = await load("request.js"); return seeds.map(seed => drawTonic(BigInt(seed))); },

  async keys({ pieces }) { const { estimateKey, keyName } = await load("notes.js"); return pieces.map(notes => keyName(estimateKey(notes))); },

  async warmed({ logits, allowed, temperature }) { const { warmed } = await load("draft.js"); return [...warmed(Float32Array.from(logits), Uint8Array.from(allowed), temperature)]; },

  async mismatches({ pieces }) {
    const [{ Draft }, { mismatch, playedValues }, { readPlanner }, { makeRequest }, { makeNoise }] = await Promise.all(["draft.js", "candidates.js", "planner.js", "request.js", "noise.js"].map(load));
    const planner = await readPlanner(bytes(new URL("planner.npz", model)));
    return pieces.map(({ request, ids, starts }) => {
      const draft = Object.assign(new Draft(makeRequest(request), { planner, keyRelative: true }, makeNoise(0)), { ids, starts });
      return starts.map((_, number) => ({ away: mismatch(draft, number), played: playedValues(draft, number) }));
    });
  },

  async quantised({ pieces }) {
    const { quantise } = await load("tokens.js");
    return pieces.map(notes => quantise(notes).map(n => [n.onset, n.duration, n.pitch, n.level]));
  },

  // The first token after a header, and whether the referee was asked.
  async draws({ cases }) {
    const [{ draw }, { Draft }, { makeRequest }, { makeNoise }, { readPlanner }] = await Promise.all(["decoding.js", "draft.js", "request.js", "noise.js", "planner.js"].map(load));
    const planner = await readPlanner(bytes(new URL("planner.npz", model)));
    return cases.map(({ request, logits }) => {
      const asked = makeRequest(request), draft = new Draft(asked, { planner, keyRelative: true }, makeNoise(asked.seed));
      draft.beginSegment();
      let isAsked = false;
      const token = draw(draft, Float64Array.from(logits), () => { isAsked = true; return Float64Array.from(logits); });
      return [token, isAsked];
    });
  },

  async midi({ pieces }) { const { midiBytes } = await load("smf.js"); return pieces.map(notes => Buffer.from(midiBytes(notes)).toString("base64")); },

  async musicxml({ pieces }) { const { musicxml } = await load("../musicxml.js"); return pieces.map(({ notes, key }) => musicxml(notes, key)); },

  // Other profiles are asked for while a piece is written.
  async follow({ request, profiles }) {
    const run = (await makeComposer()).begin(request);
    for (const profile of profiles) {
      run.change({ profile });
      until(run, 1);
      for (let i = 0; i < 5 && !run.done; i++) { run.step(); if (i === 3) run.change({ profile: { trauma: 1 } }); } // too late for the one that is begun
      if (!run.done) run.undo(0);
    }
    return told(run, []);
  },

  async goBack({ request, seed, temperature }) {
    const composer = await makeComposer(), begin = (...given) => composer.begin(...given), ids = (run, n = Infinity) => { until(run, n); return run.draft.ids; };
    const run = begin(request), found = { straight: ids(run) };
    run.undo(2);
    for (let i = 0; i < 30; i++) run.step();
    found.number = run.undo(0);
    found.rows = composer.engine.lengths.length;
    found.again = ids(run);
    run.undo(1);
    run.change({ seed });
    found.other = ids(run);
    found.repeated = ids(begin(run.asked, run.changes));
    const moved = begin(request);
    ids(moved, 1);
    moved.change({ temperature });
    ids(moved, 1);
    moved.undo(2);
    found.moved = ids(moved);
    return { ...found, changes: [run.changes, moved.changes], movedRepeated: ids(begin(moved.asked, moved.changes)) };
  },

  async endless({ request }) {
    const composer = await makeComposer(), run = composer.begin({ ...request, endless: true }), segments = until(run, 3);
    run.change({ profile: { trauma: 0.1, entropy: 0.8 }, plan: { density: 8 }, candidates: 1 });
    segments.push(...until(run, 2));
    run.change({ left: 1 });
    segments.push(...until(run, Infinity));
    const repeated = composer.begin(JSON.parse(JSON.stringify(run.asked)), JSON.parse(JSON.stringify(run.changes)));
    until(repeated, Infinity);
    return { ...told(run, segments), repeated: repeated.draft.ids };
  },

  async wrong({ requests }) {
    const { makeRequest } = await load("request.js");
    return requests.map(request => { try { makeRequest(request); return null; } catch (error) { return error.message; } });
  },
};

const { job, ...given } = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(await jobs[job](given)));
