"""Compose the ten example pieces into reports/examples, and one for each control into reports/examples/controls, with the
packaged model or the one given.

Usage: python .ci/make_examples.py [CHECKPOINT]
"""
import sys
from pathlib import Path

from psychoscore.compose import Composer
from psychoscore.request import Request
from psychoscore.profile import PsychometricProfile as P

FOLDER = Path(__file__).parent.parent/"reports/examples"
EXAMPLES = { # Name to what it is, and what is asked for
    "serene-calm": ("Serene and calm", P(0.2, 0.3)),
    "serene-restless": ("Serene and restless", P(0.2, 0.8)),
    "wounded-calm": ("Wounded and calm", P(0.8, 0.2)),
    "wounded-restless": ("Wounded and restless", P(0.8, 0.7)),
    "centre": ("The middle of both dials", P(0.5, 0.5)),
    "healing": ("Healing: wounded and restless, resolving", [(0, P(0.9, 0.7)), (32, P(0.2, 0.3))]),
    "storm": ("Storm: calm, a wounded outbreak, calm again", [(0, P(0.3, 0.2)), (18, P(0.9, 0.8)), (22, P(0.9, 0.8)), (38, P(0.3, 0.2))]),
    "unravelling": ("Unravelling: serenity comes apart", [(0, P(0.1, 0.3)), (36, P(0.9, 0.8))]),
    "dawn": ("Dawn: stillness wakes", [(0, P(0.5, 0.1)), (36, P(0.1, 0.9))]),
    "mourning": ("Mourning: grief grows quiet", [(0, P(0.8, 0.7)), (36, P(0.8, 0.1))]),
}

MIDDLE, SHORT_S = P(0.5, 0.5), 16
CONTROLS = { # Name to what is asked for beside the middle of both dials, 16 s, C and seed 0
    "nothing-else": {}, "trauma": dict(profile=[(0, P(0.1, 0.5)), (14, P(0.9, 0.5))]), "entropy": dict(profile=[(0, P(0.5, 0.1)), (14, P(0.5, 0.9))]),
    **{f"{name}-{value:g}": dict(plan={name: value}) for name, values in {
        "loudness": (35, 95), "density": (2, 12), "sustain": (0.2, 2), "chord": (1, 3), "register": (52, 74), "spread": (5, 16),
        "brightness": (-0.3, 0.35), "colour": (-0.5, 0.6)}.items() for value in values},
    "crescendo": dict(plan={"loudness": [(0, 35), (14, 95)]}), "accelerando": dict(plan={"density": [(0, 2), (14, 12)]}),
    "major": dict(mode="major"), "minor": dict(mode="minor"), "temperature-0.4": dict(temperature=0.4), "temperature-1.4": dict(temperature=1.4),
    "candidates-1": dict(candidates=1), "candidates-8": dict(candidates=8)}


def make_controls(composer: Composer):
    "Compose a piece for each control."
    (FOLDER/"controls").mkdir(exist_ok=True)
    wishes = [{"profile": MIDDLE, "seconds": SHORT_S, "seed": 0, "key": "C"} | options for options in CONTROLS.values()]
    for name, piece in zip(CONTROLS, composer.compose_batch([Request(**wish) for wish in wishes])): piece.save(FOLDER/f"controls/{name}.mid")
    composer.vary(composer.compose(**wishes[0]), P(0.9, 0.5)).save(FOLDER/"controls/varied.mid")
    opening = composer.compose(**wishes[0]).notes
    composer.compose(P(0.2, 0.8), SHORT_S, seed=0, prompt=opening[opening["onset_s"] < 8]).save(FOLDER/"controls/continued.mid")


def make_examples(composer: Composer):
    "Compose one take of each, and list the pieces on one page."
    pieces = composer.compose_batch([Request(profile, seconds=30 if isinstance(profile, P) else 40, seed=seed) for seed, (_, profile) in enumerate(EXAMPLES.values())])
    lines = ["# Examples", "", "Ten pieces by the packaged model, one take of each at the default setting, from the seeds 0 to 9: nobody chose among pieces. `make examples` writes them, each as `.mid` and as `.mp3` of the same name. On the docs site they play.", ""]
    for (name, (title, _)), piece in zip(EXAMPLES.items(), pieces):
        for suffix in (".mid", ".mp3"): piece.save(FOLDER/f"{name}{suffix}")
        course = "" if len(piece.trajectory.keyframes) == 1 else " " + ", ".join(f"at {t:g} s {p}" for t, p in piece.trajectory.keyframes) + "."
        lines += [f"[{title}]({name}.mid)", "", f"{piece.summary()}.{course}".replace("asked", "Asked", 1), ""]
    (FOLDER/"README.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    try: composer = Composer.from_pretrained(*sys.argv[1:2])
    except (OSError, ValueError) as error:
        print(f"make_examples: {error}", file=sys.stderr)
        sys.exit(2)
    make_examples(composer)
    make_controls(composer)
