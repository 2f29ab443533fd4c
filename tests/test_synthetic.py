"What the notebook cannot show: kills, damage, full disks, several processes, a cluster."
import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from joblib import parallel_config

import psychoscore.synthetic as synthetic
from psychoscore import rules
from psychoscore.midi import read_midi
from psychoscore.profile import PsychometricProfile
from psychoscore.synthetic import compose_pair, iter_pairs, midi_name, synthesize

RUN = "import sys; from psychoscore.synthetic import synthesize; synthesize(sys.argv[1], int(sys.argv[2]), seed=3, jobs=int(sys.argv[3]), shard_size=20)"


def contents(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in Path(folder).iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    "An uninterrupted run in one process, to compare with."
    folder = tmp_path_factory.mktemp("whole")
    synthesize(folder, 400, seed=3, jobs=1, shard_size=20)
    return folder


def test_several_processes_write_the_same_bytes(whole, tmp_path):
    synthesize(tmp_path, 400, seed=3, jobs=2, shard_size=20)
    assert contents(tmp_path) == contents(whole)


def test_any_shard_size_and_order_holds_the_same_pairs(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "_results", lambda tasks, jobs: (f(*a, **k) for f, a, k in reversed(tasks)))
    manifest = synthesize(tmp_path, 400, seed=3, jobs=1, shard_size=150)
    assert len(manifest["shards"]) == 3
    assert manifest["content_sha256"] == synthesize(whole, 400, seed=3, jobs=1, shard_size=20)["content_sha256"]
    for a, b in zip(iter_pairs(tmp_path), iter_pairs(whole), strict=True):
        assert np.array_equal(a.notes, b.notes) and (a.profile, a.parameters, a.key) == (b.profile, b.parameters, b.key)


@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_and_started_again(whole, tmp_path, jobs):
    kills = 0
    for shards in (2, 5, 9): # SIGKILL as soon as so many are there: in the middle of the next one
        run = subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path), "400", str(jobs)], stderr=subprocess.DEVNULL, start_new_session=True)
        while len(list(tmp_path.glob("pairs-*"))) < shards and run.poll() is None: time.sleep(0.002)
        kills += run.poll() is None
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        with pytest.raises((ValueError, FileNotFoundError), match="again|synthesize"): list(iter_pairs(tmp_path))
    assert kills == 3 and len(list(tmp_path.glob("pairs-*"))) < 20
    subprocess.run([sys.executable, "-W", "error", "-c", RUN, str(tmp_path), "400", str(jobs)], check=True, capture_output=True)
    assert contents(tmp_path) == contents(whole)


def test_what_is_finished_is_not_made_again(whole, monkeypatch):
    monkeypatch.setattr(synthetic, "_make_shard", lambda *a: pytest.fail("a finished shard was made again"))
    synthesize(whole, 400, seed=3, jobs=1, shard_size=20)


@pytest.mark.parametrize("damage", ["flip", "cut", "lose"])
def test_damaged_shard(whole, tmp_path, damage):
    synthesize(tmp_path, 60, seed=3, jobs=1, shard_size=20)
    good, shard = contents(tmp_path), tmp_path/"pairs-00001.parquet"
    data = bytearray(shard.read_bytes())
    if damage == "flip": data[len(data)//2] ^= 1
    if damage == "cut": data = data[:len(data)//2]
    shard.unlink() if damage == "lose" else shard.write_bytes(data)
    with pytest.raises(ValueError, match="pairs-00001.parquet is missing or damaged"): list(iter_pairs(tmp_path))
    with pytest.warns(UserWarning, match="pairs-00001.parquet is (damaged|missing)"): synthesize(tmp_path, 60, seed=3, jobs=1, shard_size=20)
    assert contents(tmp_path) == good


def test_full_disk(whole, tmp_path, monkeypatch):
    real, calls = os.replace, []

    def full(source, target):
        calls.append(target)
        if Path(target).name == "pairs-00003.parquet": raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source))
        real(source, target)
    monkeypatch.setattr(synthetic.os, "replace", full)
    with pytest.raises(OSError, match="No space left.*3 of 20 shards are finished and stay good.*run again") as caught:
        synthesize(tmp_path, 400, seed=3, jobs=1, shard_size=20)
    assert caught.value.errno == errno.ENOSPC and not list(tmp_path.glob(".*"))
    monkeypatch.undo()
    synthesize(tmp_path, 400, seed=3, jobs=1, shard_size=20)
    assert contents(tmp_path) == contents(whole)


def test_write_limit_in_another_process(whole, tmp_path):
    "A limit that the system itself enforces on a worker, half-way through a file."
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)); {RUN}"
    run = subprocess.run([sys.executable, "-c", limited, str(tmp_path), "400", "1"], capture_output=True, text=True)
    assert run.returncode == 1 and "File too large" in run.stderr and "0 of 20 shards" in run.stderr
    subprocess.run([sys.executable, "-c", RUN, str(tmp_path), "400", "1"], check=True, capture_output=True)
    assert contents(tmp_path) == contents(whole)


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path/"file").write_text("not a folder")
    with pytest.raises(OSError, match="file.*choose another folder"): synthesize(tmp_path/"file"/"inside", 10, jobs=1)
    with pytest.raises(OSError, match="file.*choose another folder"): synthesize(tmp_path/"file", 10, jobs=1)


@pytest.mark.parametrize(("change", "says"), [({"seed": 4}, "made with seed 3.*ask for the same"), ({"shard_size": 10}, "made with shard_size 20"),
                                            ({"num_pairs": 20}, "40 pairs, and 20 are fewer: ask for 40 or more"), ({"num_pairs": 60, "seed": 4}, "made with seed 3")])
def test_another_request_in_the_same_folder(tmp_path, change, says):
    request = {"num_pairs": 40, "seed": 3, "jobs": 1, "shard_size": 20}
    synthesize(tmp_path, **request)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=says): synthesize(tmp_path, **request | change)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_finished_folder_grows_by_what_is_new(whole, tmp_path, monkeypatch, jobs):
    composed, compose = [], synthetic.compose_pair
    monkeypatch.setattr(synthetic, "compose_pair", lambda seed, index: composed.append(index) or compose(seed, index))
    for n in (7, 30, 31, 40, 400): synthesize(tmp_path, n, seed=3, jobs=jobs, shard_size=20)
    assert contents(tmp_path) == contents(whole)
    if jobs == 1: assert sorted(composed) == sorted([*range(400), *[0]*5]) # each once; the first also to see that the rules are the same


def test_the_folder_of_midi_files_grows(tmp_path):
    for n in (25, 50): synthesize(tmp_path/"grown", n, jobs=1, shard_size=20, midi_dir=tmp_path/"grown_midi")
    synthesize(tmp_path/"once", 50, jobs=1, shard_size=20, midi_dir=tmp_path/"once_midi")
    assert contents(tmp_path/"grown") == contents(tmp_path/"once") and contents(tmp_path/"grown_midi") == contents(tmp_path/"once_midi")


GROWING = """
import os, sys
import psychoscore.synthetic as synthetic
left, real = int(sys.argv[2]), dict(open=open, replace=os.replace)
def step(name):
    def run(*args, **options):
        global left
        left -= 1
        if left < 0: os._exit(9)
        return real[name](*args, **options)
    return run
synthetic.open, synthetic.os.replace = step("open"), step("replace")
synthetic.synthesize(sys.argv[1], 50, seed=3, jobs=1, shard_size=20)
"""


def test_killed_while_it_grows_at_every_file(tmp_path, monkeypatch):
    "An end without warning before each opening and moving of a file; what was finished is never composed again."
    synthesize(tmp_path/"once", 50, seed=3, jobs=1, shard_size=20)
    compose, ended, k = synthetic.compose_pair, [], 0
    while True:
        folder, k = tmp_path/f"{k}", k + 1
        synthesize(folder, 30, seed=3, jobs=1, shard_size=20)
        run = subprocess.run([sys.executable, "-c", GROWING, str(folder), str(k - 1)], capture_output=True, text=True)
        if run.returncode == 0: break
        assert run.returncode == 9, run.stderr
        try: assert len(list(iter_pairs(folder))) == 30 # not begun
        except ValueError as error:
            assert "unfinished" in str(error)
            ended.append(k)
        composed = []
        monkeypatch.setattr(synthetic, "compose_pair", lambda seed, index, composed=composed: composed.append(index) or compose(seed, index))
        with warnings.catch_warnings(action="error"): synthesize(folder, 50, seed=3, jobs=1, shard_size=20)
        monkeypatch.undo()
        assert not set(composed) & set(range(1, 30)) and contents(folder) == contents(tmp_path/"once")
    assert len(ended) > 8 and contents(folder) == contents(tmp_path/"once")


def test_other_rules_in_the_same_folder(tmp_path, monkeypatch):
    synthesize(tmp_path, 20, jobs=1)
    monkeypatch.setattr(rules, "_SPREAD", rules._SPREAD*1.1)
    with pytest.raises(ValueError, match="first_pair"): synthesize(tmp_path, 20, jobs=1)


@pytest.mark.parametrize("wrong", [{"num_pairs": 0}, {"seed": -1}, {"shard_size": 0}])
def test_wrong_request(tmp_path, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))): synthesize(tmp_path, **{"num_pairs": 10} | wrong)
    with pytest.raises(ValueError, match="rules need trauma and entropy"): compose_pair(0, 0, PsychometricProfile(trauma=0.5))


def test_midi_files(tmp_path):
    synthesize(tmp_path/"pairs", 50, jobs=1, shard_size=20)
    synthesize(tmp_path/"pairs", 50, jobs=2, shard_size=20, midi_dir=tmp_path/"midi") # Also for shards that were there before
    pairs = list(iter_pairs(tmp_path/"pairs"))
    assert sorted(p.name for p in (tmp_path/"midi").iterdir()) == sorted(map(midi_name, pairs))
    for pair in pairs:
        written, ours = (np.sort(n, order=["pitch", "onset_s"]) for n in (read_midi(tmp_path/"midi"/midi_name(pair)).notes, pair.notes))
        for name in ("pitch", "velocity"): assert np.array_equal(written[name], ours[name])
        for name in ("onset_s", "duration_s"): assert np.allclose(written[name], ours[name], atol=2e-3)


def test_ray_cluster(whole, tmp_path):
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray
    ray.init(num_cpus=2, include_dashboard=False)
    try:
        register_ray()
        with parallel_config("ray"): synthesize(tmp_path, 400, seed=3, jobs=2, shard_size=20)
    finally: ray.shutdown()
    assert contents(tmp_path) == contents(whole)
