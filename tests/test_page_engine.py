"The engine of the page, in node: kernel.wasm is what its sources give, its logits are Python's, and so is its noise."
import base64
import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from psychoscore.compose import Composer
from psychoscore.decoder import Decoder, make_weights
from psychoscore.decoding import MARGIN, Noise
from psychoscore.profile import PsychometricProfile
from psychoscore.request import Request
from psychoscore.tokens import CONDITIONS, N_CONDITION_ROWS, conditions
from psychoscore.weights import SIZES, LlamaWeights, expected_tensors, read_shape, rotary_angles, widened

ROOT = Path(__file__).parent.parent
PAGE, MODEL = ROOT/"psychoscore/assets/page/model", ROOT/"psychoscore/assets/model"
node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
DRIVER = """
import { readFileSync } from "node:fs";
const { loadEngine, makeNoise } = await import(process.argv[1]);
const bytes = path => { const file = readFileSync(path); return file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength); };
const encoded = array => ({ type: array.constructor.name, bytes: Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("base64") });
const { files, calls } = JSON.parse(readFileSync(0)), pasts = [], noises = {};
const engine = files && await loadEngine({ wasm: bytes(files.wasm), weights: bytes(files.weights), config: JSON.parse(readFileSync(files.config)) });
const tokens = array => Int32Array.from(array);
const does = {
  add: (ids, held) => { const { row, logits } = engine.add(tokens(ids), tokens(held)); return [row, encoded(logits)]; },
  reset: (row, ids, held) => encoded(engine.reset(row, tokens(ids), tokens(held))),
  step: (ids, held) => encoded(engine.step(tokens(ids), tokens(held))),
  referee: (ids, held) => encoded(engine.referee(tokens(ids), tokens(held))),
  fork: (row, copies) => engine.fork(row, copies),
  drop: row => engine.drop(row),
  take: row => { pasts.push(engine.take(row)); },
  put: () => engine.put(pasts.pop()),
  lengths: () => [...engine.lengths],
  turns: () => engine.turns.map(encoded),
  noise: (seed, place, branch) => encoded((noises[seed] ??= makeNoise(BigInt(seed))).at(place, branch)),
};
const answers = calls.map(([name, ...given]) => { try { return does[name](...given) ?? null; } catch (error) { return { error: error.message }; } });
process.stdout.write(JSON.stringify(answers));
"""


def decoded(answer):
    if isinstance(answer, dict) and "bytes" in answer:
        return np.frombuffer(base64.b64decode(answer["bytes"]), {"Float32Array": np.float32, "Float64Array": np.float64}[answer["type"]])
    return [decoded(part) for part in answer] if isinstance(answer, list) else answer


def run(calls, folder=MODEL, engine=True):
    "What the page's engine answers to one call after another."
    files = dict(wasm=str(PAGE/"kernel.wasm"), weights=str(folder/"model.safetensors"), config=str(folder/"config.json")) if engine else None
    ran = subprocess.run(["node", "--input-type=module", "-e", DRIVER, "--", (PAGE/"engine.js").as_uri()],
                         input=json.dumps(dict(files=files, calls=calls)), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return decoded(json.loads(ran.stdout))


def flat(ids): return conditions(np.asarray(ids)).ravel().tolist()


@pytest.fixture(scope="module")
def composer(): return Composer.from_pretrained()


@pytest.fixture(scope="module")
def ids(composer):
    "A piece as long as the context."
    return np.array(composer.compose_batch([Request(PsychometricProfile(0.5, 0.5), 45, 4)])[0].ids[:1000])


@pytest.fixture(scope="module")
def made():
    spec = importlib.util.spec_from_file_location("make_wasm", ROOT/".ci/make_wasm.py")
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    return module


def test_no_source_changed_since_the_kernel_was_compiled(made):
    section = made.custom_section(made.SECTION, made.sources_sha256().encode())
    assert made.WASM.read_bytes().endswith(section), "compile it again: python .ci/make_wasm.py"


def clang_version(): return re.search(r"version (\d+)", subprocess.run(["clang", "--version"], capture_output=True, text=True).stdout)[1]


@pytest.mark.skipif(not (shutil.which("clang") and shutil.which("wasm-ld")), reason="clang and wasm-ld are not installed (Debian: clang, lld)")
def test_the_kernel_is_what_its_sources_give(made, tmp_path):
    if clang_version() != "14": pytest.skip(f"clang is of version {clang_version()}, and another than 14 writes other bytes")
    made.make(tmp_path/"kernel.wasm")
    assert (tmp_path/"kernel.wasm").read_bytes() == made.WASM.read_bytes()


@node
def test_logits_are_those_of_double_precision_within_the_margin(composer, ids):
    "A whole context, a token at a time: the referee's margin holds for the page, too."
    start, exact = 20, Decoder(composer.weights.double)
    right = [exact.prefill([ids[:start]])] + [exact.step([token]) for token in ids[start:]]
    held = conditions(ids)
    (row, first), *rest = run([["add", ids[:start].tolist(), held[:start].ravel().tolist()]] +
                              [["step", [int(token)], now.tolist()] for token, now in zip(ids[start:], held[start:])])
    found = np.stack([first, *rest])
    assert row == 0 and found.dtype == np.float32
    error = found - np.concatenate(right)
    assert 0 < (error.max(1) - error.min(1)).max() < MARGIN # by how much two logits may change places


@node
def test_the_referee_has_pythons_logits(composer, ids):
    lengths, double = (1, 2, 7, 100, 333, 1000), Decoder(composer.weights.double)
    for n, found in zip(lengths, run([["referee", ids[:n].tolist(), flat(ids[:n])] for n in lengths])):
        assert found.dtype == np.float64 and np.abs(found - double.prefill([ids[:n]], [0])[0]).max() < 1e-9


@node
def test_positions_turn_as_in_python(composer):
    "To the last bit of what enters float32."
    angles = rotary_angles(composer.llama.shape).ravel()
    for found, f in zip(run([["turns"]])[0], (np.cos, np.sin)):
        assert np.array_equal(found.astype(np.float32), f(angles).astype(np.float32)) and np.abs(found - f(angles)).max() < 1e-15


class Twin:
    "Random rows: what to ask of the engine, and what Python's decoder answers."
    def __init__(self, weights, ids, seed, no_conditions=False):
        self.decoder, self.ids, self.rng, self.no_conditions = Decoder(weights), ids, np.random.default_rng(seed), no_conditions
        self.pasts, self.calls, self.right = [], [], []

    def held(self, held): return [] if self.no_conditions else np.asarray(held).ravel().tolist()

    def ask(self, *call, right=None): self.calls.append(list(call)); self.right.append(right)

    def prompt(self):
        start = self.rng.integers(len(self.ids) - 40)
        return self.ids[start:start + self.rng.integers(1, 40)]

    def act(self):
        decoder, n, kind = self.decoder, len(self.decoder.lengths), self.rng.integers(10)
        if n == 0 or kind == 0:
            prompt = self.prompt()
            self.ask("add", prompt.tolist(), self.held(conditions(prompt)), right=[n, decoder.prefill([prompt])[0]])
        elif kind == 1:
            row, prompt = int(self.rng.integers(n)), self.prompt()
            self.ask("reset", row, prompt.tolist(), self.held(conditions(prompt)), right=decoder.prefill([prompt], [row])[0])
        elif kind == 2 and n < 12:
            row, copies = int(self.rng.integers(n)), int(self.rng.integers(1, 4))
            decoder.fork(row, copies); self.ask("fork", row, copies)
        elif kind == 3: row = int(self.rng.integers(n)); decoder.drop(row); self.ask("drop", row)
        elif kind == 4: row = int(self.rng.integers(n)); self.pasts.append(decoder.take(row)); self.ask("take", row)
        elif kind == 5 and self.pasts: decoder.put(self.pasts.pop()); self.ask("put")
        else:
            tokens = self.rng.choice(self.ids, n)
            logits = decoder.step(tokens)
            self.ask("step", tokens.tolist(), self.held(decoder.held), right=logits.ravel())
        self.ask("lengths", right=decoder.lengths.tolist())

    def compare(self, found):
        worst = 0
        for call, right, got in zip(self.calls, self.right, found):
            assert not (isinstance(got, dict) and "error" in got), (call[0], got)
            if call[0] == "add": assert got[0] == right[0]; right, got = right[1], got[1]
            if isinstance(right, np.ndarray): worst = max(worst, np.abs(got - right).max())
            elif right is not None: assert got == right, call
        return worst


@node
def test_rows_come_and_go_as_in_python(composer, ids):
    "Two hundred random calls: begun, forked, taken out, put back, dropped and begun anew, against double precision."
    twin = Twin(composer.weights.double, ids, seed=0)
    for _ in range(200): twin.act()
    assert {call[0] for call in twin.calls} == {"add", "reset", "fork", "drop", "take", "put", "step", "lengths"}
    assert 0 < twin.compare(run(twin.calls)) < MARGIN # of texts that are no music


@node
def test_a_row_has_the_same_bits_in_any_company(ids):
    "Alone, and among up to ten others of other lengths."
    held, many, lengths, calls = conditions(ids), 12, [20 + 37*row for row in range(11)], []
    groups = [*([n] for n in lengths), *(lengths[:size] for size in (2, 3, 4, 5, 6, 7, 8, 11))]
    for rows in groups:
        calls += [["add", ids[:n].tolist(), held[:n].ravel().tolist()] for n in rows]
        calls += [["step", *(np.concatenate([of[[n + t]] for n in rows]).ravel().tolist() for of in (ids, held))] for t in range(many)]
        calls += [["drop", 0]]*len(rows)
    answers, alone = iter(run(calls)), {}
    for rows in groups:
        after = np.stack([next(answers)[1] for _ in rows])[None]
        after = np.concatenate([after, [next(answers).reshape(len(rows), -1) for _ in range(many)]])
        assert [next(answers) for _ in rows] == [None]*len(rows)
        for row, n in enumerate(rows): assert np.array_equal(after[:, row], alone.setdefault(n, after[:, row])), (n, len(rows))


def write_model(folder, shape_of, seed=0, tied=False, dtype="BF16"):
    "A random model, as save_model writes one; gives it as Python reads it."
    config = {name: shape_of[field] for field, name in SIZES.items()} | dict(
        rms_norm_eps=1e-5, rope_parameters=dict(rope_theta=5000.0), condition_rows=shape_of.get("condition_rows", 0), tie_word_embeddings=tied)
    shape, rng = read_shape(config, "here"), np.random.default_rng(seed)
    halves = {name: (rng.normal(size=of).astype(np.float32)*0.2).view(np.uint32) >> 16 for name, of in expected_tensors(shape).items()
              if not (tied and name == "lm_head.weight")}
    halves = {name: of.astype(np.uint16) for name, of in halves.items()}
    text = {name: dict(dtype=dtype, shape=list(of.shape), data_offsets=None) for name, of in halves.items()}
    at = 0
    for name, of in halves.items(): text[name]["data_offsets"] = [at, at := at + of.nbytes]
    header = json.dumps(text).encode()
    (folder/"config.json").write_text(json.dumps(config))
    (folder/"model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"".join(of.tobytes() for of in halves.values()))
    tensors = {name: widened(dict(dtype="BF16", shape=of.shape, data=of.tobytes())) for name, of in halves.items()}
    return LlamaWeights(shape, tensors | ({"lm_head.weight": tensors["model.embed_tokens.weight"]} if tied else {}))


SMALL = dict(width=64, layers=2, heads=2, mlp_width=192, context=96, vocabulary=583)


@node
@pytest.mark.parametrize("more", [{}, dict(condition_rows=N_CONDITION_ROWS), dict(width=192, heads=2, mlp_width=64, layers=1)])
@pytest.mark.parametrize("tied", [False, True])
def test_models_of_other_shapes(tmp_path, ids, more, tied):
    llama = write_model(tmp_path, SMALL | more, tied=tied)
    bare = not llama.shape.condition_rows
    twin = Twin(make_weights(llama, np.float64), ids, 1, no_conditions=bare)
    while len(twin.calls) < 60 and twin.decoder.lengths.max(initial=0) < llama.shape.context: twin.act()
    prompt = ids[:50]
    twin.ask("referee", prompt.tolist(), twin.held(conditions(prompt)), right=Decoder(make_weights(llama, np.float64)).prefill([prompt])[0])
    *found, referee = run(twin.calls, tmp_path)
    assert np.abs(referee - twin.right[-1]).max() < 1e-9 and 0 < twin.compare(found) < 1e-4


@node
def test_what_cannot_be_is_told(ids):
    n, held = 5, flat(ids[:5])
    some, K = ids[:n].tolist(), len(CONDITIONS)
    wrong = [["add", [], []], ["add", some, []], ["add", some, held[:-1]], ["add", [583], held[:K]], ["add", [-1], held[:K]], ["add", [1], [N_CONDITION_ROWS]*K],
             ["add", [1]*1025, [0]*K*1025], ["referee", [1]*1025, [0]*K*1025], ["step", [], []], ["step", [1], [0]*K]]
    answers = run([*wrong, ["lengths"], ["add", [1]*1024, [0]*K*1024], ["step", [1], [0]*K], ["lengths"]])
    *refused, lengths, (row, _), full, after = answers
    assert all("error" in answer for answer in [*refused, full]) and (lengths, row, after) == ([], 0, [1024])
    assert "1 to 1024 tokens, got 1025" in full["error"]


@node
@pytest.mark.parametrize("change, says", [(dict(dtype="F16"), "must be BF16"), (dict(shape_of=SMALL | dict(width=32, heads=1)), "does not take this model: width"),
                                          (dict(tied=True), "lm_head.weight has no numbers")])
def test_a_model_that_the_page_cannot_take_is_told(tmp_path, change, says):
    write_model(tmp_path, **dict(shape_of=SMALL) | change)
    config = json.loads((tmp_path/"config.json").read_text())
    (tmp_path/"config.json").write_text(json.dumps(config | dict(tie_word_embeddings=False)))
    with pytest.raises(AssertionError, match=says): run([], tmp_path)


@node
def test_noise_is_numpys():
    "A million draws of many seeds, places and branches: the unlikely parts of the ziggurat among them."
    rng = np.random.default_rng(0)
    seeds = [0, 1, 12345, 2**31 - 1, 2**32, 2**53 + 1, 2**63 - 1, 2**64, 10**50, *map(int, rng.integers(2**63, size=11))]
    asked = [(seed, [int(x) for x in rng.integers(1, 2**size, 3)], int(branch)) for seed in seeds
             for size, branch in zip(rng.choice([4, 12, 31, 33, 50], 86), rng.choice([0, 1, 7, 2**31, 2**32 - 1], 86))]
    found = np.stack(run([["noise", str(seed), place, branch] for seed, place, branch in asked], engine=False))
    right = np.stack([Noise(seed).at(tuple(place), branch) for seed, place, branch in asked])
    assert right.size > 1e6 and (right < -np.log(7.697117470131050)).sum() > 100 # beyond the last layer
    assert np.abs(found - right).max() < 1e-12
