"A program that uses psychoscore, for a type checker: `make test` runs mypy --strict over it, nothing runs it. An `ignore` marks what must be refused."
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from psychoscore.audition import best_of
from psychoscore.compose import Composer
from psychoscore.piece import Piece
from psychoscore.request import Request
from psychoscore.draft import Segment
from psychoscore.follow import compare, measure_windows, plot_asked_and_heard, shared_notes
from psychoscore.dataset import PreparedDataset, corpus_pieces, labelled_pieces, prepare
from psychoscore.dial import Dial, Grid, calibrate
from psychoscore.explain import explain, tell_moves
from psychoscore.emopia import load_emopia
from psychoscore.evaluate import estimate_profile
from psychoscore.listening import listen
from psychoscore.midi import read_midi
from psychoscore.notes import Key, estimate_key, midi_bytes
from psychoscore.model import load_model
from psychoscore.pipeline import PipelineConfig, run_pipeline
from psychoscore.profile import ProfileTrajectory, PsychometricProfile, as_trajectory, make_arc
from psychoscore.judges import judges
from psychoscore.protocol import protocol_of
from psychoscore.report import make_report, save_report
from psychoscore.search import PACKAGED, index_folder, load_index, make_probe
from psychoscore.serve import make_app
from psychoscore.settings import Settings
from psychoscore.synthetic import synthesize
from psychoscore.temperature import calculate_dynamic_temperature
from psychoscore.train import fit
from psychoscore.train_config import TrainConfig, load_config

profile = PsychometricProfile(trauma=0.8, entropy=0.2)
values: np.ndarray = profile.vector()
trauma: float|None = profile.trauma
at_once: np.ndarray = make_arc("healing", 30).vectors([0.0, 15.0])
arc: ProfileTrajectory = as_trajectory([(0, profile), (20, PsychometricProfile(0.1, 0.9))])
temperature: float = calculate_dynamic_temperature(profile)

composer = Composer.from_pretrained()
piece: Piece = composer.compose(profile, seconds=30, seed=0, key="D")
named: Piece = composer.compose(arc="healing", takes=8, key="Db")
table: list[Piece] = composer.compose_many(pd.DataFrame({"trauma": [0.8]}), seed=0, candidates=2)
again: str = composer.command(named)
worded: Piece = composer.compose(profile, plan={"density": 6.0, "loudness": [(0, 40), (30, 90)]})
asked_and_played: pd.DataFrame = worded.plan
pieces: list[Piece] = composer.compose_batch([Request(profile), Request(arc, seconds=10)])
kept: Piece = best_of(composer.compose_batch([Request(profile)]))
segments: list[Segment] = list(composer.stream(arc, seconds=20, seed=1))
candidates: int = composer.sampling.candidates
plain: Composer = Composer(composer.model, composer.about | {"sampling": {}})
asked = Request(profile, temperature=0.9, candidates=1)
own = Composer(*load_model("runs/own"))
varied: Piece = own.vary(piece, PsychometricProfile(0.1, 0.2))
shared: float = shared_notes(piece.notes, varied.notes)
moved = compare(piece, varied).loc["moved"]
windows = measure_windows(piece.notes, piece.seconds, window_s=4)
roll: Axes = piece.plot(ax=piece.plot())
drawn: Figure = plot_asked_and_heard(pieces)
said: str = piece.summary()
sounds_in: Key = piece.key
path: Path = piece.save("piece.mid")
wav: bytes = piece.encoded(".wav")
midi: bytes = midi_bytes(read_midi(path).notes)
key, margin = estimate_key(piece.notes)

heard: float = estimate_profile(path).trauma.value
lowest: float = min(one.estimate.entropy.low for one in listen(["a.mid", Path("b.mid")]) if one.estimate)

data: PreparedDataset = prepare(labelled_pieces("labels.csv"), "data/own")
more: PreparedDataset = prepare(corpus_pieces("midis"), "data/corpus")
log = fit(data, "runs/own", load_config("small", max_steps=10))
clips = load_emopia("EMOPIA_2.2")
synthesize("data/pairs", num_pairs=100)
config = TrainConfig()

dial: Dial = calibrate(composer, Grid(steps=2, repeats=1), takes=2)
moves: str = tell_moves(explain(composer, profile, seeds=8))
found, measured = make_report(composer, data, protocol_of(composer, development=True, arcs=0), judges())
paths: list[Path] = save_report(found, measured, "reports")
hits = load_index("music.parquet").search(profile, 5)
index, unusable = index_folder("music", "music.parquet", PACKAGED)
probe = make_probe(PACKAGED, "data/own")
app = make_app(Settings(workers=2), composer)
done = run_pipeline(PipelineConfig(quick=True), "runs/pipeline", print)

PsychometricProfile("high")  # type: ignore[arg-type]
calculate_dynamic_temperature(0.5)  # type: ignore[arg-type]
estimate_profile(30)  # type: ignore[arg-type]
composer.compose(profile, seconds="30")  # type: ignore[arg-type]
piece.plot("piece.png")  # type: ignore[arg-type]
composer.compose(profile, plan={"density": "high"})  # type: ignore[dict-item]
composer.compose(profile, candidate=2)  # type: ignore[call-arg]
composer.stream(profile, key=1)  # type: ignore[arg-type]
composer.vary(piece, 0.5)  # type: ignore[arg-type]
Composer("runs/own", {})  # type: ignore[arg-type]
fit(data, "runs/own", "small")  # type: ignore[arg-type]
