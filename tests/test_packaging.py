"The wheel holds what a user needs, and no more."
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", out, ROOT], check=True)
    return next(out.glob("psychoscore-*.whl"))


def test_wheel_holds_code_weights_and_split(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {"psychoscore/cli.py", "psychoscore/py.typed", "psychoscore/assets/emopia_split.csv",
              *(f"psychoscore/assets/model/{name}" for name in ("config.json", "model.safetensors", "psychoscore.json"))}
    assert wanted <= names
    assert not [name for name in names if name.startswith(("tests", "nbs", ".ci"))]
    assert wheel.stat().st_size < 20e6


def test_weights_are_small_enough_to_ship():
    assert (ROOT/"psychoscore/assets/model/model.safetensors").stat().st_size <= 12e6


def test_training_needs_no_midi_library():
    code = """
import sys, torch, transformers
for name in ("symusic", "miditok", "pretty_midi", "music21", "pooch"): sys.modules[name] = None # importing these now fails
import psychoscore.train
"""
    subprocess.run([sys.executable, "-c", code], check=True)
