"The comparison of all ways to decode: it finds them equal in little, and a difference where there is one."
import sys

import pandas as pd
import pytest
from bench import same_bytes

from psychoscore.kernel import _instruction_sets


@pytest.fixture
def compare(monkeypatch, tmp_path):
    "Run the command: what it ends with, and its table."
    out = tmp_path/"same_bytes.csv"
    def run(n):
        monkeypatch.setattr(sys, "argv", ["same_bytes.py", "--pieces", str(n), "--longest", "3", "--out", str(out)])
        return same_bytes.main(), pd.read_csv(out)
    return run


def test_every_way_writes_the_same(compare):
    told, table = compare(4)
    kernels = ["numpy", *_instruction_sets()]
    assert told is None
    assert table["decodes"].tolist() == kernels*3 and table["together"].tolist() == [n for n in (1, 5, 4) for _ in kernels]
    assert (table["equal"] == 4).all() and (table["differing"] == 0).all() and table["digest"].nunique() == 1 and (table["tokens"] > 30).all()


def test_a_difference_is_named_counted_and_an_error(compare, monkeypatch, capsys):
    right = [(10, "a"), (20, "b")]
    said = {("numpy", 1): ("numpy", 0, right), ("numpy", 5): ("numpy", 0, [(10, "a"), (20, "c")])}
    monkeypatch.setattr(same_bytes, "composed_by_all", lambda *_: said)
    monkeypatch.setattr(same_bytes, "processor", lambda: "one")
    told, table = compare(2)
    assert told == "1 pieces differ" and table[["equal", "differing"]].to_numpy().tolist() == [[2, 0], [1, 1]] and table["digest"].nunique() == 2
    assert capsys.readouterr().out.count("differs: seed") == 1
    said["numpy", 5] = ("avx2", 0, right) # it was asked for numpy
    with pytest.raises(AssertionError): compare(2)
    said["numpy", 5] = ("numpy", 0, right)
    monkeypatch.setattr(same_bytes, "processor", lambda: "two")
    told, table = compare(2)
    assert told is None and table["processor"].tolist() == ["one", "one", "two", "two"] # what others found stays


def test_the_requests_cover_what_is_claimed():
    requests = same_bytes.requests_of(200, 180)
    seconds = [r.seconds for r in requests]
    assert (min(seconds), max(seconds), sorted(r.seed for r in requests)) == (1, 180, list(range(200)))
    assert sum(s >= 60 for s in seconds) > 20
    assert {(r.top_p < 1, r.min_p > 0) for r in requests} == {(False, False), (False, True), (True, False), (True, True)}
    corners = [(round(p.trauma), round(p.entropy)) for p in (r.profile.keyframes[0][1] for r in requests)]
    assert min(map(corners.count, [(0, 0), (0, 1), (1, 0), (1, 1)])) > 30
