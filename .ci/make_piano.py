"""Make the piano that everything sounds with: psychoscore/assets/piano, cut from the Salamander Grand Piano.

Usage: python .ci/make_piano.py

Three of its sixteen velocity layers, every third key, fetched with npm. A sample is one microphone's channel, since the
sum of both cancels some partials by 12 dB; it is 8 s long at most and stored as Ogg Vorbis. Layers of a key are
brought to one level: the renderer makes loud notes louder, layers only make them brighter.
"""
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import scipy.signal
import soundfile

PIANO = Path(__file__).parent.parent/"psychoscore/assets/piano"
PACKAGE, VERSION = "@audio-samples/piano-velocity{}", "1.0.5"
LAYERS = {"soft": (4, 53), "medium": (9, 82), "loud": (13, 127)} # Layer of the Salamander, and the highest velocity here: halfway between those that it was recorded at
KEYS = {f"{name}{octave}": 12*(octave + 1) + step for octave in range(9) for name, step in (("C", 0), ("D#", 3), ("F#", 6), ("A", 9)) if 21 <= 12*(octave + 1) + step < 108} # its C8 sounds a semitone sharp, so A7 serves up to there
SECONDS, FADE = 8, 0.3 # Longest sample, and the share of it in which it dies away
LEAD_S = 0.002 # Kept before the hammer strikes
RUMBLE_HZ, RUMBLE = 20, 1/8 # What is lower, or lower than this share of the fundamental, is rumble and mains hum; at the highest keys it was the strongest
PEAK = 0.95 # Of the loudest sample
PLAYED = dict( # What every player of these samples does alike
    release_s=0.5, # From the end of a note until it is 80 dB quieter
    undamped_from=90, undamped_release_s=5.0, # MIDI number from which strings have no damper, and ring on
    width=0.6, # Of the pan from the lowest key to the highest, of 1 on each side
    gain=0.8) # Of a sample at velocity 127; it goes with the square of the velocity
QUALITY = 0.4 # Of Vorbis, 0 to 1
LICENCE = """# The piano

Salamander Grand Piano V3, a Yamaha C5 recorded by Alexander Holm, licensed under
[CC BY 3.0](https://creativecommons.org/licenses/by/3.0/); taken from the npm packages `@audio-samples/piano-velocity*`
(Jan Forst). Changed: three of the sixteen velocity layers, one channel, cut to 8 s, levels matched, Ogg Vorbis.
`python .ci/make_piano.py` makes this folder. `piano.json` says which sample sounds at which key and velocity.
"""


def fetch(layer: int, folder: Path) -> dict[int, tuple[np.ndarray, int]]:
    "Samples of a velocity layer by MIDI pitch, each (N, 2) with its rate."
    spec = f"{PACKAGE.format(layer)}@{VERSION}"
    packed = subprocess.run(["npm", "pack", "--silent", spec], cwd=folder, capture_output=True, text=True, check=True).stdout.split()[-1]
    with tarfile.open(folder/packed) as archive: archive.extractall(folder/str(layer), filter="data")
    return {pitch: soundfile.read(folder/f"{layer}/package/audio/{name}v{layer}.ogg") for name, pitch in KEYS.items()}


def cut(samples: np.ndarray, rate: int, pitch: int) -> np.ndarray: # (N,) -> (N',)
    "Without rumble, from just before the hammer strikes, dying away at the end."
    lowest_hz = max(RUMBLE_HZ, RUMBLE*440*2**((pitch - 69)/12))
    samples = scipy.signal.sosfiltfilt(scipy.signal.butter(4, lowest_hz, "highpass", fs=rate, output="sos"), samples)
    struck = np.flatnonzero(np.abs(samples) > 0.02*np.abs(samples).max())[0]
    kept = samples[max(struck - round(LEAD_S*rate), 0):][:SECONDS*rate].copy()
    fading = round(FADE*len(kept))
    kept[-fading:] *= np.cos(np.linspace(0, np.pi/2, fading))**2
    return kept


def level(samples: np.ndarray, rate: int) -> float:
    "Root mean square of the first half second."
    return np.sqrt((samples[:rate//2]**2).mean())


def make_piano():
    "Fetch, cut, match, and write."
    with tempfile.TemporaryDirectory() as folder: layers = {name: fetch(number, Path(folder)) for name, (number, _) in LAYERS.items()}
    made, rates = {}, {rate for layer in layers.values() for _, rate in layer.values()}
    assert len(rates) == 1, f"samples of one rate are expected, got {rates}"
    rate = rates.pop()
    for pitch in KEYS.values():
        model = layers["medium"][pitch][0]
        near = (model[:rate//2]**2).sum(0).argmax() # the microphone that hears this key best
        wanted = level(model, rate) # of both microphones
        for name in LAYERS:
            sample = cut(layers[name][pitch][0][:, near], rate, pitch)
            made[pitch, name] = sample*wanted/level(sample, rate)
    loudest = max(np.abs(sample).max() for sample in made.values())
    for old in PIANO.glob("*.ogg"): old.unlink()
    PIANO.mkdir(parents=True, exist_ok=True)
    for (pitch, name), sample in made.items(): soundfile.write(PIANO/f"{pitch}-{name}.ogg", PEAK/loudest*sample, rate, format="OGG", subtype="VORBIS", compression_level=1 - QUALITY)
    about = dict(rate=rate, pitches=sorted(KEYS.values()), layers=[dict(name=name, up_to=up_to) for name, (_, up_to) in LAYERS.items()], **PLAYED)
    (PIANO/"piano.json").write_text(json.dumps(about, indent=1) + "\n")
    (PIANO/"README.md").write_text(LICENCE)
    print(f"{len(made)} samples, {sum(p.stat().st_size for p in PIANO.iterdir())/1e6:.2f} MB in {PIANO}")


if __name__ == "__main__":
    try: make_piano()
    except (OSError, subprocess.CalledProcessError) as error: sys.exit(f"make_piano: {error} {getattr(error, 'stderr', '') or ''}")
