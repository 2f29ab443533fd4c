"""What each part of the recipe is worth: kinds and weights of the contrastive loss, sources, losses, optimiser and pitches.

Trains the tiny model once for every arm, on the same folder (EMOPIA, rule-made pairs and a corpus), the most telling arms
first. Each arm leaves its result in its folder as it ends, and the two tables are written anew from all that have ended:

sweep   kind and weight of the contrastive loss: coherence on EMOPIA's validation clips, and nats per note (sweep.json)
recipe  sources, losses, null profiles, optimiser and pitches at equal tokens: nats per note on the same clips (ablations.csv)

The sweep takes two hours of a core, both three and a half. A run that was killed goes on with the same command. What was
begun with other training code than today's is refused.
Usage: python bench/ablations.py --data FOLDER --absolute FOLDER --runs FOLDER [--only sweep] [--out reports/runs]
"""
import itertools
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

import psychoscore
from bench.common import make_parser, run_script
from psychoscore.comparison import Judged, compare_judged, judge
from psychoscore.scores import Score
from psychoscore.dataset import DataMix, PreparedDataset
from psychoscore.model import ModelConfig, load_model
from psychoscore.checkpoint import CHECKPOINT, write_whole
from psychoscore.train import evaluate, fit, nats_per_note
from psychoscore.train_config import ContrastConfig, TrainConfig, load_config

TRAINING_CODE = [f"psychoscore/{name}.py" for name in ("train", "train_config", "checkpoint", "dataset", "contrastive", "model", "tokens", "profile")]

# The rows that are compared double the tokens of a step. Without the loss they are there, too.
COMPARED = load_config("tiny", max_steps=400, mix=DataMix(proportions={"emopia": 0.7, "synthetic": 0.3}))
def compared(kind: str, weight: float, seed: int) -> TrainConfig: return replace(COMPARED, seed=seed, contrast=ContrastConfig(weight=weight, kind=kind))
WEIGHTS = [("info_nce", 0.1), ("y_aware", 0.1), ("rank_n_contrast", 0.3), ("rank_n_contrast", 0.03), ("rank_n_contrast", 1), # the most telling first
           ("info_nce", 0.03), ("y_aware", 0.03), ("info_nce", 0.3), ("y_aware", 0.3), ("info_nce", 1), ("y_aware", 1)]
SWEEP = {f"{name}-s{seed}": compared("rank_n_contrast", weight, seed) for seed in range(3) for name, weight in (("without", 0), ("rank_n_contrast-0.1", 0.1))}
SWEEP |= {f"{kind}-{weight:g}-s0": compared(kind, weight, 0) for kind, weight in WEIGHTS}

E = load_config("tiny", max_steps=400, contrast=ContrastConfig(rows=0), mix=DataMix(proportions={"emopia": 1.0}))
# Steps that see as many real tokens as 400 of EMOPIA alone, 1.46 million, within 1 %: rows of other sources fill a batch better.
ES = replace(E, max_steps=395, mix=DataMix(proportions={"emopia": 0.7, "synthetic": 0.3}))
ESC = replace(E, max_steps=388, mix=DataMix(proportions={"emopia": 0.5, "synthetic": 0.25, "corpus": 0.25}))
# Half of a batch are rows that are compared; beside it the same rows with a loss of no weight.
ROWS = replace(ESC, max_steps=376, mix=replace(ESC.mix, batch_tokens=2048), contrast=ContrastConfig(weight=0, tokens=128))
RECIPE = {
    "e": E, # EMOPIA only
    "es": ES, # and rule-made pairs
    "esc": ESC, # and a corpus
    "esc-contrast": replace(ROWS, contrast=ContrastConfig(weight=0.1, tokens=128)), # and the contrastive loss
    "esc-rows": ROWS, # its rows, without the loss
    "e-nonull": replace(E, mix=replace(E.mix, null_rate=0.0, null_one_rate=0.0)),
    "e-adamw": replace(E, optimizer="adamw"),
    "e-rate": replace(E, adamw_lr=E.muon_lr), # embeddings and norms learn at Muon's rate
    "e-adamw-rate": replace(E, optimizer="adamw", adamw_lr=E.muon_lr),
    "e-absolute": replace(E, mix=replace(E.mix, transpose=True)), # absolute pitches
    "es-added": replace(E, mix=DataMix(batch_tokens=5632, proportions={"emopia": 0.73, "synthetic": 0.27})), # not equal tokens: as much EMOPIA a step, and pairs beside it
    "e-micro": replace(E, model=ModelConfig(width=64, layers=3, heads=2, mlp_width=192)),
}
ARMS = SWEEP | RECIPE


def git(*arguments: str) -> subprocess.CompletedProcess:
    "Ask git; it is for the caller to look at what it says."
    return subprocess.run(["git", *arguments], cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False)


def begin(folder: Path) -> str:
    "The last commit that changed the training code when an arm was begun; the code must still be that."
    path = folder/".git_commit"
    if not path.exists():
        if (folder/CHECKPOINT).exists(): raise SystemExit(f"nobody knows by which code {folder} was trained: delete it, or choose another folder of runs")
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda file: file.write(git("rev-list", "-1", "HEAD", "--", *TRAINING_CODE).stdout.strip().encode()))
    commit = path.read_text()
    changed = git("diff", "--name-only", commit, "--", *TRAINING_CODE)
    if changed.returncode: raise SystemExit(f"today's files cannot be compared with commit {commit!r} of {folder}: run this in the clone that it was begun in ({changed.stderr.strip()})")
    if changed.stdout: raise SystemExit(f"{folder} was begun with the code of {commit[:8]}, and {', '.join(changed.stdout.split())} differ now: commit them, and choose another folder of runs")
    return commit


def finish(name: str, folder: Path, data: PreparedDataset):
    "Score a trained arm, and keep the scores beside it."
    if name in SWEEP:
        judged, _ = judge(folder, data.folder, "validation")
        about = json.dumps([judged.checkpoint, judged.judged_on])
        scores = {metric: np.array([score.value, score.chance, *score.draws]) for metric, score in judged.scores.items()}
        write_whole(folder/"coherence.npz", lambda file: np.savez(file, about=about, **scores))
    else:
        scores = evaluate(load_model(folder)[0], data)
        write_whole(folder/"scores.csv", lambda file: file.write(scores.to_csv().encode()))


def is_finished(name: str, folder: Path) -> bool:
    "Whether `finish` has left its scores."
    return (folder/("coherence.npz" if name in SWEEP else "scores.csv")).exists()


def read_judged(folder: Path) -> Judged:
    "What `finish` has kept of an arm of the sweep."
    with np.load(folder/"coherence.npz") as kept:
        checkpoint, judged_on = json.loads(str(kept["about"]))
        scores = {metric: Score(float(kept[metric][0]), kept[metric][2:], float(kept[metric][1])) for metric in kept.files if metric != "about"}
    return Judged(checkpoint | dict(git_commit=begin(folder)), scores, judged_on)


def write_sweep(runs: Path, out: Path):
    "The report over all arms of the sweep that have ended; seeds of one recipe have one name."
    judged = [(name.rsplit("-s", 1)[0], read_judged(runs/name)) for name in SWEEP if is_finished(name, runs/name)]
    if judged: write_whole(out/"sweep.json", lambda file: file.write((json.dumps(compare_judged(judged), indent=1) + "\n").encode()))


def write_recipe(runs: Path, out: Path):
    "The table of all arms of the recipe that have ended, with the paired difference to the first of them."
    rows, first = [], None
    for name in RECIPE:
        if not is_finished(name, runs/name): continue
        scores, log, parameters = pd.read_csv(runs/name/"scores.csv", index_col="piece_id"), pd.read_csv(runs/name/"log.csv"), load_model(runs/name)[0].num_parameters()
        first, last = scores if first is None else first, log.iloc[-1]
        row = dict(arm=name, parameters=parameters, steps=int(last.step), tokens=int(last.tokens), seconds=last.seconds, train_loss=last.train_loss, contrastive_loss=last.contrastive_loss)
        row |= dict(zip(("nats_per_note", "low", "high"), nats_per_note(scores), strict=True)) | dict(clips=len(scores), songs=scores.song_id.nunique())
        paired = nats_per_note(scores.assign(note_nats=scores.note_nats - first.note_nats)) # the same clips, so their own difficulty drops out
        rows.append(row | dict(zip(("difference", "difference_low", "difference_high"), paired, strict=True)) | dict(git_commit=begin(runs/name)))
        (out/"curves").mkdir(exist_ok=True)
        shutil.copy(runs/name/"log.csv", out/"curves"/f"{name}.csv")
    if rows: write_whole(out/"ablations.csv", lambda file: file.write(pd.DataFrame(rows).to_csv(index=False, float_format="%.5g").encode()))


def toy(config: TrainConfig) -> TrainConfig:
    "Of no use but to see whether it runs."
    return replace(config, max_steps=4, eval_interval=2, warmup_steps=1, model=ModelConfig(width=32, layers=1, heads=2, mlp_width=64))


def main(given: "list[str]|None" = None):
    parser = make_parser(__doc__, "runs") # sweep.json and ablations.csv go there
    parser.add_argument("--data", required=True, help="folder written by `psychoscore prepare` with --synthetic and --corpus")
    parser.add_argument("--absolute", help="folder of the same EMOPIA written with --absolute, for the arm e-absolute")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--only", nargs="+", default=["sweep", "recipe"], choices=["sweep", "recipe", *ARMS], metavar="ARM", help=f"of sweep: {', '.join(SWEEP)}; of recipe: {', '.join(RECIPE)}")
    parser.add_argument("--tiny", action="store_true", help="only try whether it runs; needs an --out of its own")
    args = parser.parse_args(given)
    if args.tiny and args.out == parser.get_default("out"): parser.error("--tiny would overwrite what was measured: give another --out")
    if not Path("psychoscore/train.py").resolve().samefile(Path(psychoscore.__file__).with_name("train.py")): parser.error("run this in the root of the clone that psychoscore is imported from")
    names = list(itertools.chain.from_iterable({"sweep": SWEEP, "recipe": RECIPE}.get(name, [name]) for name in args.only))
    if "e-absolute" in names and not args.absolute: parser.error("the arm e-absolute needs --absolute FOLDER; name the others with --only")
    args.out.mkdir(parents=True, exist_ok=True)
    for name in names:
        folder, data = args.runs/name, PreparedDataset(args.absolute if name == "e-absolute" else args.data)
        begin(folder)
        if not is_finished(name, folder):
            config = toy(ARMS[name]) if args.tiny else ARMS[name]
            log = fit(data, folder, config, resume=True, checkpoint_minutes=1)
            if config.max_steps not in log.step.values: raise SystemExit(f"{name} was told to stop before its end: the same command goes on")
            finish(name, folder, data)
        write_sweep(args.runs, args.out)
        write_recipe(args.runs, args.out)
        print(f"{name} has ended: {args.out}", flush=True)


if __name__ == "__main__": run_script(main)
