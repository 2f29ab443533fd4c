"Folders as they are: names in any encoding, files that fail, processes that die, versions of songs in two splits."
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from psychoscore import cli
from psychoscore.duplicates import Songs, fingerprint
from psychoscore.listening import HeardFile, _in_processes
from psychoscore.midi import find_midi, read_midi
from psychoscore.notes import make_notes, midi_bytes

COMMAND = Path(sys.executable).with_name("psychoscore")
DATA = os.environ.get("PSYCHOSCORE_DATA")


def psychoscore(*arguments, **options):
    return subprocess.run([COMMAND, *map(os.fsdecode, map(os.fspath, map(lambda a: a if isinstance(a, (Path, bytes)) else str(a), arguments)))],
                          capture_output=True, **options)


def music(seed=0, n=60, pitch=0, stretch=1.0, begins_s=0.0):
    "Random notes of many intervals: every seed is a piece of its own."
    rng = np.random.default_rng(seed)
    return midi_bytes(make_notes(begins_s + np.arange(n)*stretch/4, np.full(n, stretch/4), rng.integers(45, 85, n) + pitch, rng.integers(40, 100, n)))


@pytest.fixture
def folder(tmp_path):
    (tmp_path/"music").mkdir()
    for i in range(4): (tmp_path/"music"/f"{i}.mid").write_bytes(music(i))
    return tmp_path/"music"


def test_exit_codes_of_listen(folder, command):
    assert command("listen", folder).returncode == 0
    (folder/"bad.mid").write_bytes(b"MThd")
    for form in ([], ["--json"], ["--csv"], ["--every", 4]):
        result = command("listen", folder, *form)
        assert result.returncode == 1 and "1 of 5 files could not be used" in result.stderr and "3.mid" in result.stdout
    result = command("listen", folder/"bad.mid", "--json")
    assert result.returncode == 2 and json.loads(result.stdout)["error"] and "none of 1 files can be used" in result.stderr
    for wrong in (["--every", 0.1], ["--every", "nan"], ["--out", "x"], ["--json", "--csv"]):
        result = command("listen", folder, *wrong)
        assert result.returncode == 2 and result.stdout == "" and result.stderr.count("\n") == 1


def test_exit_codes_and_remarks_of_index(folder, command):
    assert command("index", folder, "--out", folder/"all").returncode == 0
    (folder/"bad.mid").write_bytes(b"MThd")
    result = command("index", folder, "--out", folder/"all")
    assert result.returncode == 1 and "left out bad.mid" in result.stderr and "4 pieces" in result.stdout
    for i in range(4): (folder/f"{i}.mid").unlink()
    assert command("index", folder, "--out", folder/"all").returncode == 2


@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_a_file_of_results_is_continued(folder, command, form):
    out = folder.parent/"out"
    (folder/"bad.mid").write_bytes(b"MThd")
    assert command("listen", folder, form, "--out", out).returncode == 1
    whole = out.read_bytes()
    out.write_bytes(whole[:len(whole)*2//3]) # as a process that was killed leaves it
    result = command("listen", folder, form, "--out", out)
    assert result.returncode == 1 and result.stdout == "" and out.read_bytes() == whole
    assert command("listen", folder, form, "--out", out).returncode == 1 # what failed before still counts
    assert out.read_bytes() == whole
    (folder/"bad.mid").write_bytes(music(9))
    assert command("listen", folder, form, "--out", out).returncode == 0
    assert out.read_text().count("bad.mid") == 1 and "error" not in out.read_text().splitlines()[-1]
    other = command("listen", folder, form, "--every", 4, "--out", out)
    assert other.returncode == 2 and "is not what this command writes" in other.stderr


@pytest.mark.parametrize("environment", [dict(PYTHONIOENCODING="cp1252"), dict(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")])
def test_names_in_any_encoding_on_any_terminal(folder, environment):
    names = [b"caf\xe9.mid", "\U0001f3b9 piano.mid".encode(), "ноктюрн.mid".encode(), b"two\nlines.mid", b"\xff\xfebad.mid"]
    for i, name in enumerate(names): Path(os.fsdecode(bytes(folder) + b"/" + name)).write_bytes(music(i) if b"bad" not in name else b"MThd")
    env = os.environ | environment
    for form in ([], ["--csv"], ["--csv", "--out", folder/"out.csv"]):
        result = psychoscore("listen", folder, *form, env=env)
        assert result.returncode == 1, result.stderr
        assert b"Traceback" not in result.stderr and b"bad.mid: cannot be used" in result.stderr or "--out" in form
    rows = [json.loads(line) for line in psychoscore("listen", folder, "--json", env=env).stdout.decode("ascii").splitlines()]
    assert len(rows) == 9 and all("\n" not in row["path"] for row in rows)
    assert len(pd.read_csv(folder/"out.csv")) == 9
    result = psychoscore("index", folder, "--out", folder/"index", env=env)
    assert result.returncode == 1 and b"8 pieces" in result.stdout, result.stderr
    assert psychoscore("search", "--index", folder/"index", "--trauma", 0.5, env=env).stdout.count(b"\n") == 8
    assert psychoscore("listen", folder/"none \U0001f3b9.mid", env=env).stderr.count(b"\n") == 1
    result = psychoscore("prepare", "--no-emopia", "--corpus", folder, "--max-unusable", 0.5, "--out", folder/"data", env=env)
    assert result.returncode == 0, result.stderr
    result = psychoscore("compose", "--seconds", 20, "--seed", 1, "--prompt", Path(os.fsdecode(bytes(folder) + b"/" + names[0])), "-o", folder/"\U0001f3b9.mid", env=env)
    assert result.returncode == 0, result.stderr


def test_results_come_while_others_are_made(folder, monkeypatch, capsys):
    "Each line is there before the next file is read."
    from psychoscore import listening
    read, seen = listening.read_midi, []
    def reading(path, limits):
        seen.append(capsys.readouterr().out)
        return read(path, limits)
    monkeypatch.setattr(listening, "read_midi", reading)
    monkeypatch.setattr(sys, "argv", ["psychoscore", "listen", str(folder), "--json"])
    with pytest.raises(SystemExit): cli.main()
    assert [out.count("\n") for out in seen] == [0, 1, 1, 1]


def many(folder, n=600):
    for i in range(n): (folder/f"{i:04}.mid").write_bytes(music(i, 300))
    return n + 4


def test_a_worker_that_is_killed_loses_nothing(folder):
    n = many(folder)
    process = subprocess.Popen([COMMAND, "listen", folder, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines = [process.stdout.readline()]
    workers = [child for child in psutil.Process(process.pid).children(recursive=True) if "resource_tracker" not in " ".join(child.cmdline())]
    if workers: os.kill(workers[0].pid, signal.SIGKILL) # a machine of one core has none
    lines += process.stdout.readlines()
    assert process.wait() == 0, process.stderr.read()
    assert [json.loads(line)["path"] for line in lines] == [str(path) for path in find_midi([folder])] and len(lines) == n


def hear_or_die(paths):
    "As `hear_files`; one of the files is the end of the process."
    if any(path.name == "13" for path in paths): os.kill(os.getpid(), signal.SIGKILL)
    return [HeardFile(path, notes=int(path.name)) for path in paths]


def test_the_file_that_kills_is_named_and_no_other_suffers():
    paths = [Path(str(i)) for i in range(40)]
    heard = list(_in_processes(hear_or_die, [paths[i:i + 8] for i in range(0, 40, 8)], 2))
    assert [one.path for one in heard] == paths and [one.path.name for one in heard if one.error] == ["13"]
    assert "was killed" in heard[13].error


def test_ctrl_c_stops_it(folder):
    "A terminal sends SIGINT to every process of the group."
    n = many(folder, 1500) # which no machine has heard before it is looked at again
    process = subprocess.Popen([COMMAND, "listen", folder, "--csv", "--out", folder/"out.csv"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) # a suite that runs in the background inherits that it is ignored
    for _ in range(6000):
        if (folder/"out.csv").exists() and (folder/"out.csv").read_text().count("\n") > 10: break
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "Traceback" not in said, said
    for _ in range(100):
        if not any(p.info["pgid"] == process.pid for p in processes()): break
        time.sleep(0.1)
    else: raise AssertionError("workers live on")
    rows = (folder/"out.csv").read_text().count("\n")
    result = psychoscore("listen", folder, "--csv", "--out", folder/"out.csv")
    assert result.returncode == 0 and rows > 10 and len(pd.read_csv(folder/"out.csv").path.unique()) == n == len(pd.read_csv(folder/"out.csv"))


def processes():
    for process in psutil.process_iter():
        try: process.info = {"pgid": os.getpgid(process.pid)}
        except (ProcessLookupError, psutil.Error): continue
        if process.status() != psutil.STATUS_ZOMBIE: yield process


def test_a_reader_that_has_had_enough(folder):
    process = subprocess.Popen(f"'{COMMAND}' listen '{folder}' --csv | head -n 1", shell=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said, wrong = process.communicate()
    assert said.startswith("path,trauma") and wrong == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here to play a full disk")
def test_a_full_disk_is_one_line(folder):
    for form in ("--csv", "--json"):
        with open("/dev/full", "w") as full: result = subprocess.run([COMMAND, "listen", folder, form], stdout=full, stderr=subprocess.PIPE, text=True)
        assert result.returncode == 2 and result.stderr.count("\n") == 1 and "No space left" in result.stderr, result.stderr


def test_what_cannot_be_written_is_told_before_the_work(folder, command, monkeypatch):
    def work(*_): raise AssertionError("the work has begun")
    monkeypatch.setattr("psychoscore.search.index_folder", work)
    monkeypatch.setattr("psychoscore.listening.listen", work)
    for out, says in ((folder/"0.mid"/"x", "cannot be written"), (folder, "is a folder"), ("/proc/x/y", "cannot be written")):
        for arguments in (["index", folder], ["listen", folder, "--csv"]):
            result = command(*arguments, "--out", out)
            assert result.returncode == 2 and says in result.stderr and result.stderr.count("\n") == 1


def test_limits_can_be_lifted(folder, command):
    (folder/"long.mid").write_bytes(midi_bytes(make_notes(np.arange(40)*100, np.full(40, 1), 60 + np.arange(40) % 12, 64)))
    result = command("listen", folder/"long.mid")
    assert result.returncode == 2 and "longer than 3,600 s" in result.stderr
    assert command("listen", folder/"long.mid", "--no-limits").returncode == 0
    assert command("index", folder/"..", "--out", folder/"i").returncode == 1
    assert command("search", "--index", folder/"i", "--like", folder/"long.mid").returncode == 2


def test_leading_silence_is_no_part_of_a_prompt(folder, command):
    (folder/"late.mid").write_bytes(music(3, 8, begins_s=30)) # two seconds of music
    result = command("compose", "--prompt", folder/"late.mid", "--seconds", 6, "--seed", 1, "-o", folder/"on.mid")
    assert result.returncode == 0, result.stderr
    result = command("compose", "--prompt", folder/"late.mid", "--seconds", 1, "-o", folder/"on.mid")
    assert result.returncode == 2 and "more than the prompt's 2.00" in result.stderr


def test_a_corpus_alone(folder, command, tmp_path):
    result = command("prepare", "--no-emopia", "--corpus", folder, "--corpus-licence", "CC0", "--out", tmp_path/"data")
    assert result.returncode == 0 and "training needs some" in result.stderr
    assert set(pd.read_parquet(tmp_path/"data"/"pieces.parquet").licence) == {"CC0"}
    result = command("train", "--data", tmp_path/"data", "--config", "tiny", "--out", tmp_path/"run")
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and "validation split to choose the best model" in result.stderr


def test_two_corpora_with_a_licence_each(folder, command, tmp_path):
    other = tmp_path/"other"
    other.mkdir()
    for i in range(3): (other/f"{i}.mid").write_bytes(music(100 + i))
    result = command("prepare", "--no-emopia", "--corpus", folder, "--corpus", other, "--corpus-licence", "CC0", "--corpus-licence", "MIT", "--out", tmp_path/"data")
    assert result.returncode == 0, result.stderr
    pieces = pd.read_parquet(tmp_path/"data"/"pieces.parquet")
    assert pieces.licence.value_counts().to_dict() == {"CC0": 4, "MIT": 3} and pieces.piece_id.is_unique


def test_unusable_files_of_a_corpus(folder, tmp_path):
    for i in range(2): (folder/f"bad{i}.mid").write_bytes(b"MThd")
    arguments = ("prepare", "--no-emopia", "--corpus", folder, "--out", tmp_path/"data")
    result = psychoscore(*arguments)
    assert result.returncode == 2 and "2 of 6 files" in result.stderr.decode() and "bad1.mid" in result.stderr.decode() and "--max-unusable" in result.stderr.decode()
    assert not (tmp_path/"data"/"meta.json").exists()
    result = psychoscore(*arguments, "--max-unusable", 0.4)
    assert result.returncode == 0 and "2 of 6 files" in result.stderr.decode()


def test_year_folders_are_no_songs(command, tmp_path):
    "Forty pieces in four years, as MAESTRO is laid out: forty songs; with the CSV that comes with it, its titles."
    rows = []
    for i in range(40):
        path = tmp_path/"maestro"/str(2004 + i % 4)/f"MIDI-{i:02}.midi"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(music(i))
        rows.append(dict(canonical_title=f"Étude {i % 20}", split="train", midi_filename=f"{path.parent.name}/{path.name}"))
    pd.DataFrame(rows).to_csv(tmp_path/"maestro"/"maestro-v3.0.0.csv", index=False)
    songs = {}
    for rule in ("stem", "folder", "canonical_title"):
        result = command("prepare", "--no-emopia", "--corpus", tmp_path/"maestro", "--song-by", rule, "--out", tmp_path/rule)
        assert result.returncode == 0, result.stderr
        songs[rule] = pd.read_parquet(tmp_path/rule/"pieces.parquet").song_id.nunique()
    assert songs == {"stem": 40, "folder": 4, "canonical_title": 20}
    result = command("prepare", "--no-emopia", "--corpus", tmp_path/"maestro", "--song-by", "title", "--out", tmp_path/"x")
    assert result.returncode == 2 and "maestro-v3.0.0.csv has canonical_title, split, midi_filename" in result.stderr


def test_planted_versions_stay_in_one_split(folder, tmp_path):
    "Transposed, slower, with silence in front, saved anew: each follows the labelled piece that it is a version of."
    for i in range(12): (folder/f"own{i}.mid").write_bytes(music(50 + i, 200))
    split = ["train"]*8 + ["validation"]*2 + ["test"]*2
    pd.DataFrame(dict(path=[f"own{i}.mid" for i in range(12)], trauma=0.5, entropy=0.5, split=split)).to_csv(folder/"labels.csv", index=False)
    corpus = tmp_path/"corpus"
    corpus.mkdir()
    changes = [dict(pitch=3), dict(pitch=-4), dict(stretch=1.3), dict(stretch=0.8), dict(begins_s=7), dict(pitch=1, stretch=1.1, begins_s=2)]
    for i in range(12): (corpus/f"copy{i}.mid").write_bytes(music(50 + i, 200, **changes[i % 6]))
    for i in range(10): (corpus/f"new{i}.mid").write_bytes(music(200 + i, 200))
    result = psychoscore("prepare", "--labels", folder/"labels.csv", "--corpus", corpus, "--copies", 1, "--out", tmp_path/"data")
    assert result.returncode == 0 and "12 pieces are versions of songs that came before" in result.stderr.decode(), result.stderr
    pieces = pd.read_parquet(tmp_path/"data"/"pieces.parquet").set_index("piece_id")
    for i in range(12): assert (pieces.song_id[f"corpus-copy{i}"], pieces.split[f"corpus-copy{i}"]) == (f"own{i}", split[i])
    for i in range(10): assert pieces.song_id[f"corpus-new{i}"] == f"corpus-new{i}"
    (folder/"own0.mid").write_bytes(music(61, 200, pitch=2)) # in train, a version of a song in test
    result = psychoscore("prepare", "--labels", folder/"labels.csv", "--copies", 1, "--out", tmp_path/"leak")
    assert result.returncode == 0 and "own11 in test (own0 in train)" in result.stderr.decode()


@pytest.mark.skipif(not (DATA and Path(DATA, "asap").is_dir()), reason="PSYCHOSCORE_DATA names no folder with asap in it")
def test_performances_of_one_work_are_recognised():
    "ASAP: two performances in one folder become one song, 95 % of them at least; works of two composers never do."
    known, song_of, works, found, second = Songs(), {}, {}, 0, 0
    for path in find_midi([Path(DATA, "asap")]):
        hashes = fingerprint(read_midi(path).notes)
        song = known.add(hashes, next(iter(known.find(hashes)), None))
        if path.parent in song_of: second += 1; found += song == song_of[path.parent]
        song_of[path.parent] = song
        works.setdefault(song, set()).add(path.relative_to(DATA).parts[1])
    assert second > 100 and found >= 0.95*second, (second, found)
    assert all(len(composers) == 1 for composers in works.values())


@pytest.mark.skipif(not (DATA and Path(DATA, "pop909").is_dir()), reason="PSYCHOSCORE_DATA names no folder with pop909 in it")
def test_songs_of_pop909_that_are_there_twice():
    "The set holds song 017 once more as 018; of the other 413,000 pairs of songs none is taken for versions."
    known, names, pairs = Songs(), [], set()
    for path in find_midi([Path(DATA, "pop909")]):
        if "versions" in path.parts: continue
        hashes = fingerprint(read_midi(path).notes)
        pairs |= {(names[number], path.stem) for number in known.find(hashes)}
        names.append(path.stem)
        known.add(hashes)
    assert pairs == {("017", "018")}


FORKED = """
import multiprocessing, sys
from psychoscore.listening import listen
from psychoscore.midi import find_midi
def work(): assert all(heard.error is None for heard in listen(find_midi(sys.argv[1:]), processes=2))
child = multiprocessing.get_context("fork").Process(target=work)
child.start(); child.join(); sys.exit(child.exitcode)
"""


def test_a_process_that_listened_ends_at_once(folder):
    "A process that multiprocessing has started waits for idle workers, which joblib keeps for five minutes."
    many(folder, 40)
    assert subprocess.run([sys.executable, "-c", FORKED, str(folder)], timeout=120).returncode == 0
