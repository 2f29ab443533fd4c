"Candidates of a segment: as many rows, nothing read again, the same bytes for the same seed."
import pytest

from bench.decode import by_segments
from psychoscore.compose import Composer
from psychoscore.decoding import Sampler
from psychoscore.kernel import ENVIRONMENT, _instruction_sets
from psychoscore.profile import PsychometricProfile
from psychoscore.request import Request


@pytest.fixture(scope="module")
def composer(): return Composer.from_pretrained()


def request(**options): return Request(**{"profile": PsychometricProfile(0.4, 0.6), "seconds": 12, "seed": 3, "candidates": 1} | options)


def test_eight_candidates_read_no_more_than_one(composer):
    opening = len(composer.draft(request()).ids) - 1
    for n in (1, 8):
        draft, drawn, read, _ = by_segments(composer, request(), n)
        assert read == [opening]
        assert (draft.done, len(draft.starts)) == (True, 3) and (drawn > len(draft.ids)) == (n > 1)


def test_eight_candidates_are_eight_rows(composer):
    sampler, draft = Sampler(composer.weights), composer.draft(request())
    sampler.add([draft])
    while len(draft.starts) < 2: sampler.step()
    candidates = sampler.fork(draft, 8)
    assert len(sampler.sequences) == 8 and candidates[0] is draft
    while not all(len(s.starts) > 2 or s.done for s in candidates): sampler.step()
    begun = len(draft.ids[:draft.starts[1]])
    assert len({tuple(s.ids[:begun]) for s in candidates}) == 1 and len({tuple(s.ids) for s in candidates}) == 8


def test_one_candidate_is_the_piece(composer):
    assert by_segments(composer, request(), 1)[0].ids == composer.compose_batch([request()])[0].ids.tolist()


def test_the_same_seed_gives_the_same_bytes(composer, monkeypatch):
    "Whatever decodes."
    kept = by_segments(composer, request(), 3)[0].ids
    assert by_segments(composer, request(), 3)[0].ids == kept
    assert by_segments(composer, request(seed=4), 3)[0].ids != kept
    for name in ("numpy", *_instruction_sets()):
        monkeypatch.setenv(ENVIRONMENT, name)
        assert by_segments(Composer.from_pretrained(), request(), 3)[0].ids == kept, name


def test_a_long_piece_slides_once_for_all_candidates(composer):
    "Past the context, what is seen is read anew before the fork, not by each candidate."
    draft, _, read, _ = by_segments(composer, request(seconds=60, profile=PsychometricProfile(0.2, 1)), 4)
    assert len(draft.ids) > composer.weights.context
    assert 1 < len(read) <= 1 + len(draft.ids)//(composer.weights.context//4)
