"""What renderers of soundfonts make of the ten example pieces: pitch, dynamics, chroma, time, and where they install.

All play the packaged piano; symusic also plays the soundfont that pretty_midi brings along, as version 0.1 did. It needs
tinysoundfont (.venv/bin/pip install --no-deps tinysoundfont), and asks the package index for wheels.
Usage: python bench/sound.py [--out reports/bench/sound.csv]
"""
import io
import re
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pretty_midi
import scipy.io.wavfile

from bench.common import REPORTS, make_parser, run_script
from psychoscore.midi import read_midi
from psychoscore.notes import end_s, make_notes, midi_bytes
from psychoscore.sound import RATE, chroma_match, piano_zones, soundfont_bytes, strongest_hz


def by_midirenderer(notes, soundfont):
    import midirenderer
    return scipy.io.wavfile.read(io.BytesIO(midirenderer.render_wave_from(soundfont, midi_bytes(notes))))[1]/32768


def by_tinysoundfont(notes, soundfont):
    import tinysoundfont
    synth = tinysoundfont.Synth(samplerate=RATE)
    synth.program_select(0, synth.sfload(soundfont), 0, 0)
    events = sorted([(n["onset_s"] + n["duration_s"], 0, n["pitch"], 0) for n in notes] + [(n["onset_s"], 1, n["pitch"], n["velocity"]) for n in notes])
    parts, done = [], 0
    for at, starts, pitch, velocity in events:
        due = round(at*RATE) - done
        if due: parts.append(np.frombuffer(bytes(synth.generate(due)), np.float32).reshape(-1, 2)); done += due
        if starts: synth.noteon(0, int(pitch), int(velocity))
        else: synth.noteoff(0, int(pitch))
    return np.concatenate(parts)


def by_symusic(notes, soundfont):
    import symusic
    with tempfile.NamedTemporaryFile(suffix=".sf2") as file:
        file.write(soundfont); file.flush()
        return np.asarray(symusic.Synthesizer(sf_path=file.name, sample_rate=RATE).render(symusic.Score.from_midi(midi_bytes(notes)), stereo=True)).T


def wheels(name, of_version):
    "Platforms, of the four that matter, with a wheel for Python 3.11 and for 3.13, by the package index that pip asks."
    found = {}
    for python in ("3.11", "3.13"):
        for platform, tag in (("Linux x86-64", "manylinux_2_34_x86_64"), ("Linux arm64", "manylinux_2_34_aarch64"), ("macOS arm64", "macosx_11_0_arm64"), ("Windows", "win_amd64")):
            older = [f"--platform={re.sub('2_34', glibc, tag)}" for glibc in ("2_17", "2_28") if "2_34" in tag] + ([f"--platform={re.sub('_2_34', '2014', tag)}"] if "2_34" in tag else [])
            with tempfile.TemporaryDirectory() as folder:
                asked = subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", f"--python-version={python}", f"--platform={tag}", *older, "-d", folder, f"{name}=={of_version}"], capture_output=True)
            found.setdefault(platform, []).append(asked.returncode == 0)
    return ", ".join(platform if all(has) else f"{platform} (3.11)" for platform, has in found.items() if has[0])


def measure(play, soundfont_of, pieces):
    "What a renderer makes of a note, and of the pieces."
    tone = make_notes([0], [1], [69], 64)
    sounds, start = [], time.process_time()
    for notes in pieces: sounds.append(play(notes, soundfont_of(notes)))
    cpu_s, music_s = time.process_time() - start, sum(map(end_s, pieces))
    loud = [np.sqrt((play(note, soundfont_of(note))**2).mean()) for note in (make_notes([0], [1], [69], v) for v in (20, 110))]
    chroma = [chroma_match(notes, sound) for notes, sound in zip(pieces, sounds)]
    return dict(a4_hz=strongest_hz(play(tone, soundfont_of(tone))), from_20_to_110_db=20*np.log10(loud[1]/loud[0]), chroma_mean=np.mean(chroma), chroma_least=min(chroma),
                cpu_s_for_30_s=30*cpu_s/music_s, same_twice=bool((play(pieces[0], soundfont_of(pieces[0])) == sounds[0]).all()))


def main():
    args = make_parser(__doc__, "bench/sound.csv").parse_args()
    if not find_spec("tinysoundfont"): sys.exit("tinysoundfont is not installed: .venv/bin/pip install --no-deps tinysoundfont")
    pieces = [read_midi(path).notes for path in sorted((REPORTS/"examples").glob("*.mid"))]
    timgm = Path(pretty_midi.__file__).with_name("TimGM6mb.sf2").read_bytes()
    ours, theirs = lambda notes: soundfont_bytes(piano_zones(notes)), lambda notes: timgm
    for notes in pieces: ours(notes) # the samples are read before anything is timed
    rows = [dict(library=name, version=version(name), soundfont=font, wheels=wheels(name, version(name)), **measure(play, of, pieces))
            for name, play, font, of in (("midirenderer", by_midirenderer, "packaged piano", ours), ("tinysoundfont", by_tinysoundfont, "packaged piano", ours),
                                         ("symusic", by_symusic, "packaged piano", ours), ("symusic", by_symusic, "TimGM6mb", theirs))]
    table = pd.DataFrame(rows)
    table.to_csv(args.out, index=False, float_format="%.4g")
    print(table.to_string())


if __name__ == "__main__": run_script(main)
