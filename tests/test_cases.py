"""The made inputs of PSYCHOSCORE_DATA/cases: what each file should come to, in `read_midi`, listen and over HTTP.

All readers: python bench/readers.py $PSYCHOSCORE_DATA/cases --expected $PSYCHOSCORE_DATA/cases/expected.csv
"""
import csv
import os
import re
from pathlib import Path

import numpy as np
import pytest

from psychoscore.evaluate import estimate_profile
from psychoscore.midi import find_midi, read_midi
from psychoscore.notes import end_s
from bench.readers import try_files

CASES = Path(os.environ.get("PSYCHOSCORE_DATA", "nowhere"))/"cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="needs PSYCHOSCORE_DATA with a folder cases")

# The first pattern that fits a name says what should come of it: "base" is the music of 00_base.mid, a number so many
# notes, "read" anything that sounds; "refused". Then what must be said; "" allows any words.
TABLE = [
    ("00_base", "base", "^$"), ("meta_note_pitch", "base", "1 note is left out: pitch or velocity over 127"),
    ("meta_f4", "refused", "0xf4"), ("meta_", "base", "^$"), ("format2", "base", "^$"),
    ("same_legato", 64, "^$"), ("same_header_says_3", "base", "promises 3 tracks"),
    ("same_tracklen_zero", "refused", "damaged"), ("same_", "base", "^$"), ("pair_unison", "base", ""),
    ("pair_last_chord", 36, "4 notes are without an end"), ("pair_no_noteoffs", 32, "32 notes are without an end"),
    ("pair_one_off_missing", 20, "1 note is without an end"),
    ("pair_zero_length", "refused", "32 notes are left out: of no length"),
    ("pair_(on_before|two_hands)", 30, "^$"), ("pair_", 32, "^$"), ("pedal_only", "refused", "no piano notes"),
    ("pedal_", 64, "^$"), ("notes_(drums_only|piano_on_channel_10)", "refused", "only the drum channel"),
    ("notes_(header_only|none)", "refused", "no piano notes"), ("notes_zero_bytes", "refused", "empty file"),
    ("notes_keyswitch", 178, "1 note is left out: outside the piano"),
    ("notes_pitch_outside", 32, "2 notes are left out: outside the piano"),
    ("notes_program_strings", "base", "String Ensemble"), ("notes_sfx", "base", "500 notes are left out: Gunshot"),
    ("notes_16_voices", 240, "16 notes are left out: drums"), ("notes_128_tracks", "read", "drums, on channel 10"),
    ("notes_one_chord", 4, ""), ("notes_one", 1, ""), ("notes_two", 2, ""),
    ("notmidi_finale", "refused", "a Finale score"), ("notmidi_html", "refused", "HTML"),
    ("notmidi_zip", "refused", "a zip archive"),
    ("time_tempo_max", 32, "^$"), ("time_note_after", "refused", "longer than 3,600 s"),
    ("time_tempo0", "refused", "no time passes at tempo 0"), ("time_tpq0", "refused", "no time passes at 0 ticks"),
    ("time_", "refused", "more than four bytes"),
    ("trunc", "refused", "cut short"), ("abort|segv", "refused", "no piano notes"),
]
LENGTHS = {"00_base": 30.46, "time_tempo_max": 536.52, "notes_keyswitch_C0": 30.96} # s


@pytest.fixture(scope="module")
def rows(): return {Path(path).name: row for path, row in try_files(find_midi([CASES]), ["listen", "http"]).items()}


def test_every_file_is_judged(rows):
    with (CASES/"expected.csv").open() as file: named = {row["file"] for row in csv.DictReader(file)}
    assert set(rows) == named and all(any(re.match(pattern, name) for pattern, *_ in TABLE) for name in named)


def test_each_file_comes_to_what_it_should(rows):
    base = read_midi(CASES/"00_base.mid").notes
    for name, row in rows.items():
        comes_to, says = next((comes_to, says) for pattern, comes_to, says in TABLE if re.match(pattern, name))
        assert re.search(says, row["words"]), (name, row["words"])
        assert (row["notes"] is None) == (comes_to == "refused"), (name, row)
        if isinstance(comes_to, int): assert row["notes"] == comes_to, (name, row["notes"])
        if comes_to != "base": continue
        notes = read_midi(CASES/name).notes
        for column in ("pitch", "velocity"): assert notes[column].tolist() == base[column].tolist(), name
        for times in (lambda n: n["onset_s"], lambda n: n["onset_s"] + n["duration_s"]):
            assert np.abs(times(notes) - times(base)).max() < 0.021, name # a tick of the coarsest is 1/48 s
    for name, seconds in LENGTHS.items(): assert end_s(read_midi(CASES/f"{name}.mid").notes) == pytest.approx(seconds,
        abs=0.01)


def test_listen_and_server_agree(rows):
    assert {name: row for name, row in rows.items() if (row["listen"], row["http"]) != ("agrees", "agrees")} == {}


@pytest.mark.parametrize(("one", "other", "most"),
    [("pedal_hands_lift", "pedal_written_out", 0.03),
    ("same_legato_scale_130bpm", "same_legato_scale_130bpm_tpq960", 0.005)])
def test_what_sounds_alike_is_estimated_alike(one, other, most):
    estimates = [estimate_profile(read_midi(CASES/f"{name}.mid").notes) for name in (one, other)]
    for first, second in zip(*estimates, strict=True): assert abs(first.value - second.value) <= most
