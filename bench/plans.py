"""What parts of the way to plan are worth: one leg of training each, from the same weights and for as many steps.

whole           dials and plan are added to their segment's tokens; headers say what a listener hears; all sources
tokens alone    plans stand in the headers, and nothing is added
labels          headers say the label of the clip, and its place by its notes: a folder that was prepared without --relabel
without ASAP    a corpus of pop alone

Each arm is measured by the nats that a note of EMOPIA's validation clips costs, given its plan, paired with the first
arm's by clip, and by bench/control.py's square, one candidate, so that choosing does not hide what the model does. An
arm that has its rows is not trained again, and a leg that was killed goes on with the same command.
Usage: python bench/plans.py --data FOLDER --labels FOLDER --init MODEL --runs FOLDER [--only ARM ...] [--steps 450] [--out reports/bench/plans.csv]
"""
from pathlib import Path

import pandas as pd
import torch

import psychoscore.model
from bench.common import make_parser, run_script
from bench.control import SECONDS, Arm, dial_figures, follows
from psychoscore.compose import Composer
from psychoscore.dataset import PreparedDataset
from psychoscore.dial import Grid, compose_grid
from psychoscore.judges import judges
from psychoscore.measure import hear_all
from psychoscore.model import Conditions, load_model
from psychoscore.protocol import DEVELOPMENT_SEED
from psychoscore.train import evaluate, fit, nats_per_note
from psychoscore.train_config import load_config

ARMS = ("whole", "tokens alone", "labels", "without ASAP")
POP = "corpus-" # How pieces of the first corpus, POP909, are called


def without_asap(folder: Path, out: Path) -> Path:
    "The same folder with POP909 as its corpus."
    if not out.exists():
        out.mkdir(parents=True)
        for name in ("meta.json", "tokens.bin"): (out/name).symlink_to((folder/name).resolve())
        pieces = pd.read_parquet(folder/"pieces.parquet")
        pieces[(pieces.source != "corpus") | pieces.piece_id.str.startswith(POP)].to_parquet(out/"pieces.parquet")
    return out


class NothingAdded(Conditions):
    "Vectors that stay zero."
    def __init__(self, width):
        super().__init__(width)
        self.weight.register_hook(torch.zeros_like)


def train(name: str, args) -> Path:
    "Train an arm, or what is left of it."
    folder = args.runs/name.replace(" ", "_")
    data = args.labels if name == "labels" else without_asap(args.data, args.runs/"pop") if name == "without ASAP" else args.data
    config = load_config("plans", init=str(args.init), max_steps=args.steps, eval_interval=args.steps)
    fit(PreparedDataset(data), folder, config, resume=True, checkpoint_minutes=2)
    return folder


def measure(name: str, folder: Path, data: PreparedDataset, repeats: int) -> tuple[list[dict], pd.DataFrame]:
    "A row for each judge, and the nats of every clip."
    scores, composer = evaluate(load_model(folder)[0], data), Arm(Composer.from_pretrained(folder), "1 candidate")
    asked, pieces, _ = compose_grid(composer, Grid(5, repeats, SECONDS, DEVELOPMENT_SEED))
    followed = follows(composer, pieces)
    return [{"arm": name, "judge": judge, "pieces": len(pieces)} | dial_figures(table) | followed
            for judge, table in hear_all(asked, pieces, judges()).items()], scores


def main():
    parser = make_parser(__doc__, "bench/plans.csv")
    parser.add_argument("--data", type=Path, required=True, help="folder of `psychoscore prepare --relabel` with rule-made pairs, POP909 and ASAP")
    parser.add_argument("--labels", type=Path, help="the same without --relabel, for the arm `labels`")
    parser.add_argument("--init", type=Path, required=True, help="folder of the weights to start from")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--only", nargs="*", choices=ARMS, default=list(ARMS))
    parser.add_argument("--steps", type=int, default=450)
    parser.add_argument("--repeats", type=int, default=4, help="pieces at each of 25 points")
    args = parser.parse_args()
    if "labels" in args.only and not args.labels: parser.error("the arm labels needs --labels FOLDER; name the others with --only")
    added, data = psychoscore.model.Conditions, PreparedDataset(args.data)
    rows = pd.read_csv(args.out).to_dict("records") if args.out.exists() else []
    for name in args.only:
        if any(row["arm"] == name for row in rows): continue
        psychoscore.model.Conditions = NothingAdded if name == "tokens alone" else added
        folder = train(name, args)
        heard, scores = measure(name, folder, data, args.repeats)
        scores.to_parquet(folder/"scores.parquet")
        first = pd.read_parquet(args.runs/ARMS[0]/"scores.parquet")
        log = pd.read_csv(folder/"log.csv").iloc[-1]
        nats = dict(zip(("nats a note", "nats, low", "nats, high"), nats_per_note(scores)))
        paired = dict(zip(("more than whole", "more, low", "more, high"), nats_per_note(scores.assign(note_nats=scores.note_nats - first.note_nats))))
        rows += [row | dict(steps=int(log.step), tokens=int(log.tokens)) | nats | paired for row in heard]
        args.out.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(args.out, index=False, float_format="%.4g")
        print(pd.DataFrame(rows[-len(heard):]).T.to_string(), flush=True)


if __name__ == "__main__": run_script(main)
