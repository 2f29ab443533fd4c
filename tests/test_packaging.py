"The wheel holds what a user needs, and no more; what builds and publishes it trusts nothing that can change."
import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from configparser import ConfigParser
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml
from conftest import slow
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
ELSEWHERE = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} # where nothing of this checkout is found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", out, ROOT], check=True)
    return next(out.glob("psychoscore-*.whl"))


def test_wheel_holds_code_weights_split_page_and_piano(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {"psychoscore/cli.py", "psychoscore/py.typed", "psychoscore/assets/emopia_split.csv",
              *(f"psychoscore/assets/model/{name}" for name in ("config.json", "model.safetensors", "planner.npz", "probe.json", "psychoscore.json", "tokenizer.json")),
              *(path.relative_to(ROOT).as_posix() for folder in ("page", "piano") for path in (ROOT/"psychoscore/assets"/folder).rglob("*") if path.is_file())}
    assert sum(name.startswith("psychoscore/assets/piano/") and name.endswith(".ogg") for name in names) == 87
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


def test_nothing_that_draws_is_loaded_before_something_is_drawn():
    code = """
import sys, psychoscore.cli, psychoscore.compose, psychoscore.serve, psychoscore.train
assert not {"seaborn", "matplotlib", "music21", "pretty_midi", "miditok"} & sys.modules.keys(), sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_checkpoint_is_saved_without_midi_libraries(tmp_path):
    code = f"""
import json, sys
for name in ("symusic", "miditok", "pretty_midi", "music21"): sys.modules[name] = None # importing these now fails
from psychoscore.model import ModelConfig, make_model, save_model
save_model(make_model(ModelConfig(width=16, layers=1, heads=2, mlp_width=16)), {str(tmp_path)!r}, {{"key_relative": True}})
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    packaged = ROOT/"psychoscore"/"assets"/"model"/"tokenizer.json"
    assert (tmp_path/"tokenizer.json").read_bytes() == packaged.read_bytes()


def run_time_distributions(extra=None):
    "What `pip install psychoscore` brings, without extras or with one, as it is installed here."
    settings = ConfigParser(delimiters=["="])
    settings.read(ROOT/"settings.ini")
    found, waiting = {}, [(Requirement(r), "") for of in ("requirements", extra and f"{extra}_requirements") if of for r in settings["DEFAULT"][of].split()]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate(dict(extra=extra)): continue
        key, wanted = canonicalize_name(requirement.name), requirement.extras or {""}
        if wanted <= found.get(key, set()): continue
        found[key] = found.get(key, set()) | wanted | {""}
        waiting += [(Requirement(r), e) for r in distribution(key).requires or [] for e in wanted]
    return sorted(found)


def test_a_clone_in_the_current_folder_does_not_shadow_the_install(tmp_path):
    "A folder without __init__.py would be a namespace package where the install is found by an import hook alone."
    (tmp_path/"psychoscore"/"psychoscore").mkdir(parents=True)
    result = subprocess.run([sys.executable, "-c", "import psychoscore; print(psychoscore.__file__)"], cwd=tmp_path, capture_output=True, text=True, env=ELSEWHERE)
    assert result.stdout.rstrip().endswith("__init__.py"), result.stdout + result.stderr


@pytest.fixture(scope="module")
def bare(wheel, tmp_path_factory):
    "An environment with the wheel and what it requires, linked from here instead of downloaded again; nothing else."
    home = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    site = Path(sysconfig.get_path("purelib", vars=dict(base=home, platbase=home)))
    for name in run_time_distributions():
        dist = distribution(name)
        for top in {file.parts[0] for file in dist.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            if not (site/top).exists(): (site/top).symlink_to(dist.locate_file(top).resolve())
    subprocess.run([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", home/"bin"/"python", "install", "--no-deps", "--no-index", wheel], check=True, env=ELSEWHERE)
    return home/"bin"


def run_bare(bare, *command):
    return subprocess.run([bare/command[0], *map(str, command[1:])], capture_output=True, text=True, env=ELSEWHERE, cwd=bare)


def test_the_wheel_alone_composes_from_python(bare, tmp_path):
    code = f"""
import importlib.util, psychoscore
assert psychoscore.__file__.startswith({str(bare.parent)!r}), psychoscore.__file__
for name in ("nbdev", "fastcore", "IPython", "pytest", "miditok", "fastapi", "anywidget", "torch", "transformers", "music21", "matplotlib", "faiss", "pyarrow", "sklearn"): assert importlib.util.find_spec(name) is None, name
from psychoscore.compose import Composer
from psychoscore.profile import PsychometricProfile
piece = Composer.from_pretrained().compose(PsychometricProfile(0.8, 0.2), seconds=4, seed=0)
piece.save({str(tmp_path/"piece.wav")!r}); print(piece.summary())
from psychoscore.evaluate import estimate_profile
print(estimate_profile(piece.notes))
"""
    result = run_bare(bare, "python", "-W", "error::SyntaxWarning", "-c", code)
    assert result.returncode == 0, result.stderr
    assert "asked for trauma 0.80" in result.stdout and (tmp_path/"piece.wav").stat().st_size > 100_000


def test_the_wheel_alone_composes_from_the_shell(bare, tmp_path):
    result = run_bare(bare, "psychoscore", "compose", "--trauma", 0.8, "--seconds", 4, "--seed", 0, *(x for s in (".mid", ".wav", ".mp3") for x in ("-o", tmp_path/f"piece{s}")))
    assert result.returncode == 0, result.stderr
    assert len(list(tmp_path.iterdir())) == 3
    assert run_bare(bare, "psychoscore", "listen", tmp_path/"piece.mid").returncode == 0


@pytest.mark.parametrize("extra, command", [
    ("plots", ["compose", "--trauma", 0.8, "--seconds", 4, "-o", "OUT/piece.png"]), ("notation", ["compose", "--trauma", 0.8, "--seconds", 4, "-o", "OUT/piece.musicxml"]),
    ("search", ["search", "--index", "OUT/index", "--trauma", 0.5]), ("train", ["train", "--data", "OUT/data", "--out", "OUT/run"]),
    ("train", ["prepare", "--out", "OUT/data"]), ("train", ["synthesize", "--num-pairs", 2, "--out", "OUT/pairs"]), ("train", ["report", "--data", "OUT/data"])])
def test_a_missing_extra_is_named(bare, tmp_path, extra, command):
    (tmp_path/"index").touch(); (tmp_path/"data").mkdir()
    result = run_bare(bare, "psychoscore", *(str(word).replace("OUT", str(tmp_path)) for word in command))
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
    assert f"pip install 'psychoscore[{extra}]'" in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"index", "data"} # no trace


@pytest.mark.parametrize(("extra", "most"), [(None, 400e6), ("serve", 850e6)])
def test_what_composes_and_what_serves_is_small(extra, most):
    names = run_time_distributions(extra)
    assert not {"torch", "transformers", "accelerate", "scikit-learn"} & set(names) and ("fastapi" in names) == (extra == "serve")
    size = sum(Path(file.locate()).stat().st_size for name in names for file in distribution(name).files or [] if Path(file.locate()).is_file())
    assert 100e6 < size < most, f"{size/1e6:.0f} MB"


def test_without_its_extra_the_server_says_what_to_install(bare):
    result = run_bare(bare, "psychoscore", "serve")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1) and "pip install 'psychoscore[serve]'" in result.stderr


def test_importing_is_silent(bare):
    result = run_bare(bare, "python", "-W", "error", "-c", "import psychoscore")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@slow
def test_the_wheel_in_an_empty_environment_composes(wheel, tmp_path):
    "With what pip downloads for it, nothing linked; and the bill of materials names each of these."
    subprocess.run([sys.executable, "-m", "venv", tmp_path/"empty"], check=True)
    python, environment = tmp_path/"empty"/"bin"/"python", {k: v for k, v in ELSEWHERE.items() if k != "VIRTUAL_ENV"}
    def run(*command):
        result = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, cwd=tmp_path)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout
    run(python, "-m", "pip", "install", "--quiet", "-c", ROOT/"constraints.txt", wheel)
    run(python, "-m", "pip", "check")
    files = ["-o", "a.mid", "-o", "a.wav"]
    run(python.with_name("psychoscore"), "compose", "--trauma", 0.8, "--seconds", 4, *files)
    code = """import soundfile
from psychoscore.midi import read_midi
from psychoscore.sound import chroma_match
print(chroma_match(read_midi("a.mid").notes, *soundfile.read("a.wav")))"""
    assert float(run(python, "-c", code)) > 0.4
    run(Path(sys.executable).with_name("cyclonedx-py"), "environment", "-o", "sbom.json", python)
    def versions(parts): return {canonicalize_name(part["name"]): part["version"] for part in parts}
    bill = versions(json.loads((tmp_path/"sbom.json").read_text())["components"])
    assert bill == versions(json.loads(run(python, "-m", "pip", "list", "--format", "json")))
    assert {"psychoscore", *run_time_distributions()} <= bill.keys()


WORKFLOWS = ROOT/".github"/"workflows"


def zizmor(path):
    "At its strictest, but for remarks on style."
    options = ["--offline", "--no-progress", "--persona", "auditor", "--min-severity", "medium"]
    return subprocess.run([Path(sys.executable).with_name("zizmor"), *options, path], capture_output=True, text=True)


def test_workflows_have_no_known_weakness():
    result = zizmor(ROOT/".github")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(("right", "wrong", "audit"), [
    (r"(actions/checkout)@\w{40} # \S+", r"\1@v7", "unpinned-uses"),
    (r"permissions: {contents: read}\n", "", "excessive-permissions"),
    (r"permissions: {contents: read}\n", "permissions: write-all\n", "excessive-permissions"),
    (r"persist-credentials: false", "persist-credentials: true", "artipacked"),
])
def test_a_workflow_that_trusts_too_much_is_refused(tmp_path, right, wrong, audit):
    "Else the test above would pass whatever is written."
    for path in WORKFLOWS.glob("*.yaml"):
        spoilt, changes = re.subn(right, wrong, path.read_text())
        assert changes, f"{path.name} lacks {right}"
        (tmp_path/path.name).write_text(spoilt)
        result = zizmor(tmp_path/path.name)
        assert result.returncode != 0 and audit in result.stdout, f"{path.name}: {result.stdout}"


def test_only_publishing_may_ask_for_more():
    "The workflows' jobs read, but for the two that publish; PyPI is told who publishes, and holds no token."
    asked = {(path.stem, name): job["permissions"] for path in WORKFLOWS.glob("*.yaml")
             for name, job in yaml.safe_load(path.read_text())["jobs"].items() if "permissions" in job}
    assert asked == {("release", "publish"): {"id-token": "write"},
                     ("docs", "deploy"): {"pages": "write", "id-token": "write"}}
    assert "secrets." not in "".join(path.read_text() for path in WORKFLOWS.glob("*.yaml"))


def test_a_clone_in_the_current_folder_does_not_hide_the_install(tmp_path):
    "Its folder, which is no package, would else be taken for one."
    (tmp_path/"psychoscore").symlink_to(ROOT)
    asked = subprocess.run([sys.executable, "-c", "import psychoscore; print(psychoscore.__version__)"], cwd=tmp_path, env=ELSEWHERE, capture_output=True, text=True)
    assert asked.stdout.strip() == distribution("psychoscore").version, asked.stderr
