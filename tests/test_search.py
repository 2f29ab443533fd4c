"What the notebook cannot show of a search: an index that is interrupted, and files that nobody may read."
import numpy as np
import pytest

import psychoscore.search as search
from psychoscore.notes import make_notes, midi_bytes


@pytest.fixture
def music(tmp_path):
    "Six short pieces."
    folder = tmp_path/"music"
    folder.mkdir()
    for i in range(6): (folder/f"{i}.mid").write_bytes(midi_bytes(make_notes(np.arange(20)*0.3, np.full(20, 0.3), 50 + np.arange(20) + i, 64)))
    return folder


def test_interrupted_and_started_again(music, tmp_path, monkeypatch):
    monkeypatch.setattr(search, "BATCH", 2)
    monkeypatch.setattr(search, "SAVE_INTERVAL_S", -1)
    hear, heard, calls = search.Embedder.embed, [], []

    def interrupted(self, paths):
        calls.append(paths)
        if len(calls) == 3: raise KeyboardInterrupt
        return hear(self, paths)
    monkeypatch.setattr(search.Embedder, "embed", interrupted)
    with pytest.raises(KeyboardInterrupt): search.index_folder(music, tmp_path/"index")
    with pytest.raises(ValueError, match="unfinished: run `psychoscore index` again"): search.load_index(tmp_path/"index")
    half = search.read_index(tmp_path/"index")
    assert half.names == ("0.mid", "1.mid", "2.mid", "3.mid")

    monkeypatch.setattr(search.Embedder, "embed", hear)
    embed_ids = search.embed_ids
    monkeypatch.setattr(search, "embed_ids", lambda rows, model: heard.extend(rows) or embed_ids(rows, model))
    index, unusable = search.index_folder(music, tmp_path/"index")
    assert len(heard) == 2 and len(index) == 6 and not unusable
    assert np.array_equal(index.embeddings[:4], half.embeddings) and not list(tmp_path.glob(".*"))


def test_probe_of_other_weights_is_refused(music, tmp_path):
    import shutil
    shutil.copytree(search.PACKAGED, tmp_path/"model")
    (tmp_path/"model"/"probe.json").unlink()
    with pytest.raises(FileNotFoundError, match="psychoscore probe"): search.index_folder(music, tmp_path/"index", tmp_path/"model")
