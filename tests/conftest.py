"What several tests share."
import numpy as np
import pytest

from psychoscore.dataset import SourcePiece, prepare
from psychoscore.notes import make_notes
from psychoscore.profile import PsychometricProfile


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    "A prepared folder of random pieces, small enough to train on in seconds."
    rng = np.random.default_rng(0)
    def piece(i):
        notes = make_notes(np.arange(60)*0.25, np.full(60, 0.25), rng.integers(50, 80, 60), rng.integers(40, 90, 60))
        return SourcePiece(f"p{i}", f"p{i}", "emopia", "train" if i < 20 else "validation", "CC0", notes, PsychometricProfile(i % 2, rng.uniform(0.45, 0.55)))
    folder = tmp_path_factory.mktemp("data")
    prepare([piece(i) for i in range(24)], folder, copies=1)
    return folder
