"The kernel: it draws what numpy draws, it reads and writes nowhere else, and whoever has no compiler goes without."
import ast
import os
import pickle
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest

from psychoscore.compose import Composer
from psychoscore.kernel import ENVIRONMENT, KernelDecoder, _instruction_sets, choose_kernel, make_kernel_weights
from psychoscore.notes import midi_bytes
from psychoscore.profile import PsychometricProfile
from psychoscore.request import Request

ROOT = Path(__file__).parent.parent
SETS = _instruction_sets()
kernel = pytest.mark.skipif(not SETS, reason=f"no kernel here: {choose_kernel().why}")
compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
REQUESTS = [Request(PsychometricProfile(trauma, entropy), seconds, seed)
            for seed, (trauma, entropy, seconds) in enumerate([(0, 0, 1), (1, 0, 6), (0, 1, 12), (1, 1, 4), (0.5, 0.5, 45)])]


@pytest.fixture
def pieces(monkeypatch):
    "Compose with what is forced."
    def compose(name, together):
        monkeypatch.setenv(ENVIRONMENT, name)
        composer = Composer.from_pretrained()
        return composer.compose_batch(REQUESTS) if together else [composer.compose_batch([request])[0] for request in REQUESTS]
    return compose


@kernel
def test_the_kernel_and_numpy_write_the_same_pieces(pieces):
    "Whatever decodes, alone and together; one of them is longer than the context."
    right = [midi_bytes(piece.notes) for piece in pieces("numpy", True)]
    assert len(set(right)) == len(REQUESTS)
    for name in SETS:
        for together in (False, True): assert [midi_bytes(piece.notes) for piece in pieces(name, together)] == right, (name, together)


@kernel
def test_a_margin_above_twice_the_error(monkeypatch):
    "The referee's margin holds for the packaged weights over a whole context."
    from psychoscore.decoder import Decoder
    from psychoscore.decoding import MARGIN
    composer = Composer.from_pretrained()
    ids = composer.compose_batch([REQUESTS[-1]])[0].ids[:1000]
    exact, worst = Decoder(composer.weights.double), 0
    for n in (30, 300, 1000):
        right = exact.prefill([ids[:n]], [0])[0]
        found = {name: KernelDecoder(make_kernel_weights(composer.llama, name)).prefill([ids[:n]])[0] for name in SETS}
        assert len({logits.tobytes() for logits in found.values()}) == 1
        worst = max(worst, *(np.abs(logits - right).max() for logits in found.values()))
    assert 0 < 2*worst < MARGIN


FLAGS = ast.literal_eval(re.search(r"extra_compile_args=(\[.*?\])", (ROOT/"setup.py").read_text(encoding="utf-8"), re.DOTALL)[1])
LOGITS = "12 rounds, logits fef247dff043e6dd\n" # of random models, whatever compiles and runs the kernel


def compile_and_run(folder, compiler, *options, runner=()):
    "The fuzzed driver of csrc; None where its libraries are not installed."
    program = folder/"fuzz"
    built = subprocess.run([compiler, "-std=c11", "-ffp-contract=off", *options, ROOT/"csrc/kernel.c", ROOT/"csrc/fuzz.c", "-lm", "-o", program],
                           capture_output=True, text=True)
    if "cannot find" in built.stderr: return None
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([*runner, program, "12", "1"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_dropped_row_leaves_nothing_behind():
    "Not even what is no number."
    model = Composer.from_pretrained()
    for name in SETS:
        weights = make_kernel_weights(model.llama, name)
        decoder, clean = KernelDecoder(weights), KernelDecoder(weights)
        decoder.prefill([[1, 2, 3, 4, 5]])
        decoder.caches[0][:] = np.nan
        decoder.drop(0)
        for prompt in ([5], [5, 6], [5, 6, 7]): assert np.array_equal(decoder.prefill([prompt], [0]), clean.prefill([prompt], [0]))


def test_another_process_chooses_for_itself(monkeypatch):
    "What was laid out for this machine stays here; a composer for torch, too."
    composer = Composer.from_pretrained()
    cold, right = len(pickle.dumps(composer)), composer.compose_batch(REQUESTS[:1])[0].ids
    assert composer.model is not None
    assert len(again := pickle.dumps(composer)) == cold
    monkeypatch.setenv(ENVIRONMENT, "numpy")
    assert (other := pickle.loads(again)).weights.kernel is None and np.array_equal(other.compose_batch(REQUESTS[:1])[0].ids, right)


def test_a_wrong_choice_is_told_before_a_server_listens(command, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, "mmx")
    for words in (["compose", "--trauma", 0.5, "-o", "-"], ["serve", "--port", 0]):
        result = command(*words)
        assert (result.returncode, result.stderr.count("\n")) == (2, 1) and "must be one of numpy" in result.stderr, result.stderr


@kernel
def test_a_kernel_that_is_asked_for_and_cannot_be_had_is_told(command, monkeypatch, tmp_path):
    "A model that is too narrow for it: an error when it is forced, numpy else."
    from psychoscore.model import ModelConfig, make_model, save_model
    save_model(make_model(ModelConfig(width=32, layers=1, heads=2, mlp_width=64, context=512)), tmp_path/"narrow", {"key_relative": True})
    compose = ["compose", "--trauma", 0.5, "--seconds", 1, "--model", tmp_path/"narrow", "-o", tmp_path/"piece.mid"]
    monkeypatch.setenv(ENVIRONMENT, SETS[-1])
    said = command(*compose)
    assert (said.returncode, said.stderr.count("\n")) == (2, 1) and f"asks for {SETS[-1]}, but the kernel does not take this model: width" in said.stderr, said.stderr
    for allowed in ("", "numpy"):
        monkeypatch.setenv(ENVIRONMENT, allowed)
        assert command(*compose).returncode == 0


@compiler
@pytest.mark.skipif(not SETS, reason="this processor runs no variant of the kernel")
@pytest.mark.parametrize("options", [["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"], ["-ffast-math", *FLAGS], ["-O0"]])
def test_sanitizers_find_nothing_and_bits_do_not_depend_on_the_compiler(tmp_path, options):
    said = compile_and_run(tmp_path, "gcc", "-Wall", "-Wextra", "-Werror", "-Wno-psabi", *options)
    if said is None: pytest.skip("the sanitizers' libraries are not installed")
    assert said == LOGITS


ARM, QEMU = (shutil.which(name) for name in ("aarch64-linux-gnu-gcc", "qemu-aarch64"))


@pytest.mark.skipif(not (ARM and QEMU), reason="gcc-aarch64-linux-gnu and qemu-user are not installed")
def test_neon_has_the_same_bits(tmp_path):
    assert compile_and_run(tmp_path, ARM, "-O3", "-static", runner=[QEMU]) == LOGITS


@pytest.mark.skipif(shutil.which("clang") is None, reason="clang is not installed")
def test_clang_makes_the_same_bits(tmp_path):
    assert compile_and_run(tmp_path, "clang", "-O3", "-fno-math-errno", "-Wno-psabi") == LOGITS


@kernel
def test_what_reaches_c_is_checked():
    "Wrong buffers are a ValueError, and nothing else happens: ten thousand wrong calls."
    from psychoscore import _kernel
    shape, rng = (1, 1, 64, 64, 10, 32, 2, 5, 1e-6), np.random.default_rng(0)
    sizes = _kernel.sizes(shape, 2)
    def arguments():
        return [SETS[0], shape, np.zeros(sizes["weights"], np.float32), False, np.zeros(sizes["plain"], np.float32), np.zeros(2, np.int32),
                np.zeros((2, 2), np.int32), np.zeros(2, np.int32), [np.zeros(sizes["cache"], np.float32) for _ in range(2)], np.zeros((2, sizes["logits"]), np.float32),
                np.zeros(sizes["work"], np.float32)]
    assert _kernel.step(*arguments()) is None
    wrong = [lambda a: a[:-1].astype(a.dtype), lambda a: a.astype(np.float64), lambda a: a[::2], lambda a: a.tobytes(), lambda a: None, lambda a: np.zeros(3, "V0")]
    for _ in range(10_000):
        given, number = arguments(), rng.integers(2, 11)
        if number == 3: given[3] = True # weights of another type
        elif number == 5: given[5] = np.array([0, rng.choice([-1, 10, 2**31 - 1])], np.int32)
        elif number == 6: given[6] = np.array([[0, rng.choice([-1, 5, 2**31 - 1])], [0, 0]], np.int32)
        elif number == 7: given[7] = np.array([rng.choice([-1, 32, 2**31 - 1]), 0], np.int32)
        elif number == 8: given[8] = [given[8][0], rng.choice(wrong)(given[8][1])]
        else: given[number] = rng.choice(wrong[:-3] if number == 10 else wrong)(given[number])
        if number == 10 and isinstance(given[10], np.ndarray) and given[10].dtype == np.float32 and given[10].flags.c_contiguous and len(given[10]) >= sizes["work"]: continue
        with pytest.raises((ValueError, TypeError, BufferError)): _kernel.step(*given)
    right = (1, 1, 64, 64, 10, 32, 2, 5, 1e-6)
    for place, value in ((0, 0), (2, 65), (5, 33), (0, 2**30), (1, 4), (6, 0), (7, 0), (6, -1), (7, -1)):
        with pytest.raises(ValueError): _kernel.sizes((*right[:place], value, *right[place + 1:]), 2)


def build(out, **environment):
    "The wheel of this checkout, from a copy: building leaves folders behind."
    source = out/"source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".git", ".venv", "nbs", "tests", "reports", "bench", "build", "*.so", "*.egg-info", "out", "data", "_docs"))
    (in_place := source/"psychoscore/_kernel.abi3.so").write_bytes(b"an editable install's")
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", out, source], check=True, env=os.environ | environment)
    assert in_place.read_bytes() == b"an editable install's"
    return next(out.glob("psychoscore-*.whl"))


@pytest.mark.parametrize("environment", [{"CC": "/bin/false"}, {"PSYCHOSCORE_PURE": "1"}])
def test_without_a_compiler_the_wheel_decodes_with_numpy(tmp_path, environment):
    wheel = build(tmp_path, **environment)
    names = zipfile.ZipFile(wheel).namelist()
    assert "psychoscore/kernel.py" in names and not [name for name in names if name.endswith(".so")]
    assert wheel.name.endswith("-py3-none-any.whl"), "it would be refused where it works"
    zipfile.ZipFile(wheel).extractall(tmp_path/"site")
    script = """
import psychoscore
from psychoscore.compose import Composer
from psychoscore.kernel import choose_kernel
from psychoscore.profile import PsychometricProfile
piece = Composer.from_pretrained().compose(PsychometricProfile(0.5, 0.5), seconds=4, seed=0)
print(psychoscore.__file__, choose_kernel().why, len(piece.notes) > 0)
"""
    told = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path/"site")}, capture_output=True, text=True)
    assert str(tmp_path) in told.stdout and "installed without the kernel" in told.stdout and told.stdout.endswith("True\n"), told.stdout + told.stderr


can_compile = pytest.mark.skipif(not (Path(sysconfig.get_path("include"))/"Python.h").is_file() or shutil.which("gcc") is None,
                                 reason="gcc or Python's headers are not installed")


@can_compile
def test_the_extension_compiles_without_a_warning(tmp_path):
    built = subprocess.run(["gcc", "-std=c11", "-O1", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror", "-Wno-psabi", f"-I{sysconfig.get_path('include')}",
                            ROOT/"csrc/kernel.c", ROOT/"csrc/module.c", "-o", tmp_path/"_kernel.so"], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr


@can_compile
def test_what_does_not_compile_leaves_nothing_old(tmp_path):
    "A kernel of an earlier build would compute with a layout that is no longer that of the package."
    for folder in ("csrc", "psychoscore"): shutil.copytree(ROOT/folder, tmp_path/folder, ignore=shutil.ignore_patterns("*.so", "assets"))
    for name in ("setup.py", "settings.ini", "README.md"): shutil.copy(ROOT/name, tmp_path)
    def make(): return subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=tmp_path, capture_output=True, text=True)
    assert make().returncode == 0 and list((tmp_path/"psychoscore").glob("_kernel*.so"))
    (tmp_path/"csrc/module.c").write_text("#error broken\n")
    assert make().returncode == 0 and not list((tmp_path/"psychoscore").glob("_kernel*.so"))


@can_compile
def test_with_a_compiler_one_wheel_serves_every_python(tmp_path):
    wheel = build(tmp_path)
    assert "-cp311-abi3-" in wheel.name and "psychoscore/_kernel.abi3.so" in zipfile.ZipFile(wheel).namelist()
