"What the notebook cannot show: downloads over HTTP, both releases' layouts, and the real dataset's counts."
import csv
import os
import subprocess
import sys
import threading
import zipfile
from contextlib import contextmanager
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pooch.core
import pytest

from psychoscore.emopia import (
    RETRIES, download_emopia, emopia_version, find_emopia, load_emopia, published_split, read_clips, unpack_emopia,
)
from psychoscore.notes import make_notes, midi_bytes

MIDI = midi_bytes(make_notes([0, 0, 0.5], [0.5, 0.5, 1], [60, 64, 67], 64))
KNOWN = sorted(published_split().index) # the ids of version 1.0
SMALL = KNOWN[:3] + KNOWN[-3:]
needs_emopia = pytest.mark.skipif("PSYCHOSCORE_DATA" not in os.environ, reason="PSYCHOSCORE_DATA is not set: no EMOPIA files here")


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    "pooch waits 1, 2, 3 s between attempts; the tests do not."
    monkeypatch.setattr(pooch.core.time, "sleep", lambda seconds: None)


def label_csv(clip_ids):
    return "ID,4Q,annotator\n" + "".join(f"{i},{i[1]},A\n" for i in clip_ids)


def make_archive(clip_ids=SMALL, home="EMOPIA_2.2/", extra=()):
    "Bytes of a zip with EMOPIA's layout; `extra` is (name or ZipInfo, content) pairs."
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for clip_id in clip_ids: archive.writestr(f"{home}midis/{clip_id}.mid", MIDI)
        archive.writestr(f"{home}label.csv", label_csv(clip_ids))
        for name, content in extra: archive.writestr(name, content)
    return buffer.getvalue()


def make_folder(folder, clip_ids):
    (folder/"midis").mkdir(parents=True)
    for clip_id in clip_ids: (folder/"midis"/f"{clip_id}.mid").write_bytes(MIDI)
    (folder/"label.csv").write_text(label_csv(clip_ids))
    return folder


@contextmanager
def serve(*answers):
    "A local server that gives the answers (status, claimed length, body) in turn, the last one for ever; yields url and a log."
    log = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, length, body = answers[min(len(log), len(answers) - 1)]
            log.append(status)
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body) # HTTP/1.0: the connection is closed after this

        def log_message(self, *args): pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.01))
    thread.start()
    try: yield f"http://127.0.0.1:{server.server_port}/EMOPIA_2.2.zip", log
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def whole(body): return 200, len(body), body
def truncated(body): return 200, len(body), body[:len(body)//2]
def corrupted(body): return 200, len(body), body[:-1] + bytes([body[-1] ^ 1])
def unavailable(body): return 503, 0, b""


def checksum(body): return md5(body).hexdigest()
def listing(folder): return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())


def test_good_download_is_fetched_once(tmp_path):
    body = make_archive()
    with serve(whole(body)) as (url, log):
        folder = download_emopia(url, checksum(body), tmp_path)
        assert download_emopia(url, checksum(body), tmp_path) == folder
    assert log == [200]
    assert listing(folder) == sorted([f"midis/{i}.mid" for i in SMALL] + ["label.csv"])
    assert sorted(p.name for p in tmp_path.iterdir()) == [folder.name, f"{folder.name}.zip"]
    assert load_emopia(folder, num_clips=6)["clip_id"].tolist() == SMALL


@pytest.mark.parametrize("spoil, error, reason", [
    (truncated, ConnectionError, "IncompleteRead"),
    (corrupted, ValueError, "does not match the known hash"),
    (unavailable, ConnectionError, "503"),
])
def test_broken_download_is_an_error_and_leaves_nothing(tmp_path, spoil, error, reason):
    body = make_archive()
    with serve(spoil(body)) as (url, log):
        with pytest.raises(error, match=reason) as caught: download_emopia(url, checksum(body), tmp_path)
    assert len(log) == 1 + RETRIES
    assert url in str(caught.value) and "by hand" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("spoil", [truncated, corrupted, unavailable])
def test_second_attempt_succeeds(tmp_path, spoil):
    body = make_archive()
    with serve(spoil(body), whole(body)) as (url, log): folder = download_emopia(url, checksum(body), tmp_path)
    assert len(log) == 2
    assert len(listing(folder)) == 7
    assert sorted(p.name for p in tmp_path.iterdir()) == [folder.name, f"{folder.name}.zip"]


def test_server_that_is_not_there(tmp_path):
    with serve(whole(b"")) as (url, _): pass
    with pytest.raises(ConnectionError, match="check the network"): download_emopia(url, "0"*32, tmp_path)


def test_stopped_by_the_user_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*args, **kwargs): raise KeyboardInterrupt
    body = make_archive()
    with serve(whole(body)) as (url, _):
        with monkeypatch.context() as patch:
            patch.setattr(pooch.core, "hash_matches", interrupt)
            with pytest.raises(KeyboardInterrupt): download_emopia(url, checksum(body), tmp_path)
        assert list(tmp_path.iterdir()) == []
        with monkeypatch.context() as patch: # the archive is whole, the unpacking stops half-way
            patch.setattr(zipfile.ZipFile, "read", interrupt)
            with pytest.raises(KeyboardInterrupt): download_emopia(url, checksum(body), tmp_path)
        assert [p.suffix for p in tmp_path.iterdir()] == [".zip"]
        assert len(listing(download_emopia(url, checksum(body), tmp_path))) == 7


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info


@pytest.mark.parametrize("entry, content", [
    ("EMOPIA_2.2/midis/../../../evil.mid", MIDI), ("../evil.txt", b""), ("/tmp/evil.mid", MIDI),
    ("EMOPIA_2.2/midis/..\\..\\evil.mid", MIDI), ("EMOPIA_2.2/midis/C:evil.mid", MIDI),
    (link("EMOPIA_2.2/midis/Q1_abcdefghijk_0.mid"), b"/etc/passwd"), (link("EMOPIA_2.2/more"), b"/etc"),
])
def test_hostile_archive_is_refused(tmp_path, entry, content):
    body = make_archive(extra=[(entry, content)])
    cache = tmp_path/"a"/"b"/"cache"
    with serve(whole(body)) as (url, _):
        with pytest.raises(ValueError, match="point outside"): download_emopia(url, checksum(body), cache)
    assert listing(tmp_path) == [f"a/b/cache/emopia-{checksum(body)}.zip"]


def test_junk_is_left_in_the_archive(tmp_path):
    junk = [(f"__MACOSX/EMOPIA_2.2/midis/._{SMALL[0]}.mid", b"junk"), (f"EMOPIA_2.2/midis/._{SMALL[0]}.mid", b"junk"),
            ("EMOPIA_2.2/.DS_Store", b"junk"), ("EMOPIA_2.2/scripts/run.py", b"print()"), ("EMOPIA_2.2/metadata/x.json", b"{}")]
    (tmp_path/"e.zip").write_bytes(make_archive(extra=junk))
    assert listing(unpack_emopia(tmp_path/"e.zip", tmp_path/"cache")) == sorted([f"midis/{i}.mid" for i in SMALL] + ["label.csv"])


def test_archive_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr("psychoscore.emopia.MAX_UNPACKED", 100)
    (tmp_path/"e.zip").write_bytes(make_archive())
    with pytest.raises(ValueError, match="would unpack to"): unpack_emopia(tmp_path/"e.zip", tmp_path/"cache")


@pytest.mark.parametrize("cut", [10, 200, -30])
def test_half_an_archive(tmp_path, cut):
    (tmp_path/"half.zip").write_bytes(make_archive()[:cut])
    with pytest.raises(ValueError, match="not a whole zip archive"): load_emopia(tmp_path/"half.zip", cache=tmp_path/"cache")
    assert listing(tmp_path/"cache") == []


def test_damaged_inside_the_archive(tmp_path):
    body = make_archive()
    (tmp_path/"e.zip").write_bytes(body.replace(MIDI, MIDI[:-1] + b"\x01", 1)) # the directory is whole, a CRC is wrong
    with pytest.raises(ValueError, match="Bad CRC-32"): unpack_emopia(tmp_path/"e.zip", tmp_path/"cache")
    assert listing(tmp_path/"cache") == []


@pytest.mark.parametrize("version, clip_ids", [("1.0", KNOWN), ("2.2", KNOWN[:500] + KNOWN[507:])])
def test_both_releases_as_zip_and_folder(tmp_path, version, clip_ids):
    body = make_archive(clip_ids, home=f"EMOPIA_{version}/")
    (tmp_path/"emopia.zip").write_bytes(body)
    from_zip = load_emopia(tmp_path/"emopia.zip", cache=tmp_path/"cache")
    assert emopia_version(from_zip["clip_id"]) == version
    home = tmp_path/"data"/"emopia"/f"EMOPIA_{version}"
    home.parent.mkdir(parents=True)
    find_emopia(tmp_path/"emopia.zip", tmp_path/"cache").rename(home)
    for root in (home, tmp_path/"data"/"emopia", tmp_path/"data"):
        pd.testing.assert_frame_equal(load_emopia(root).drop(columns="path"), from_zip.drop(columns="path"))


def test_the_environment_decides_when_no_root_is_given(tmp_path, monkeypatch):
    make_folder(tmp_path/"emopia"/"EMOPIA_1.0", SMALL)
    monkeypatch.setenv("PSYCHOSCORE_DATA", str(tmp_path))
    assert len(load_emopia(num_clips=6)) == 6
    monkeypatch.setenv("PSYCHOSCORE_DATA", str(tmp_path/"gone"))
    with pytest.raises(FileNotFoundError, match="from PSYCHOSCORE_DATA"): load_emopia()
    body = make_archive()
    monkeypatch.setenv("PSYCHOSCORE_DATA", "")
    with serve(whole(body)) as (url, log):
        monkeypatch.setattr(download_emopia, "__defaults__", (url, checksum(body), None))
        assert len(load_emopia(num_clips=6, cache=tmp_path/"cache")) == 6
    assert log == [200]


def test_missing_and_ambiguous_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder or archive"): load_emopia(tmp_path/"gone")
    with pytest.raises(FileNotFoundError, match="no folder `midis`"): load_emopia(tmp_path)
    for version in ("1.0", "2.2"): make_folder(tmp_path/f"EMOPIA_{version}", SMALL)
    with pytest.raises(ValueError, match="more than one dataset"): load_emopia(tmp_path)


def test_removed_clips_are_listed_not_hidden(tmp_path):
    folder = make_folder(tmp_path/"e", KNOWN[:-7])
    (folder/"label.csv").write_text(label_csv(KNOWN))
    with pytest.warns(UserWarning, match=f"7 clips that have no file: .*{KNOWN[-1]}"): assert len(load_emopia(folder)) == 1071


def test_a_dataset_that_is_not_whole(tmp_path):
    folder = make_folder(tmp_path/"e", KNOWN[:-20])
    with pytest.raises(ValueError, match="1058 clips, where EMOPIA 1.0 has 1078") as caught: load_emopia(folder)
    for clip_id in KNOWN[-20:-1]: assert f"{clip_id}: missing" in str(caught.value)
    assert str(caught.value).endswith("; and 1 more") # 20 of the 21 are spelt out
    assert len(load_emopia(folder, num_clips=1058)) == 1058 # on purpose


def test_a_stranger_among_1078(tmp_path):
    folder = make_folder(tmp_path/"e", KNOWN[1:] + ["Q1_abcdefghijk_0"])
    with pytest.raises(ValueError, match="Q1_abcdefghijk_0: not a clip of EMOPIA.*Q1_0vLPYiPN7qY_0: missing"): load_emopia(folder)


def spoil_unreadable(folder): (folder/"midis"/f"{SMALL[0]}.mid").write_bytes(b"MThd but no more")
def spoil_empty(folder): (folder/"midis"/f"{SMALL[0]}.mid").write_bytes(midi_bytes(make_notes([], [], [], [])))
def spoil_name(folder): (folder/"midis"/f"{SMALL[0]}.mid").rename(folder/"midis"/"first.mid")
def spoil_class(folder): (folder/"midis"/f"{SMALL[0]}.mid").rename(folder/"midis"/f"Q2{SMALL[0][2:]}.mid")
def spoil_suffix(folder): (folder/"midis"/f"{SMALL[0]}.mid").rename(folder/"midis"/f"{SMALL[0]}.mid.bak")
def spoil_label(folder): (folder/"label.csv").write_text(label_csv(SMALL).replace(f"{SMALL[0]},1", f"{SMALL[0]},4"))
def spoil_row(folder): (folder/"label.csv").write_text(label_csv(SMALL[1:]))
def spoil_twice(folder): (folder/"label.csv").write_text(label_csv(SMALL + SMALL[:1]))
def spoil_columns(folder): (folder/"label.csv").write_text("name,emotion\na,b\n")
def spoil_copy(folder): (folder/"midis"/f"{SMALL[0]}.MID").write_bytes(MIDI)


@pytest.mark.parametrize("spoil, reason", [
    (spoil_unreadable, "damaged"), (spoil_empty, "no piano notes"), (spoil_name, "first.mid: not named"),
    (spoil_class, f"Q2{SMALL[0][2:]}: not in label.csv"), (spoil_suffix, f"{SMALL[0]}: in label.csv, but there is no such file"),
    (spoil_label, f"{SMALL[0]}: label.csv says class 4"), (spoil_row, f"{SMALL[0]}: not in label.csv"),
    (spoil_twice, "1 ids come twice"), (spoil_columns, "needs the columns ID and 4Q"), (spoil_copy, "the same clip is there twice"),
])
def test_every_reason_is_named(tmp_path, spoil, reason):
    folder = make_folder(tmp_path/"e", SMALL)
    assert len(load_emopia(folder, num_clips=6)) == 6
    spoil(folder)
    with pytest.raises(ValueError, match=reason): load_emopia(folder, num_clips=6)


def test_every_bad_clip_is_counted(tmp_path):
    folder = make_folder(tmp_path/"e", KNOWN)
    for clip_id in KNOWN[::36]: (folder/"midis"/f"{clip_id}.mid").write_bytes(b"")
    with pytest.raises(ValueError, match=r"30 problem\(s\).*and 10 more"): load_emopia(folder)


@needs_emopia
def test_real_counts():
    clips = load_emopia()
    assert emopia_version(clips["clip_id"]) == "1.0"
    assert clips["quadrant"].value_counts().sort_index().tolist() == [250, 265, 253, 310]
    assert clips["split"].value_counts().to_dict() == dict(train=767, validation=198, test=86, unlisted=27)
    listed = clips[clips["split"] != "unlisted"]
    assert clips["song_id"].nunique() == 387 and listed["song_id"].nunique() == 385
    assert listed.groupby("split")["song_id"].nunique().to_dict() == dict(train=290, validation=63, test=32)
    assert listed.groupby("song_id")["split"].nunique().max() == 1


@needs_emopia
def test_the_command_says_what_a_split_leaves_out(tmp_path):
    "And another split leaves nothing out; labels and placement reach the prepared profiles."
    def prepare(name, *options):
        result = subprocess.run([sys.executable, "-m", "psychoscore.cli", "prepare", "--copies", "1", "--out", tmp_path/name, *options], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return pd.read_parquet(tmp_path/name/"pieces.parquet").set_index("piece_id"), result.stderr
    published, said = prepare("published")
    assert len(published) == 1051 and said.startswith("psychoscore: 27 of 1078 clips of EMOPIA are left out, for the published split does not list them; "
                                               'the split by songs (split="song", or --split song) takes all\n')
    assert said.splitlines()[1:] == ["psychoscore: 2 pieces are versions of songs in another split, so what is measured there is too good: "
                                     "Q4_Ie5koh4qvJc_16 in validation (FoTXpYZXxJs in train); Q4_jO2zX6Ul8GM_2 in train (Ie5koh4qvJc in validation)"]
    whole, said = prepare("song", "--split", "song", "--labels-reading", "plan", "--placement", "uniform")
    clips = load_emopia(labels="plan", placement="uniform", split="song").set_index("clip_id")
    assert len(whole) == 1078 and "left out" not in said
    pd.testing.assert_frame_equal(whole.sort_index()[["trauma", "entropy", "split"]], clips[["trauma", "entropy", "split"]], check_names=False)


@needs_emopia
def test_real_placement_keeps_order_within_a_class():
    clips, features = load_emopia(), read_clips(find_emopia())[1]
    for _, group in clips.groupby("quadrant"):
        loudness = features.loc[group.index, ["density", "velocity"]].rank().sum(axis=1)
        assert np.corrcoef(loudness.rank(), group["entropy"])[0, 1] > 0.999
        assert np.corrcoef(features.loc[group.index, "mode"].rank(), group["trauma"])[0, 1] < -0.5


@needs_emopia
def test_packaged_split_is_the_published_one():
    lists = find_emopia().parent/"published_split"
    if not lists.is_dir(): pytest.skip(f"no published lists at {lists}")
    published = {}
    for name, split in dict(train="train", val="validation", test="test").items():
        with open(lists/f"{name}.csv", newline="") as opened: published |= {row["fname"]: split for row in csv.DictReader(opened)}
    packaged = published_split()
    assert packaged[packaged != "unlisted"].to_dict() == published
