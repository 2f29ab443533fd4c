"""What comes of tens of thousands of damaged MIDI files: read, refused, or a fault, by this reader or by others'.

Files of several origins are damaged in ways that have names: the ten examples, files that five libraries wrote, some
made by hand, some of them to cost time, and MIDI of the folders that are given, of cases and emopia in PSYCHOSCORE_DATA
by default (what lies in reports/ for this reader had the test files of two other projects, too). Case i depends on the
seed, on i and on these files alone. Two processes read every case twice, the second backwards and with another
PYTHONHASHSEED. They have 500 MB each beyond what they begin with, a case has two seconds, and a process that dies or
hangs is counted and begun again after it. A case is read or refused; all else is a fault. Exit code 1 when there were
faults.

Usage: python bench/fuzz_midi.py [FOLDER ...] [--cases 24000] [--seed 0] [--keep FOLDER] [--out reports/bench/fuzz.json]
       python bench/fuzz_midi.py --parser symusic [--cases 4000] [--python OTHER/bin/python]     into fuzz_symusic.json
       (mido and pretty_midi likewise)
"""
import argparse
import gzip
import hashlib
import io
import json
import math
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
MOST_MB = 500 # Beyond what a process begins with
MOST_S, PATIENCE_S = 2, 10 # Of the processor's time, for a case, and until the process is ended
LARGEST = 64*1024 # Bytes of an undamaged file; damage does not need larger ones


# --- files to damage

def chunk(kind, body): return kind + struct.pack(">I", len(body)) + body


def smf(*tracks, kind=1, division=480):
    head = struct.pack(">HHh", kind, min(len(tracks), 65_535), division)
    return chunk(b"MThd", head) + b"".join(chunk(b"MTrk", track) for track in tracks)


def rmid(data): return b"RIFF" + struct.pack("<I", len(data) + 12) + b"RMIDdata" + struct.pack("<I", len(data)) + data


END, SCALE = b"\0\xff\x2f\0", b"".join(b"\0\x90%c\x50\x60\x80%c\0" % (p, p) for p in range(50, 80))
RUNNING = b"\0\x90\x3c\x50" + b"".join(b"\x60%c\0\0%c\x50" % (p, p + 1) for p in range(60, 90)) + b"\x60\x5a\0"
PEDAL = b"\0\xb0\x40\x7f" + SCALE[:64] + b"\0\xb0\x40\0\0\xb0\x7b\0"
SYSEX = b"\0\xf0\x05\x7e\x7f\x09\x01\xf7\0\xf7\x03\x01\x02\x03\0\xff\x58\x04\x04\x02\x18\x08\0\xff\x51\x03\x07\xa1\x20"
WORDS = b"\0\xff\x03\x05Words" + b"".join(b"\x60\xff\x05\x02la" for _ in range(20)) + END
HAND = {
    "running status": smf(RUNNING + END, kind=0), "sysex": smf(SYSEX + SCALE + END, kind=0),
    "pedal": smf(SYSEX + END, PEDAL + SCALE + END), "SMPTE": smf(SCALE + END, kind=0, division=-25*256 + 40),
    "format 2": smf(SCALE + END, RUNNING + END, kind=2), "karaoke": smf(WORDS, SCALE + END),
    "other instruments": smf(b"\0\xc0\x30" + SCALE + END, b"\0\xc9\0" + SCALE.replace(b"\x90", b"\x99") + END,
    RUNNING + END),
    "unknown chunk": smf(SCALE + END) + chunk(b"XFIH", bytes(20)),
    "RMID": rmid(smf(SCALE + END)),
    "MacBinary": (b"\0\x08song.mid" + bytes(55) + b"Midi????" + bytes(56))[:128].ljust(128, b"\0") + smf(SCALE + END),
    "gzip": gzip.compress(smf(SCALE + END), mtime=0),
    "gzip bomb": gzip.compress(smf(SCALE + END) + bytes(30_000_000), mtime=0),
    "many tracks": smf(*[SCALE[:32] + END]*60),
    "dense": smf(b"\0\x90\x40\x40" + b"\1\x40\0\1\x40\x40"*8_000 + END, kind=0),
}


def hostile(size): # -> {name: bytes}
    "Files that are well-formed, and made to cost time: each of about so many bytes."
    note, port, few = b"\0\x90\x40\x40", b"\0\xff\x21\x01%c", size//3000 + 1
    def on_all_channels(event): return b"".join(port % p + b"".join(event(c) for c in range(16))
        for p in range(min(few, 128)))
    return {
        "silences": smf(b"\0\xb0\x7b\0" + b"\0\x7b\0"*(size//6) + END, *[note + END]*(size//40)),
        "silences of all keys": smf(b"\0\xb0\x7b\0" + b"\1\x7b\0"*(size//3) + b"".join(b"\0\x90%c\x40" % key
        for key in range(128)) + END),
        "pedals": smf(on_all_channels(lambda c: b"\0%c\x40\x40\1%c\x40\0\0%c\x40\x7f" % (0x90 | c, 0x80 | c,
        0xb0 | c) + b"\0\x40\x7f\1\x40\0"*25) + END),
        "programs": smf(on_all_channels(lambda c: b"\0%c\x40\x40" % (0x90 | c) + b"\0\x41\x40"*7
                                                  + b"\0%c\x10" % (0xc0 | c)
                                                  + b"\0\0"*50) + END),
        "tempos": smf(note + b"\0\xff\x51\x03\x07\xa1\x20"*(size//7) + END),
        "strikes": smf(note + b"\1\x40\x40"*(size//3) + END), "tracks": smf(*[note + END]*(size//16)),
        "patterns": smf(*[note + b"\1\x40\0" + END]*(size//19), kind=2),
        "empty events": smf(b"\0\xff\1\0"*(size//4) + END),
        "chunks": smf() + b"XXXX\0\0\0\0"*(size//8), "RMID of chunks": b"RIFF\0\0\0\0RMID" + b"XXXX\0\0\0\0"*(size//8),
        "one number": smf(b"\x80"*size),
        "gzip in gzip": gzip.compress(gzip.compress(smf(note + END), mtime=0), mtime=0),
    }


def by_libraries(): # -> {name: bytes}
    "The same music as five libraries write it."
    import mido, music21, numpy as np, pretty_midi, symusic # noqa: E401
    rng = np.random.default_rng(0)
    columns = zip(rng.uniform(0.1, 2, 60), rng.integers(30, 100, 60), rng.integers(20, 120, 60))
    notes = [(i/4, i/4 + d, int(p), int(v)) for i, (d, p, v) in enumerate(columns)]
    events = sorted([(start, 1, p, v) for start, _, p, v in notes] + [(end, 0, p, 0) for _, end, p, _ in notes])
    file, track, now = mido.MidiFile(), mido.MidiTrack(), 0
    for at, on, pitch, velocity in events:
        track.append(mido.Message("note_on" if on else "note_off", note=pitch, velocity=velocity,
            time=round(at*960) - now))
        now = round(at*960)
    file.tracks.append(track); file.save(file=(by_mido := io.BytesIO()))
    midi, piano = pretty_midi.PrettyMIDI(), pretty_midi.Instrument(0)
    piano.notes = [pretty_midi.Note(v, p, start, end) for start, end, p, v in notes]
    midi.instruments.append(piano); midi.write(by_pretty_midi := io.BytesIO())
    score, part = symusic.Score(480), symusic.Track("piano", 0, False)
    for start, end, p, v in notes: part.notes.append(symusic.Note(round(start*960), round((end - start)*960), p, v))
    score.tracks.append(part)
    stream = music21.stream.Stream()
    for start, end, p, _ in notes: stream.insert(start*2,
        music21.note.Note(p, quarterLength=round((end - start)*8)/4 or 0.25))
    by_music21 = music21.midi.translate.streamToMidiFile(stream).writestr()
    return {"mido": by_mido.getvalue(), "pretty_midi": by_pretty_midi.getvalue(), "symusic": score.dumps_midi(),
        "music21": by_music21}


def origins(
    folders, # Of MIDI, given by the user
): # -> {origin: [bytes]}
    "Files to damage, by where they are from."
    given = {str(folder): sorted(p for p in Path(folder).rglob("*")
        if p.suffix.lower() in (".mid", ".midi", ".kar", ".rmi", ".gz") and p.stat().st_size <= LARGEST)
        for folder in folders}
    for folder, paths in given.items():
        if not paths: raise SystemExit(f"no MIDI files of at most {LARGEST} bytes in {folder}")
    files = {Path(folder).name: [p.read_bytes() for p in random.Random(0).sample(paths, min(200, len(paths)))]
        for folder, paths in given.items()}
    files |= {name: [data] for name, data in by_libraries().items()}
    files["examples"] = [p.read_bytes() for p in sorted((ROOT/"reports/examples").glob("*.mid"))]
    return files | {"by hand": list(HAND.values()), "hostile": list(hostile(3000).values())}


# --- damage

def chunks(data): # -> [(start, end)] of the chunks as a reader would find them
    at, found = 0, []
    while at + 8 <= len(data) and len(found) < 1000:
        end = at + 8 + int.from_bytes(data[at + 4:at + 8], "big")
        found.append((at, min(end, len(data))))
        at = end
    return found or [(0, len(data))]


def put(data, at, new, instead=0): return data[:at] + new + data[at + instead:]
def place(rng, data): return rng.randrange(len(data)) if data else 0


def change_byte(rng, data, _): return put(data, place(rng, data), rng.randbytes(1), 1)
def interesting_byte(rng, data, _): return put(data, place(rng, data),
    bytes([rng.choice((0, 1, 0x3f, 0x40, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xb0, 0xbf, 0xf0, 0xf7, 0xff))]), 1)
def flip_bit(rng, data, _): return put(data, at := place(rng, data),
    bytes(b ^ 1 << rng.randrange(8) for b in data[at:at + 1]), 1)
def truncate(rng, data, _): return data[:place(rng, data)]
def insert(rng, data, _): return put(data, place(rng, data), rng.randbytes(rng.randint(1, 20)))
def delete(rng, data, _): return put(data, place(rng, data), b"", rng.randint(1, 20))
def repeat(rng, data, _): return put(data, at := place(rng, data), data[at:at + rng.randint(1, 200)]*rng.randint(1, 50))
def splice(rng, data, other): return data[:place(rng, data)] + other[place(rng, other):]
def concatenate(rng, data, other): return data + other
def huge_delta(rng, data, _): return put(data, place(rng, data),
    rng.choice((b"\xff\xff\xff\x7f", b"\xff\xff\x7f", b"\xff\xff\xff\xff\x7f", b"\x80"*30 + b"\0",
    b"\x88\x80\x80\x80\0")))
def huge_event(rng, data, _): return put(data, place(rng, data),
    rng.choice((b"\0\xff\x01", b"\0\xf0", b"\0\xf7", b"\0\xff\x51", b"\0\xff\x58",
    b"\0\xff\x2f")) + rng.choice((b"\xff\xff\xff\x7f", b"\x87\xff\x7f", b"\x00", b"\x7f")))
def tempo(rng, data, _): return put(data, rng.choice(chunks(data))[0] + 8,
    b"\0\xff\x51\x03" + rng.choice((b"\0\0\0", b"\0\0\1", b"\xff\xff\xff", rng.randbytes(3))))
def division(rng, data, _): return put(data, 12,
    rng.choice((b"\0\0", b"\0\1", b"\x7f\xff", b"\x80\0", b"\xe7\x28", b"\xff\xff", rng.randbytes(2))), 2)
def header(rng, data, _): return put(data, rng.randrange(14), rng.randbytes(rng.randint(1, 3)), 2)
def random_body(rng, data, _): return data[:rng.choice((14, 22))] + rng.randbytes(rng.randint(0, 3000))


def random_track(rng, data, _):
    def events(): return (rng.choice((rng.randrange(256), rng.randrange(128), 0x90, 0x40))
        for _ in range(rng.randint(0, 2000)))
    return smf(*(bytes(events()) for _ in range(rng.randint(1, 4))))


def notes_anywhere(rng, data, _): return put(data, place(rng, data),
    b"".join(bytes((0, 0x80 | rng.randrange(0x40), rng.randrange(256), rng.randrange(256)))
    for _ in range(rng.randint(1, 50))))


def chunk_length(rng, data, _):
    at = rng.choice(chunks(data))[0] + 4
    return put(data, at, rng.choice((struct.pack(">I", 2**32 - 1), struct.pack(">I", 2**31), bytes(4),
        struct.pack(">I", rng.randrange(70_000)), data[at:at + 4][::-1])), 4)




def duplicate_chunk(rng, data, _):
    start, end = rng.choice(chunks(data))
    return put(data, end, data[start:end]*rng.choice((1, 1, 3, 100)))




def swap_chunks(rng, data, _):
    parts = [data[start:end] for start, end in chunks(data)]
    return b"".join(rng.sample(parts, len(parts)))


def swap_lengths(rng, data, _):
    (a, _), (b, _) = rng.choice(found := chunks(data)), rng.choice(found)
    one, other = data[a + 4:a + 8], data[b + 4:b + 8]
    return put(put(data, a + 4, other, 4), b + 4, one, 4)


DAMAGE = (change_byte, interesting_byte, flip_bit, truncate, insert, delete, repeat, splice, concatenate, huge_delta,
    huge_event, tempo, division, header, random_body, random_track,
          notes_anywhere, chunk_length, duplicate_chunk, swap_chunks, swap_lengths)


def case(
    seed, number,
    files, # {origin: [bytes]}
): # -> (origin, damage, bytes)
    "Damage a file: one kind, once or a few times; now and then within gzip or RMID."
    rng = random.Random(f"{seed}:{number}") # from a string: the same whatever PYTHONHASHSEED is
    origin, damage = rng.choice(list(files)), rng.choice(DAMAGE)
    data, other = rng.choice(files[origin]), rng.choice(files[rng.choice(list(files))])
    packed = data[:2] == b"\x1f\x8b" and len(data) < LARGEST//4 and rng.random() < 0.7
    if packed: data = gzip.decompress(data) # what is within is damaged, not its checksum
    for _ in range(rng.choice((1, 1, 1, 2, 5))): data = damage(rng, data[:2_000_000], other)
    if packed or rng.random() < 0.02: data = gzip.compress(data, 1, mtime=0)
    elif rng.random() < 0.02: data = rmid(data)
    return origin, damage.__name__, data


# --- parsers: bytes -> [(onset_s, end_s, pitch, velocity)], and what a sound note of theirs is

def by_psychoscore():
    from psychoscore.midi import Limits, read_midi
    def read(data):
        notes, remarks = read_midi(data)
        assert len(notes) and all(isinstance(remark, str) and remark and "\n" not in remark
            for remark in remarks), "no notes, or a remark that is no line"
        return list(zip(notes["onset_s"].tolist(), (notes["onset_s"] + notes["duration_s"]).tolist(),
            notes["pitch"].tolist(), notes["velocity"].tolist()))
    return read, (ValueError,), range(21, 109), Limits().seconds


def by_symusic():
    import symusic
    def read(data): return [(n.time, n.time + n.duration, n.pitch, n.velocity)
        for track in symusic.Score.from_midi(data, ttype="second").tracks for n in track.notes]
    return read, (Exception,), range(128), math.inf


def by_pretty_midi():
    import warnings
    import pretty_midi
    warnings.simplefilter("ignore")
    def read(data): return [(n.start, n.end, n.pitch, n.velocity)
        for instrument in pretty_midi.PrettyMIDI(io.BytesIO(data)).instruments for n in instrument.notes]
    return read, (Exception,), range(128), math.inf


def by_mido():
    import mido
    def read(data): # its messages, in seconds: it knows no notes
        now, rows = 0.0, []
        for message in mido.MidiFile(file=io.BytesIO(data)):
            now += message.time
            if message.type == "note_on" and message.velocity: rows.append((now, now + 1, message.note,
                message.velocity))
        return rows
    return read, (Exception,), range(128), math.inf


PARSERS = {"psychoscore": by_psychoscore, "symusic": by_symusic, "pretty_midi": by_pretty_midi, "mido": by_mido}


def fault(notes, pitches, most_s):
    "What is wrong with notes, or None."
    begins = min((start for start, *_ in notes), default=0)
    for start, end, pitch, velocity in notes:
        if pitch not in pitches: return "pitch out of range"
        if not 1 <= velocity <= 127: return "velocity out of range"
        if not 0 <= start < math.inf: return "onset out of range"
        if not start < end < math.inf: return "duration out of range"
        if end - begins > most_s + 1e-6: return "longer than the limit"


def outcome(read, refusals, pitches, most_s, data): # -> (outcome, digest of all that was said, notes)
    "Read one case."
    try: notes = read(data)
    except refusals as error:
        said = f"{type(error).__name__}: {error}"
        lines = str(error).strip().count("\n") + 1 if str(error).strip() else 0
        return ("refused" if lines == 1 or refusals == (Exception,) else f"refused in {lines} lines"), said, 0
    except BaseException as error: return f"exception {type(error).__name__}", repr(error), 0
    return fault(notes, pitches, most_s) or "read", repr(notes), len(notes)


def peak_mb():
    "Most memory that this process has had, MB."
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])/1000


def load(folder): # -> {origin: [bytes]}
    files = defaultdict(list)
    for path in sorted(Path(folder).glob("*/*")): files[path.parent.name].append(path.read_bytes())
    return files


def child(folder, parser, seed, cases):
    "Read cases, and print a line for each."
    files, reader = load(folder), PARSERS[parser]()
    outcome(*reader, HAND["sysex"]) # whatever is imported only now
    size = int(Path("/proc/self/statm").read_text().split()[0])*resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MOST_MB*1_000_000,)*2)
    for number in cases:
        origin, damage, data = case(seed, number, files)
        signal.setitimer(signal.ITIMER_PROF, PATIENCE_S) # ends the process, whatever it is in
        before, began = peak_mb(), time.process_time()
        what, said, notes = outcome(*reader, data)
        seconds, grown = time.process_time() - began, peak_mb() - before
        if outcome(*reader, data)[1] != said: what = "another answer at the second reading"
        elif seconds > MOST_S: what = "too slow"
        print(json.dumps([number, origin, damage, len(data), what,
            hashlib.sha256(said.encode("utf8", "replace")).hexdigest(), notes, round(seconds, 4), round(grown, 1)]),
            flush=True)


# --- the parent

def run_cases(folder, parser, seed, cases, hash_seed=0, python=sys.executable, script=__file__): # -> {number: row}
    "Have cases, a range, read by a child, and by another when it dies."
    rows, files = {}, load(folder)
    while cases:
        given = ("--child", folder, "--parser", parser, "--seed", seed, "--range", cases.start, cases.stop, cases.step)
        done = subprocess.run([python, script, *map(str, given)], capture_output=True, text=True,
            env=os.environ | {"PYTHONHASHSEED": str(hash_seed)})
        read = [json.loads(line) for line in done.stdout.splitlines() if line.endswith("]")]
        if not read and done.returncode > 0:
            raise RuntimeError(f"{parser} cannot be tried with {python}: {done.stderr[-500:]}")
        rows |= {row[0]: row[1:] for row in read}
        cases = cases[len(read):]
        if cases:
            origin, damage, data = case(seed, cases[0], files)
            name = signal.Signals(-done.returncode).name if done.returncode < 0 else f"exit code {done.returncode}"
            rows[cases[0]] = [origin, damage, len(data), "hung" if name == "SIGPROF" else f"died of {name}", "", 0, 0,
                0]
            cases = cases[1:]
    return rows


def fuzz(folder, parser="psychoscore", cases=20_000, seed=0, **how): # -> a pandas table, a row a case
    "Read every case in two processes, one backwards."
    import pandas as pd
    with ThreadPoolExecutor(2) as pool:
        both = pool.map(partial(run_cases, folder, parser, seed, **how), (range(cases), range(cases - 1, -1, -1)),
            (0, 1))
    table, again = (pd.DataFrame.from_dict(rows, "index",
        columns=["origin", "damage", "bytes", "outcome", "digest", "notes", "seconds", "grown_mb"]).sort_index()
        for rows in both)
    table.loc[(table.outcome == again.outcome) & (table.digest != again.digest),
        "outcome"] = "another answer in another process"
    table.loc[table.outcome.isin(("read", "refused")) & (table.outcome != again.outcome), "outcome"] = again.outcome
    return table


def summarise(table): # -> dict
    "What came of the cases."
    slowest, largest = table.loc[table.seconds.idxmax()], table.loc[table.grown_mb.idxmax()]
    faults = table[~table.outcome.isin(("read", "refused"))]
    return dict(cases=len(table), faults=len(faults), outcomes=table.outcome.value_counts().to_dict(),
                slowest=dict(seconds=float(slowest.seconds), case=int(slowest.name), damage=slowest.damage,
                bytes=int(slowest.bytes)), mean_ms=round(1000*float(table.seconds.mean()), 3),
                largest=dict(mb=float(largest.grown_mb), case=int(largest.name), damage=largest.damage,
                bytes=int(largest.bytes)),
                by_damage={name: part.outcome.value_counts().to_dict() for name, part in table.groupby("damage")},
                by_origin={name: part.outcome.value_counts().to_dict() for name, part in table.groupby("origin")},
                examples={what: [int(n) for n in part.index[:5]] for what, part in faults.groupby("outcome")})


def version_of(package, python):
    return subprocess.run([python, "-c", f"from importlib.metadata import version; print(version({package!r}))"],
        capture_output=True, text=True).stdout.strip()


def store(files, folder):
    "Lay files out where the processes find them."
    for origin, contents in files.items():
        (Path(folder)/origin).mkdir()
        for i, data in enumerate(contents): (Path(folder)/origin/f"{i:04d}").write_bytes(data)


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("folders", nargs="*", help="of MIDI to be damaged, too")
    parse.add_argument("--cases", type=int, help="24,000 by default, 4,000 of another parser")
    parse.add_argument("--seed", type=int, default=0)
    parse.add_argument("--parser", choices=PARSERS, default="psychoscore")
    parse.add_argument("--python", default=sys.executable, help="interpreter that has the parser")
    parse.add_argument("--out", type=Path, help="reports/bench/fuzz.json by default, fuzz_NAME.json of another parser")
    parse.add_argument("--keep", type=Path, help="folder for the inputs of faults")
    parse.add_argument("--child", help=argparse.SUPPRESS)
    parse.add_argument("--range", type=int, nargs=3, help=argparse.SUPPRESS)
    given = parse.parse_args()
    if given.child: return child(given.child, given.parser, given.seed, range(*given.range))
    from bench.common import REPORTS, data_folders, write_json # the children may lack it
    ours = given.parser == "psychoscore"
    folders = given.folders or (data_folders(parse, "cases", "emopia") if os.environ.get("PSYCHOSCORE_DATA") else [])
    cases = (24_000 if ours else 4000) if given.cases is None else given.cases
    with tempfile.TemporaryDirectory() as folder:
        store(origins(folders), folder)
        table, files = fuzz(folder, given.parser, cases, given.seed, python=given.python), load(folder)
    report = dict(parser=given.parser, seed=given.seed, python=sys.version.split()[0],
        parser_version=version_of(given.parser, given.python),
        written_by={name: version(name) for name in ("mido", "pretty_midi", "symusic", "music21")},
        files={name: len(f) for name, f in files.items()}) | summarise(table)
    write_json(report, given.out or REPORTS/"bench"/("fuzz.json" if ours else f"fuzz_{given.parser}.json"))
    print(json.dumps({k: v for k, v in report.items() if not k.startswith("by_")}, indent=1))
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
        for number, what in table.outcome[~table.outcome.isin(("read", "refused"))].items():
            (given.keep/f"{number}-{what.replace(' ', '_')}.mid").write_bytes(case(given.seed, number, files)[2])
    return int(report["faults"] > 0)


if __name__ == "__main__": sys.exit(main())
