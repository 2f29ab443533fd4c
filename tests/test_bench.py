"Every benchmark says what it measures and how to run it, and `make bench` lists them all."
import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(path for path in (ROOT/"bench").glob("*.py") if path.stem != "common")


def call(*arguments, **environment):
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)} | environment)


def make_bench(*arguments, **environment):
    if not shutil.which("make"): pytest.skip("make is not installed")
    said = subprocess.run(["make", "--no-print-directory", "bench", *arguments], cwd=ROOT, capture_output=True, text=True, env=os.environ | environment)
    return said.returncode, said.stdout, said.stderr


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_help_says_what_is_measured_and_where_it_goes(path):
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    first, rest = doc.split("\n", 1)
    assert first.endswith(".") and len(first) < 128 and f"python bench/{path.name}" in rest.partition("Usage: ")[2]
    said = call(path, "--help")
    assert said.returncode == 0 and first in said.stdout and "--out" in said.stdout, said.stderr


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


@pytest.mark.parametrize("name", ["midi", "readers", "finetune", "invariance"])
def test_folders_that_are_not_there_are_told(name, tmp_path):
    for folder, reason in ((tmp_path, f"no folder {tmp_path}"), ("", "set PSYCHOSCORE_DATA to a folder that holds")):
        said = call(f"bench/{name}.py", PSYCHOSCORE_DATA=str(folder))
        assert said.returncode == 2 and reason in said.stderr and "Traceback" not in said.stderr


@pytest.mark.parametrize("name", ["train", "ablations", "report"])
def test_prepared_folders_that_are_not_there_are_told(name, tmp_path):
    given = ["--data", tmp_path, "--out", tmp_path/"out"] + ["--runs", tmp_path/"runs", "--only", "e"]*(name == "ablations")
    said = call(f"bench/{name}.py", *given)
    assert said.returncode > 0 and "no prepared dataset in" in said.stderr and "Traceback" not in said.stderr


def test_emopia_that_is_not_there_is_told(tmp_path):
    said = call("bench/listener.py", "--out", tmp_path/"search.csv", PSYCHOSCORE_DATA=str(tmp_path))
    assert said.returncode == 1 and said.stderr.startswith("listener.py: no folder `midis` in") and said.stderr.count("\n") == 1
