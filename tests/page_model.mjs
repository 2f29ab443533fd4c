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
};

const { job, ...given } = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(await jobs[job](given)));
