"""What each part of the recipe is worth: `python tests/ablations.py --data FOLDER --runs FOLDER [--only ARM ...]`.

Trains the tiny model once for every arm, on the same folder (EMOPIA, rule-made pairs and a corpus), and scores the best
checkpoint of each on EMOPIA's validation clips. An arm that is finished in the folder of runs is not trained again.
Writes a table with intervals over songs, and the paired difference to the first arm that was asked for.
"""
import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd

from psychoscore.dataset import DataMix, PreparedDataset
from psychoscore.model import ModelConfig, load_model
from psychoscore.train import ContrastConfig, TrainConfig, evaluate, fit, load_config, nats_per_note

BASE = load_config("tiny", contrast=ContrastConfig(rows=0), mix=DataMix(proportions={"emopia": 1.0}), eval_interval=100)
# Half the steps, since the rows that are compared double the tokens of a step.
COMPARED = replace(BASE, max_steps=400, eval_interval=200, mix=DataMix(proportions={"emopia": 0.7, "synthetic": 0.3}))
ARMS = {
    "e": BASE, # EMOPIA only
    "es-added": replace(BASE, mix=DataMix(batch_tokens=5632, proportions={"emopia": 0.73, "synthetic": 0.27})), # as much EMOPIA a step, and pairs beside it
    "es-anneal": replace(BASE, mix=DataMix(proportions={"emopia": 0.5, "synthetic": 0.5}, final_proportions={"emopia": 1.0})),
    "ec": replace(BASE, mix=DataMix(proportions={"emopia": 0.7, "corpus": 0.3})),
    "e-nonull": replace(BASE, mix=DataMix(proportions={"emopia": 1.0}, null_rate=0.0, null_one_rate=0.0)),
    "e-adamw": replace(BASE, optimizer="adamw"),
    "e-micro": replace(BASE, model=ModelConfig(width=64, layers=3, heads=2, mlp_width=192)),
    **{f"{kind}-{weight:g}-s{seed}": replace(COMPARED, seed=seed, contrast=ContrastConfig(weight=weight, kind=kind))
       for kind in ("rank_n_contrast", "info_nce", "y_aware") for weight in (0, 0.03, 0.1, 0.3, 1) for seed in (0, 1, 2)},
}


def describe(name: str, config: TrainConfig, folder: Path, log: pd.DataFrame, data: PreparedDataset) -> tuple[dict, pd.DataFrame]:
    "A row of the table, and the scores it stands on."
    model, _ = load_model(folder)
    scores = evaluate(model, data)
    value, low, high = nats_per_note(scores)
    last = log.iloc[-1]
    return dict(arm=name, parameters=model.num_parameters(), steps=int(last.step), tokens=int(last.tokens), seconds=last.seconds, train_loss=last.train_loss,
                contrastive_loss=last.contrastive_loss, nats_per_note=value, low=low, high=high, clips=len(scores), songs=scores.song_id.nunique()), scores


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder written by `psychoscore prepare` with --synthetic and --corpus")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--only", nargs="+", default=["e", "es-added", "es-anneal", "ec", "e-nonull", "e-adamw", "e-micro"], choices=ARMS, metavar="ARM", help=", ".join(ARMS))
    parser.add_argument("--out", type=Path, default=Path("reports/ablations.csv"))
    args = parser.parse_args()
    data, rows, first = PreparedDataset(args.data), [], None
    for name in args.only:
        log = fit(data, args.runs/name, ARMS[name], resume=True)
        (args.out.parent/"curves").mkdir(parents=True, exist_ok=True)
        shutil.copy(args.runs/name/"log.csv", args.out.parent/"curves"/f"{name}.csv")
        row, scores = describe(name, ARMS[name], args.runs/name, log, data)
        first = scores if first is None else first
        difference = nats_per_note(scores.assign(note_nats=scores.note_nats - first.note_nats)) # the same clips, so their own difficulty drops out
        rows.append(row | dict(zip(("difference", "difference_low", "difference_high"), difference, strict=True)))
        pd.DataFrame(rows).to_csv(args.out, index=False, float_format="%.5g")
        print(pd.DataFrame(rows).round(3).to_string(index=False), flush=True)


if __name__ == "__main__": main()
