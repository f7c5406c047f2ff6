"""The card of a training run tells of that run."""

import numpy as np

from emo_llama.training import card


def test_faces_are_counted_where_they_were_read(tmp_path):
    assert card._fairface(tmp_path) == ""
    np.savez(tmp_path / "landmarks-fairface.npz", row_index=np.arange(1200))
    facts = dict.fromkeys(("seed", "tower", "switch"), "any") | {
        "fairface": card._fairface(tmp_path)
    }
    text = card.Template(card._SCRATCH["data"]).substitute(facts)
    assert "1,200 training faces of FairFace" in text and "tiny.yaml" not in text
