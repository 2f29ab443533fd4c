"Every benchmark says what it measures and how to run it, and `make bench` lists them all."
import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(path for path in (ROOT/"bench").glob("*.py") if path.stem != "common")


ABSENT = "/nowhere/at/all"
WITHOUT_DATA = {name: [] for name in ("midi", "readers", "finetune", "invariance", "relabel", "form")} # Options with which they look for it
WITHOUT_PREPARED = {"train": ["--data", ABSENT], "train_gpu": ["--data", ABSENT], "ablations": ["--data", ABSENT, "--runs", ABSENT, "--only", "e"]}
CALLS = """
import contextlib, io, json, os, runpy, sys
for path, arguments, environment in json.load(sys.stdin):
    out, err, code = io.StringIO(), io.StringIO(), 0
    os.environ.update(environment)
    sys.argv = [path, *arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try: runpy.run_path(path, run_name="__main__")
        except SystemExit as end: code = end.code if isinstance(end.code, int) else 1; err.write(f"{end.code}\\n" if isinstance(end.code, str) else "")
        except Exception as error: code = repr(error)
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    "Run a script as `python` would, in one process for all of them, since each imports torch: (exit code, stdout, stderr)."
    out = ["--out", str(tmp_path_factory.mktemp("out")/"out")]
    calls = {("help", path.stem): (["--help"], {}) for path in SCRIPTS}
    calls |= {("no data", name): (options, {"PSYCHOSCORE_DATA": ""}) for name, options in WITHOUT_DATA.items()}
    calls |= {("no folder", name): (options, {"PSYCHOSCORE_DATA": ABSENT}) for name, options in (WITHOUT_DATA | {"listener": out}).items()}
    calls |= {("not prepared", name): (options + out, {}) for name, options in WITHOUT_PREPARED.items()}
    given = json.dumps([[str(ROOT/"bench"/f"{name}.py"), *how] for (_, name), how in calls.items()])
    done = subprocess.run([sys.executable, "-c", CALLS], input=given, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    said = dict(zip(calls, map(json.loads, done.stdout.splitlines()), strict=True))
    return lambda what, name: said[what, name]


def make_bench(*arguments, **environment):
    if not shutil.which("make"): pytest.skip("make is not installed")
    said = subprocess.run(["make", "--no-print-directory", "bench", *arguments], cwd=ROOT, capture_output=True, text=True, env=os.environ | environment)
    return said.returncode, said.stdout, said.stderr


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_help_says_what_is_measured_and_where_it_goes(call, path):
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    first, rest = doc.split("\n", 1)
    assert first.endswith(".") and len(first) < 128 and f"python bench/{path.name}" in rest.partition("Usage: ")[2]
    code, said, _ = call("help", path.stem)
    assert code == 0 and first in said and "--out" in said


def test_make_lists_them_all():
    code, listed, _ = make_bench()
    names = [line.split()[0] for line in listed.partition("\n\n")[0].splitlines()]
    assert code == 0 and names == [path.stem for path in SCRIPTS]
    assert make_bench(NAME="a-machine-s-name")[:2] == (0, listed)


@pytest.mark.parametrize("name", ["nowhere", "common", "../tests/test_bench"])
def test_make_knows_no_other(name):
    code, _, said = make_bench("--dry-run", "--assume-old=.venv/.installed", f"NAME={name}")
    assert code == 2 and "there is no" in said and "make bench" in said


@pytest.mark.parametrize("name", ["decode", "train", "report", "search"])
def test_threads_and_options_arrive(name):
    code, said, _ = make_bench("--dry-run", "--assume-old=.venv/.installed", f"NAME={name}", "ARGS=--out x", OMP_NUM_THREADS="1")
    threads = "" if name == "search" else f"OMP_NUM_THREADS={os.cpu_count()} "
    assert (code, said.strip()) == (0, f"{threads}.venv/bin/python bench/{name}.py --out x")


@pytest.mark.parametrize("name", WITHOUT_DATA)
def test_data_that_is_not_there_is_told(call, name):
    code, _, said = call("no data", name)
    assert code == 2 and "set PSYCHOSCORE_DATA to a folder that holds" in said
    code, _, said = call("no folder", name)
    assert code == 2 and f"no folder {ABSENT}" in said and f"PSYCHOSCORE_DATA is {ABSENT}" in said


def test_emopia_that_is_not_there_is_told(call):
    assert call("no folder", "listener") == [1, "", f"listener.py: no folder or archive at {ABSENT} (from PSYCHOSCORE_DATA)\n"]


@pytest.mark.parametrize("name", WITHOUT_PREPARED)
def test_a_prepared_folder_that_is_not_there_is_told(call, name):
    code, _, said = call("not prepared", name)
    assert code == 1 and said.startswith(f"{name}.py: no prepared dataset in {ABSENT}") and said.count("\n") == 1
