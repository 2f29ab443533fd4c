"""How fast the page's engine is in node, beside the kernel's instruction sets and numpy's referee on the same core.

They take turns, with the same tokens and at the same lengths; seconds are of computing, so that what else runs on the machine counts little.
Usage: OMP_NUM_THREADS=1 python bench/page.py [--rounds 9] [--out reports/bench/page.json]
"""
import json
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from bench.common import make_parser, run_script, write_json
from psychoscore.compose import Composer
from psychoscore.decoder import Decoder
from psychoscore.decoding import Noise
from psychoscore.kernel import KernelDecoder, _instruction_sets, make_kernel_weights
from psychoscore.profile import PsychometricProfile
from psychoscore.request import Request
from psychoscore.tokens import conditions

ASSETS = Path(__file__).parent.parent/"psychoscore/assets"
ROWS, LENGTH, STEPS, REFEREED, PLACES = (1, 4, 8), 300, 60, (100, 500, 1000), 200


def timed(run):
    "Seconds of computing."
    begun = time.process_time()
    run()
    return time.process_time() - begun


class Node:
    "The engine in a process of its own."
    def __init__(self, ids, folder):
        given = dict(engine=(ASSETS/"page/model/engine.js").as_uri(), wasm=str(ASSETS/"page/model/kernel.wasm"), weights=str(ASSETS/"model/model.safetensors"),
                     config=str(ASSETS/"model/config.json"), ids=ids.tolist(), held=conditions(ids).ravel().tolist())
        (path := Path(folder)/"given.json").write_text(json.dumps(given), encoding="utf-8")
        self.process = subprocess.Popen(["node", Path(__file__).with_suffix(".mjs"), path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def turn(self, *call):
        print(json.dumps(call), file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())


class Native:
    "The same turns in Python."
    def __init__(self, composer, ids): self.composer, self.ids, self.noise = composer, ids, Noise(0)

    def steps(self, name, rows):
        decoder = KernelDecoder(make_kernel_weights(self.composer.llama, name))
        decoder.prefill([self.ids[:LENGTH]]*rows)
        return timed(lambda: [decoder.step(np.full(rows, self.ids[LENGTH])) for _ in range(STEPS)])

    def referee(self, length): return timed(lambda: Decoder(self.composer.weights.double).prefill([self.ids[:length]]))

    def draw(self): return timed(lambda: [self.noise.at((place, 0, 0)) for place in range(PLACES)])


def main():
    parser = make_parser(__doc__, "bench/page.json")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    if shutil.which("node") is None: parser.error("node is not installed")
    composer = Composer.from_pretrained()
    ids = np.array(composer.compose_batch([Request(PsychometricProfile(0.5, 0.5), 45, 4)])[0].ids[:1000])
    native, runs = Native(composer, ids), {}
    with tempfile.TemporaryDirectory() as folder:
        node = Node(ids, folder)
        for rows in ROWS:
            runs["step", "page", rows] = lambda rows=rows: node.turn("steps", rows, LENGTH, STEPS)
            for name in _instruction_sets(): runs["step", name, rows] = lambda name=name, rows=rows: native.steps(name, rows)
        for length in REFEREED:
            runs["referee", "page", length] = lambda length=length: node.turn("referee", length)
            runs["referee", "numpy", length] = lambda length=length: native.referee(length)
        runs |= {("noise", "page", 1): lambda: node.turn("noise", PLACES), ("noise", "numpy", 1): native.draw}
        spent = {key: [] for key in runs}
        for turn in range(args.rounds + 1):  # the first warms up
            for key, run in runs.items():
                seconds = run()
                if turn: spent[key].append(seconds)
        version = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip()
        node.process.stdin.close()
        node.process.wait()
    median = {key: statistics.median(times) for key, times in spent.items()}
    steps = [dict(decodes_with=name, rows=size, tokens_per_s=size*STEPS/s) for (what, name, size), s in median.items() if what == "step"]
    referee = [dict(computes_with=name, tokens=size, s=s) for (what, name, size), s in median.items() if what == "referee"]
    noise = {name: 1000*s/PLACES for (what, name, _), s in median.items() if what == "noise"}
    write_json(dict(node=version, cpu=platform.processor() or platform.machine(), rounds=args.rounds, length=LENGTH, steps=steps, referee=referee, noise_ms_per_place=noise), args.out)
    for table in (steps, referee): print(pd.DataFrame(table).round(3).to_string(index=False))
    print(pd.Series(noise).round(4).to_string())


if __name__ == "__main__": run_script(main)
