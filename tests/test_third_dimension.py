"A third dial is one line: a copy of the package with that line prepares, trains and composes."
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psychoscore

LINE = '    Dimension("entropy", "calm", "restless", "arousal, Russell\'s circumplex (1980)"),\n'
PROGRAM = '''
import numpy as np
from psychoscore.compose import Composer
from psychoscore.dataset import DataMix, SourcePiece, prepare
from psychoscore.model import ModelConfig
from psychoscore.notes import make_notes
from psychoscore.profile import DIMENSIONS, PsychometricProfile as P
from psychoscore.train import ContrastConfig, TrainConfig, fit

assert [d.name for d in DIMENSIONS] == ["trauma", "entropy", "dominance"]
rng = np.random.default_rng(0)
def piece(i):
    notes = make_notes(np.arange(40)*0.25, np.full(40, 0.25), rng.integers(50, 80, 40), rng.integers(40, 90, 40))
    return SourcePiece(f"p{i}", f"p{i}", "emopia", "train" if i < 6 else "validation", "CC0", notes, P(rng.random(), rng.random(), rng.random()))
data = prepare([piece(i) for i in range(8)], "data", copies=1)
assert data.pieces.dominance.between(0, 1).all()
fit(data, "run", TrainConfig(model=ModelConfig(width=32, layers=1, heads=2, mlp_width=32, context=128), mix=DataMix(context=128, batch_tokens=256), contrast=ContrastConfig(rows=0, tokens=128), max_steps=2, warmup_steps=1), cpu=True, progress=False)
piece = Composer.from_pretrained("run").compose([(0, P(0.1, 0.2, 0.9)), (6, P(0.9, 0.2, 0.1))], seconds=8, seed=0)
assert len(piece.notes) and "dominance" in str(piece.trajectory.mean(8)) and "in charge" in piece.trajectory._repr_html_()
try: Composer.from_pretrained()
except ValueError as error: print(error)
'''


def test_one_line_more(tmp_path):
    shutil.copytree(Path(psychoscore.__file__).parent, tmp_path/"psychoscore", ignore=shutil.ignore_patterns("__pycache__"))
    module = tmp_path/"psychoscore"/"profile.py"
    assert module.read_text().count(LINE) == 1
    module.write_text(module.read_text().replace(LINE, LINE + '    Dimension("dominance", "powerless", "in charge", "dominance, Mehrabian and Russell (1974)"),\n'))
    result = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, env=os.environ | dict(PYTHONPATH=str(tmp_path), OMP_NUM_THREADS="1"), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "use the version that made it" in result.stdout # the packaged model has two dials
