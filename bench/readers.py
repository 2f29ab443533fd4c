"""Where the commands and routes that read MIDI disagree about a file: every one is given every file of a folder.

`read_midi` says what is expected: so many notes with these remarks, or a refusal in a line. A reader agrees when it
reads what is read and refuses what is refused, with the same words; listen and the server must estimate alike, too.
What else keeps a reader from a file, such as a prompt that is too dense, is shown as it says it. The readers work in
another process, which is begun again when a file ends it. Exit code 1 when a file ended it, or a reader disagreed.
By default the files are cases in PSYCHOSCORE_DATA, with its expected.csv.
Usage: PSYCHOSCORE_DATA=folder python bench/readers.py [FOLDER] [--expected expected.csv] [--out table.csv] [--readers listen http ...]
"""
import argparse
import contextlib
import csv
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path

from bench.common import data_folders, run_script

TINY = dict(width=32, layers=1, heads=2, mlp_width=32) # How it sounds does not matter here


# --- readers: (file, a folder of its own) -> (whether it read the file, all that it said, estimates)

def command(*arguments): # -> (exit code, all it said)
    "Run `psychoscore` in this process."
    from psychoscore import cli
    said, before = io.StringIO(), sys.argv
    sys.argv = ["psychoscore", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("always")
            cli.main()
    except SystemExit as left: code = left.code
    finally: sys.argv = before
    return code, said.getvalue()


@cache
def tiny_model():
    from psychoscore.model import ModelConfig, make_model, save_model
    folder = Path(tempfile.mkdtemp())
    save_model(make_model(ModelConfig(**TINY)), folder, {"key_relative": True})
    return folder


@cache
def good_file():
    import numpy as np
    from psychoscore.notes import make_notes, midi_bytes
    (path := Path(tempfile.mkdtemp())/"good.mid").write_bytes(midi_bytes(make_notes(np.arange(40)/4, np.full(40, 0.25),
        50 + np.arange(40) % 24, 80)))
    return path


@cache
def search_index():
    command("index", good_file().parent, "--out", out := good_file().parent.parent/f"{good_file().parent.name}.parquet")
    return out


@cache
def client():
    from fastapi.testclient import TestClient
    from psychoscore.compose import Composer
    from psychoscore.serve import make_app
    from psychoscore.settings import Settings
    opened = TestClient(make_app(Settings(max_seconds=3600), Composer.from_pretrained(tiny_model())))
    opened.__enter__()
    while opened.get("/readyz").status_code != 200: pass
    return opened


def by_listen(path, folder):
    code, said = command("listen", "--json", path)
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    heard = [line for line in lines if "error" not in line]
    return code == 0, said, {name: part["value"] for name,
        part in heard[0].items() if isinstance(part, dict)} if heard else None


def beside_a_good_one(path, folder):
    (folder/"music").mkdir()
    for file in (path, good_file()): shutil.copy(file, folder/"music")
    return folder/"music"


def by_index(path, folder):
    code, said = command("index", beside_a_good_one(path, folder), "--out", folder/"index.parquet")
    return code == 0 and "2 pieces" in said, said, None


def by_prepare(path, folder):
    code, said = command("prepare", "--no-emopia", "--corpus", beside_a_good_one(path, folder), "--max-unusable", 1,
        "--out", folder/"data")
    return code == 0 and "cannot be used" not in said, said, None


def by_prompt(path, folder): # with as little after it as may be
    from psychoscore.midi import read_midi
    from psychoscore.notes import end_s
    try: seconds = end_s(notes := read_midi(path).notes) - notes["onset_s"].min() + 1
    except ValueError: seconds = 30
    code, said = command("compose", "--prompt", path, "--seconds", max(1, seconds), "--seed", 0, "--model",
        tiny_model(), "-o", folder/"out.mid")
    return code == 0, said, None


def by_vary(path, folder):
    code, said = command("compose", "--vary", path, "--trauma", 0.5, "--seconds", 2, "--seed", 0, "--model",
        tiny_model(), "-o", folder/"out.mid")
    return code == 0, said, None


def by_like(path, folder):
    code, said = command("search", "--index", search_index(), "--like", path)
    return code == 0, said, None


def by_http(path, folder):
    answer = client().post("/v1/profile", content=path.read_bytes())
    said = answer.json()
    if answer.status_code != 200: return False, "\n".join(e["message"] for e in said["errors"]), None
    return True, "\n".join(said["remarks"]), {name: part["value"] for name,
        part in said["profile"].items()} | {"notes": said["notes"]}


READERS = {"listen": by_listen, "index": by_index, "prepare": by_prepare, "prompt": by_prompt, "vary": by_vary,
    "like": by_like, "http": by_http}
QUIET = {"index", "prepare"} # These tell of files that are left out, not of notes
OTHERWISE = re.compile("|".join(( # Reasons that lie not in the file but in what is to be made of it
    "does not fit into a context", "shorter than a second", "seconds must be", "notes to vary last",
    "must hold at most", "must be at most [0-9]+ bytes")))


# --- what is expected, and what came

def expected(path): # -> (notes or None, [sentences])
    from psychoscore.midi import read_midi
    try: notes, remarks = read_midi(path.read_bytes())
    except ValueError as error: return None, [str(error)]
    return len(notes), list(remarks)


def judge(reader, notes, words, read, said): # -> "agrees", or what is the matter
    "Hold what a reader said against what is expected."
    if not read and not said.strip(): return "refuses without a word"
    if not read and (otherwise := OTHERWISE.search(said)):
        return f"refuses: {next(line for line in said.splitlines() if otherwise[0] in line)}"
    if notes is not None and not read: return f"DISAGREES: refuses: {said.strip().splitlines()[-1]}"
    if notes is None and read: return "DISAGREES: reads it"
    missing = [] if notes is not None and reader in QUIET else [sentence for sentence in words if sentence not in said]
    return f"DISAGREES: does not say: {missing[0]}" if missing else "agrees"


def child(paths, readers):
    "Try files, a line of JSON for each reader."
    for path in map(Path, paths):
        notes, words = expected(path)
        for reader in readers:
            with tempfile.TemporaryDirectory() as folder:
                try: read, said, estimates = READERS[reader](path, Path(folder))
                except Exception as error: verdict, estimates = f"DISAGREES: {type(error).__name__}: {error}", None
                else: verdict = judge(reader, notes, words, read, said)
            print(json.dumps([str(path), notes, words, reader, verdict, estimates]), flush=True)


def try_files(paths, readers): # -> {file: {"notes", "words", reader: verdict}}
    "Have another process try files, and another one when it dies."
    rows = {path: {} for path in map(str, paths)}
    while left := [path for path, row in rows.items() if not set(readers) <= set(row)]:
        tried = {path: {name for name in readers if name in rows[path]} for path in left}
        todo = [name for name in readers if name not in tried[left[0]]] if tried[left[0]] else readers
        batch = left[:1] if tried[left[0]] else left
        done = subprocess.Popen([sys.executable, __file__, "--child", *batch, "--readers", *todo],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="surrogateescape")
        last = None
        for line in done.stdout:
            if not line.startswith('["'): continue
            path, notes, words, reader, verdict, estimates = json.loads(line)
            rows[path] |= {"notes": notes, "words": "; ".join(words),
                reader: verdict} | ({f"{reader} estimates": estimates} if estimates else {})
            last = path, reader
            print(f"\r{sum(set(readers) <= set(row) for row in rows.values())} of {len(rows)} files", end="",
                file=sys.stderr)
        complaint = done.stderr.read()
        if done.wait() and (dead := next(((path, name) for path in batch for name in todo if name not in rows[path]),
            None)):
            if last is None and done.returncode > 0: raise RuntimeError(complaint[-1000:])
            rows[dead[0]][dead[1]] = f"ENDED THE PROCESS ({done.returncode})"
    for row in rows.values():
        mine, theirs = row.get("listen estimates"), row.get("http estimates")
        if mine and theirs and any(abs(mine[name] - theirs[name]) > 1e-3
            for name in mine): row["http"] = f"DISAGREES: {theirs}, listen {mine}"
        if theirs and theirs["notes"] != row["notes"]: row["http"] = f"DISAGREES: {theirs['notes']} notes"
    return rows


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("folder", nargs="?", type=Path)
    parse.add_argument("--expected", type=Path,
        help="CSV of file, and in words what should come of it; shown beside what came")
    parse.add_argument("--out", type=Path, help="CSV to write")
    parse.add_argument("--readers", nargs="+", choices=READERS, default=list(READERS))
    parse.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    given = parse.parse_args()
    if given.child: return child(given.child, given.readers)
    from psychoscore.midi import find_midi
    if not given.folder:
        given.folder, = data_folders(parse, "cases")
        given.expected = given.expected or given.folder/"expected.csv"
    wanted = {row[0]: row[1] for row in csv.reader(given.expected.open())} if given.expected else {}
    rows = try_files(find_midi([given.folder]), given.readers)
    table = [dict(file=str(Path(path).relative_to(given.folder)), expected=wanted.get(Path(path).name, ""),
        **{name: row.get(name) for name in ("notes", "words", *given.readers)}) for path, row in rows.items()]
    if given.out:
        with given.out.open("w", newline="", encoding="utf-8",
            errors="backslashreplace") as file: (writer := csv.DictWriter(file,
            table[0])).writeheader(); writer.writerows(table)
    for row in table:
        odd = {name: row[name] for name in given.readers if row[name] != "agrees"}
        print(f"{row['file']}: {'refused' if row['notes'] is None else row['notes']}; {row['words'] or 'no remarks'}")
        if row["expected"]: print(f"    expected: {row['expected']}")
        for name, verdict in odd.items(): print(f"    {name} {verdict}")
    bad = sum(any(str(row[name]).startswith(("DISAGREES", "ENDED", "refuses without")) for name in given.readers)
        for row in table)
    read = sum(row["notes"] is not None for row in table)
    print(f"{len(table)} files, {read} read, {bad} on which a reader disagrees or died")
    return int(bad > 0)


if __name__ == "__main__": run_script(main)
