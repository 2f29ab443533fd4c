"The order of the house: what imports what, and bounds that only go down."
import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MOST = {"cells over 40 lines": 15, "lines over 120 columns": 10, "Makefile targets": 14} # These may only go down
FLOORS = {"notes": "music", "dataset": "learning", "model": "learning", "train": "03_train", "cli": "running"}


@pytest.fixture(scope="module")
def house():
    spec = importlib.util.spec_from_file_location("house", ROOT/".ci/house.py")
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    return module


@pytest.fixture(scope="module")
def made(house): return house.notebooks()


def test_no_module_imports_another_in_a_circle_or_one_above_it(house, made):
    graph = {module: house.imports(house.read_module(module), set(made)) for module in made}
    assert any(graph.values()) and house.faults({module: house.floor(path) for module, path in made.items()}, graph) == []


def test_every_module_has_its_notebook(made):
    modules = {path.stem for path in (ROOT/"psychoscore").glob("*.py")} - {"__init__", "_modidx"}
    assert modules == set(made)


@pytest.mark.parametrize("what", MOST)
def test_bounds(house, made, what): assert house.counts(made)[what] <= MOST[what]


@pytest.mark.parametrize("source", [
    "import psychoscore.notes", "import psychoscore.notes as n", "from psychoscore import notes", "from psychoscore.notes import end_s",
    "from . import notes", "from .notes import end_s", "def f():\n    from .notes import end_s", "if TYPE_CHECKING: from psychoscore.notes import end_s",
    "class A:\n    def f(self):\n        import json, psychoscore.notes"])
def test_an_import_is_seen(house, source): assert house.imports(source, {"notes", "train"}) == {"notes"}


@pytest.mark.parametrize("source", [
    "", "import notes", "import json.notes", "from notes import x", "from elsewhere import notes", "from psychoscore import __version__",
    "import psychoscore", "from .assets import notes", "# import psychoscore.notes", "'import psychoscore.notes'"])
def test_what_is_no_import_of_a_module(house, source): assert house.imports(source, {"notes", "train"}) == set()


@pytest.mark.parametrize("graph", [
    {}, {"train": {"notes", "dataset", "model"}, "cli": {"train"}}, {"dataset": {"model"}}, {"model": {"dataset"}}])
def test_a_house_in_order(house, graph): assert house.faults(FLOORS, {name: graph.get(name, set()) for name in FLOORS}) == []


def test_an_arrow_upwards_is_a_fault(house):
    assert house.faults(FLOORS, {"notes": {"train"}, "train": {"model"}}) == ["notes (music) imports train (03_train), which is above it"]


def test_a_circle_is_a_fault_on_one_floor_too(house):
    said, = house.faults(FLOORS, {"dataset": {"model"}, "model": {"dataset"}})
    assert said in ("a circle: dataset imports model imports dataset", "a circle: model imports dataset imports model")
    assert house.faults(FLOORS, {"notes": {"notes"}}) == ["a circle: notes imports notes"]


def test_a_circle_is_told_in_the_order_of_its_imports(house):
    same = dict.fromkeys("abc", "music")
    said, = house.faults(same, {"a": {"b"}, "b": {"c"}, "c": {"a"}})
    assert said.removeprefix("a circle: ") in {" imports ".join(circle) for circle in ("abca", "bcab", "cabc")}


def test_a_public_name_has_one_meaning(house, made):
    assert house.shared_names({module: house.read_module(module) for module in made}) == {}


def test_a_name_of_two_modules_is_found_and_a_command_is_not(house):
    command = "__all__ = ['app', 'search']\n@app.command()\n@checked\ndef search(): pass"
    sources = {"a": "__all__ = ['x', 'search']", "b": "__all__ = ['x', 'y']", "cli": command}
    assert house.shared_names(sources) == {"x": ["a", "b"]}
    assert house.shared_names(sources | {"c": "__all__ = ['app']"}) == {"x": ["a", "b"], "app": ["cli", "c"]}


def test_a_module_on_no_floor_is_a_fault(house):
    assert house.faults({"notes": "cellar"}, {"notes": set()}) == ["notes is on no floor: cellar"]


def test_what_counts_as_a_module_a_floor_a_cell_a_name_and_a_target(house, tmp_path):
    sources = ["#| default_exp notes", "#| export\nx = 1\ny = 2", "#| hide\n#| exporti\nz = 3", "#| hide\nw = 4", "x # no directive\n#| export"]
    (folder := tmp_path/"nbs/music").mkdir(parents=True)
    (folder/"own.ipynb").write_text(json.dumps({"cells": [dict(cell_type="code", source=source) for source in sources]}))
    (folder/"prose.ipynb").write_text(json.dumps({"cells": []}))
    assert house.notebooks(tmp_path) == {"notes": folder/"own.ipynb"} and house.floor(folder/"own.ipynb", tmp_path) == "music"
    assert house.exported_cells(folder/"own.ipynb") == [["x = 1", "y = 2"], ["z = 3"]]
    assert house.public_names("__all__ = ['x', 'y']\nother = [1]") == ["x", "y"] and house.public_names("x = 1") == []
    assert house.make_targets("A := 1\nB:=2\nhelp:\n\techo a: b\nmake-it: help\n.venv/.installed: x\n.PHONY: help\n") == ["help", "make-it"]
