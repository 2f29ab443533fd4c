// The composer beside the page: fetches the model, and composes the segments that it is asked for. A path is what is
// asked of every segment from the first on, { trauma, entropy, ..., plan, seed, candidates }; what two paths begin with
// in common is composed once.
//
// Told: { kind: "load", parts, key }, the addresses of the kernel and of the model's files, and the key that these need or
// null; { kind: "compose", ticket, path, prompt, vary }, the last of whose segments is wanted, in place of what was wanted
// before; { kind: "rest" }.
// Tells: { kind: "progress", loaded, total }; { kind: "ready", model, fetched }; { kind: "segment", ticket, number, ... };
// { kind: "error", message, during }, whose message is "unreachable", "key" where that is missing or wrong, or says what
// is wrong.

import { playedValues } from "./candidates.js";
import { Composer } from "./composer.js";
import { N_CIRCUMPLEX, DIMENSIONS } from "./constants.js";
import { binOf } from "./descriptors.js";
import { loadEngine } from "./engine.js";
import { NOT_KNOWN, readPlanner } from "./planner.js";

const PATIENCE_S = 60; // With a server that says that it will be ready
const BREATH_MS = 12; // For how long tokens are drawn before messages are heard

let composer, planner, run = null, opening = null, done = [], wanted = null, busy = false; // done: what was asked of each segment, as text

const tell = (kind, more) => postMessage({ kind, ...more });

async function get(url, { key = null, progress = () => {} } = {}) {
  let answer, waitedS = 0;
  for (;;) {
    try { answer = await fetch(url, { headers: key ? { "X-API-Key": key } : {} }); } catch { throw new Error("unreachable"); }
    const againS = answer.status === 503 ? Number(answer.headers.get("Retry-After")) : 0; // a server that is starting
    if (!againS || waitedS + againS > PATIENCE_S) break;
    waitedS += againS;
    await new Promise(go => setTimeout(go, 1000 * againS));
  }
  if (answer.status === 401) throw new Error("key");
  if (!answer.ok) throw new Error((await answer.json().catch(() => null))?.errors?.[0]?.message ?? `${answer.status}`); // what this package's server says, if it is one
  const parts = [], total = Number(answer.headers.get("Content-Length")) || 0;
  let loaded = 0;
  for (const reader = answer.body.getReader();;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    progress(loaded += value.length, Math.max(total, loaded));
  }
  return new Blob(parts).arrayBuffer();
}

async function load(parts, key) {
  const json = bytes => JSON.parse(new TextDecoder().decode(bytes));
  const [wasm, config, about, plans, weights] = await Promise.all(["wasm", "config", "about", "plans", "weights"].map(name =>
    get(parts[name], { key: name === "wasm" ? null : key, progress: name === "weights" ? (loaded, total) => tell("progress", { loaded, total }) : undefined })));
  planner = await readPlanner(plans);
  const name = crypto.subtle ? [...new Uint8Array(await crypto.subtle.digest("SHA-256", weights))].slice(0, 4).map(x => x.toString(16).padStart(2, "0")).join("") : null;
  composer = new Composer(await loadEngine({ wasm, weights, config: json(config) }), planner, json(about));
  tell("ready", { model: name, fetched: [location.href, ...performance.getEntriesByType("resource").map(entry => entry.name)] });
}

// --- composing

const asText = asked => JSON.stringify([profileOf(asked), asked.plan ?? null, asked.seed, asked.candidates]);

// Go back to where the run and a path part.
function turnTo({ path, prompt, vary }) {
  const texts = path.map(asText), first = done.findIndex((text, i) => text !== texts[i]), same = first < 0 ? Math.min(done.length, texts.length - 1) : Math.min(first, texts.length - 1);
  if (!run || run.asked.seed !== path[0].origin || opening !== JSON.stringify([prompt, vary])) {
    opening = JSON.stringify([prompt, vary]);
    run = composer.begin({ seed: path[0].origin, endless: true, prompt, vary, profile: profileOf(path[0]), candidates: path[0].candidates });
    done = [];
  } else done.length = run.undo(run.told - same);
}

const profileOf = asked => Object.fromEntries(DIMENSIONS.map(({ name }) => [name, asked[name]]));

function ask({ plan, seed, candidates, ...asked }) { run.change({ profile: profileOf(asked), plan: plan ?? null, seed, candidates }); }

const turn = new MessageChannel(), waiting = []; // A turn for messages, without the wait of a timer
turn.port1.onmessage = () => waiting.shift()();
const breathe = () => new Promise(go => { waiting.push(go); turn.port2.postMessage(null); });

async function work() {
  if (busy) return;
  busy = true;
  let job = null, began = 0, breath = performance.now();
  try {
    while (wanted) {
      if (job !== wanted) {
        job = wanted;
        turnTo(job);
        began = performance.now();
        ask(job.path[done.length]);
      }
      const segment = run.step();
      if (segment) {
        done.push(asText(job.path[segment.number]));
        if (done.length === job.path.length) { wanted = null; tell("segment", { ticket: job.ticket, ...told(segment), tookS: (performance.now() - began) / 1000 }); }
        else { tell("progress", { loaded: done.length, total: job.path.length, ticket: job.ticket }); ask(job.path[done.length]); }
      }
      if (performance.now() - breath > BREATH_MS) { await breathe(); breath = performance.now(); }
    }
  } finally { busy = false; }
}

// A segment, and where the real ones that sound like it lie: the mean place that the planner gives for what it plays.
function told(segment) {
  const place = planner.placeOf([NOT_KNOWN, ...binOf(playedValues(run.draft, segment.number))]);
  const heard = Object.fromEntries(DIMENSIONS.slice(0, N_CIRCUMPLEX).map(({ name }, i) => [name, place[i]]));
  const { starts, ids } = run.draft;
  return { number: segment.number, notes: segment.notes, plan: segment.plan, key: segment.key, heard, ids: ids.slice(starts[segment.number], starts[segment.number + 1] ?? ids.length) };
}

const failed = during => error => { wanted = null; run = null; done = []; tell("error", { message: error.message, during }); };

onmessage = ({ data: { kind, parts, key, ticket, path, prompt, vary } }) => {
  if (kind === "load") load(parts, key).catch(failed("load"));
  else if (kind === "rest") wanted = null;
  else if (kind === "compose") { wanted = { ticket, path, prompt, vary }; work().catch(failed("compose")); }
};
