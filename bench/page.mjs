// What bench/page.py measures in node: turns are asked for on standard input, one a line, and answered with seconds of computing.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const { engine: module, wasm, weights, config, ids, held } = JSON.parse(readFileSync(process.argv[2]));
const { loadEngine, makeNoise } = await import(module), bytes = path => new Uint8Array(readFileSync(path)).buffer;
const engine = await loadEngine({ wasm: bytes(wasm), weights: bytes(weights), config: JSON.parse(readFileSync(config)) });
const each = held.length / ids.length, tokens = Int32Array.from(ids), conditions = Int32Array.from(held), noise = makeNoise(0);
const prompt = n => [tokens.slice(0, n), conditions.slice(0, n * each)];
const repeated = (of, rows) => Int32Array.from({ length: of.length * rows }, (_, i) => of[i % of.length]);
function computing(run) {
  const begun = process.cpuUsage();
  run();
  const { user, system } = process.cpuUsage(begun);
  return (user + system) / 1e6;
}

const turns = {
  steps(rows, length, steps) {
    for (let row = 0; row < rows; row++) engine.add(...prompt(length));
    const next = [tokens.slice(length, length + 1), conditions.slice(length * each, length * each + each)].map(of => repeated(of, rows));
    const spent = computing(() => { for (let step = 0; step < steps; step++) engine.step(...next); });
    while (engine.lengths.length) engine.drop(0);
    return spent;
  },
  referee: length => computing(() => engine.referee(...prompt(length))),
  noise: places => computing(() => { for (let place = 0; place < places; place++) noise.at([place, 0, 0]); }),
};
for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...given] = JSON.parse(line);
  console.log(turns[name](...given));
}
