"The scripts in .ci that no other test runs."
import base64
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run_script(name, *arguments):
    return subprocess.run([sys.executable, ROOT/".ci"/name, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)


def test_a_notebook_s_settings_do_not_reach_the_next(tmp_path):
    draw, paths = "import matplotlib.pyplot as plt\nplt.figure(figsize=(1, 1)); plt.plot([0, 1]);", []
    for name, source in (("sets", "import matplotlib.pyplot as plt\nplt.rcParams['figure.dpi'] = 50"), ("after", draw), ("fails", "1/0"), ("never", "1")):
        cell = dict(cell_type="code", id=name, metadata={}, source=source, outputs=[], execution_count=None)
        (tmp_path/f"{name}.ipynb").write_text(json.dumps(dict(cells=[cell], metadata={}, nbformat=4, nbformat_minor=5)))
        paths.append(tmp_path/f"{name}.ipynb")
    pictures = []
    for given in (paths[:2], paths[1:2]):
        assert run_script("execute_notebooks.py", *given).returncode == 0
        output, = json.loads(paths[1].read_text())["cells"][0]["outputs"]
        pictures.append(base64.b64decode(output["data"]["image/png"]))
    assert pictures[0] == pictures[1]
    failed = run_script("execute_notebooks.py", *paths[2:])
    assert failed.returncode == 1 and "ZeroDivisionError" in failed.stderr and "never.ipynb" not in failed.stdout


def test_examples_of_no_model(tmp_path):
    failed = run_script("make_examples.py", tmp_path/"nowhere")
    assert (failed.returncode, failed.stdout, failed.stderr.count("\n")) == (2, "", 1) and "no psychoscore checkpoint in" in failed.stderr


@pytest.mark.parametrize("name", ["make_estimators", "make_note_judge", "make_piano"])
def test_what_takes_minutes_or_a_network_finds_at_least_what_it_imports(name):
    spec = importlib.util.spec_from_file_location(name, ROOT/".ci"/f"{name}.py")
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    assert callable(getattr(module, "main", None) or module.make_piano)
