"""Figures: one scale an axes, and pictures that load quickly."""
import base64
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MOST = 100_000 # bytes of a picture
NOTEBOOKS = sorted(path for path in (ROOT/"nbs").glob("**/[!.]*.ipynb") if ".ipynb_checkpoints" not in path.parts)
UNPACKED = set()


def cells(path): return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def pictures(path): # Bytes of each
    found = [output.get("data", {}).get("image/png") for cell in cells(path) for output in cell["outputs"]]
    return [base64.b64decode("".join(picture)) for picture in found if picture]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.relative_to(ROOT/"nbs").as_posix())
def test_a_page(path):
    assert not [number for number, cell in enumerate(cells(path)) if "twinx" in "".join(cell["source"])]
    large = [len(picture) for picture in pictures(path) if len(picture) > MOST]
    assert not large or path.relative_to(ROOT/"nbs").as_posix() in UNPACKED


@pytest.mark.parametrize("path", sorted((ROOT/"reports").glob("**/*.png")), ids=lambda path: path.name)
def test_a_picture_of_the_reports(path): assert path.stat().st_size <= MOST


def test_pictures_are_found(): assert sum(len(pictures(path)) for path in NOTEBOOKS) > 50
