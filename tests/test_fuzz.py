"The reader of MIDI on damaged and hostile files, a short run of fuzz_midi.py; and that its faults would be counted."
import sys
import time
from pathlib import Path

import pytest

from bench import fuzz_midi
from psychoscore.midi import read_midi

linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read and limited as on Linux")

BROKEN = """
import os, sys
from bench import fuzz_midi
def by_broken():
    def read(data):
        kind = len(data) % 8
        if kind == 0: os.abort()
        if kind == 1:
            while True: pass
        if kind == 2: bytearray(10**9)
        if kind == 3: raise IndexError("not a ValueError")
        if kind == 4: raise ValueError("two\\nlines")
        if kind == 5: raise ValueError(f"as the hash is: {hash(str(data)) % 1000}")
        if kind == 6: return [(0.0, 1.0, 109, 80)]
        return [(0.0, 1.0, 60, 80)]
    return read, (ValueError,), range(21, 109), 3600
fuzz_midi.PARSERS["broken"], fuzz_midi.PATIENCE_S = by_broken, 0.2
sys.exit(fuzz_midi.main())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    fuzz_midi.store(fuzz_midi.origins([]), folder := tmp_path_factory.mktemp("files"))
    return folder


@linux
def test_damaged_files_are_read_or_refused(folder):
    said = fuzz_midi.summarise(fuzz_midi.fuzz(folder, cases=1500))
    assert said["faults"] == 0, said["examples"]
    assert min(said["outcomes"]["read"], said["outcomes"]["refused"]) > 300 # neither side is idle
    assert len(said["by_damage"]) == len(fuzz_midi.DAMAGE) and len(said["by_origin"]) == 7


@linux
def test_faults_are_counted(folder, tmp_path):
    (tmp_path/"broken.py").write_text(f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r}){BROKEN}")
    table = fuzz_midi.fuzz(folder, "broken", 40, script=str(tmp_path/"broken.py"))
    expected = ["died of SIGABRT", "hung", "exception MemoryError", "exception IndexError", "refused in 2 lines",
        "another answer in another process", "pitch out of range", "read"]
    assert set(table.bytes % 8) == set(range(8))
    assert table.outcome.tolist() == [expected[size % 8] for size in table.bytes]


@pytest.mark.parametrize("name", fuzz_midi.hostile(100))
def test_no_file_costs_more_than_two_seconds(name):
    "Well-formed files of as many bytes as may be; what costs time is the processor's, not the machine's load."
    data, began = fuzz_midi.hostile(1_000_000)[name], time.process_time()
    try: assert len(read_midi(data).notes)
    except ValueError as error: assert "\n" not in str(error)
    assert time.process_time() - began < fuzz_midi.MOST_S


def test_a_case_is_what_its_number_says():
    files = {"one": [fuzz_midi.HAND["sysex"]], "other": [fuzz_midi.HAND["gzip"]]}
    cases = [fuzz_midi.case(5, number, files) for number in range(400)]
    assert cases == [fuzz_midi.case(5, number, files) for number in range(400)] and len(set(cases)) > 200
    assert {damage.__name__ for damage in fuzz_midi.DAMAGE} == {damage for _, damage, _ in cases}
    assert cases != [fuzz_midi.case(6, number, files) for number in range(400)]


def test_the_command_asks_for_midi(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["fuzz_midi.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="no MIDI files"): fuzz_midi.main()
