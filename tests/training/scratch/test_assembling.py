"""A model from scratch whose face network begins with a pretrained backbone, in colour."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file
from transformers import MobileNetV1Config, MobileNetV1Model

from emo_llama.dataset_builders.synthetic import draw_face
from emo_llama.errors import ModelNotFoundError
from emo_llama.loading import load_model
from emo_llama.testing import tiny_config
from emo_llama.training.scratch.assembling import build_from_scratch

MEAN, STD = [0.485, 0.458, 0.408], [0.25, 0.25, 0.25]


@pytest.fixture
def data(tmp_path, write_ferplus, monkeypatch):
    """FERPlus and eight coloured faces; every face has its eyes and mouth where all have them."""
    points = np.zeros((68, 2), np.float32)
    points[36:42], points[42:48], points[48:] = (-0.3, -0.2), (0.3, -0.2), (0.0, 0.4)
    monkeypatch.setattr(
        "emo_llama.training.scratch.face_tables.mesh_landmarks", lambda image, border: points
    )
    root = tmp_path / "data"
    root.mkdir()
    write_ferplus().rename(root / "ferplus")
    rows = []
    for seed in range(8):
        buffer = io.BytesIO()
        draw_face("neutral", seed, 96).save(buffer, "JPEG")
        known = {"age": "20-29", "gender": "Male", "race": "White"}
        rows.append({"image_jpeg": buffer.getvalue()} | known)
    (root / "fairface").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), root / "fairface" / "train-0.parquet")
    return root


def recipe(backbone):
    """One stage for each encoder, as small as they come."""
    model = tiny_config().to_dict()
    parts = ("qformer_config", "text_config", "fim_config")
    sizes = {"image_size": 32, "hidden_size": 16, "num_attention_heads": 2, "mlp_dim": 16}
    mobile = {"model_type": "mobilenet_v1", "depth_multiplier": 0.125}
    conv = {"model_type": "regnet", "embedding_size": 8, "hidden_sizes": [8, 8, 8, 16]}
    conv |= {"depths": [1, 1, 1, 1], "groups_width": 8}
    stage = {"epochs": 1, "batch_size": 4, "warmup_steps": 1, "sizes": [[0.0, 32]]}
    face = {"num_expressions": 8, "use_pooled_map": True, "backbone_config": mobile}
    seen = {"color": True, "image_mean": MEAN, "image_std": STD, "attribute_share": 0.5}
    return {
        "face": [
            stage | seen | {"backbone": str(backbone), "model": sizes | face},
            {"learning_rate": 1e-4, "mixup": 0.5, "decoder_start": 0.0},
        ],
        "tower": stage | {"model": sizes | {"backbone_config": conv}},
        "tokenizer": {"vocab_size": 300},
        "model": {name: model[name] for name in parts} | {"vision_grid_size": 1},
    }


@pytest.mark.slow
def test_the_processor_shows_what_the_encoders_were_trained_on(data, tmp_path):
    backbone = MobileNetV1Model(MobileNetV1Config(depth_multiplier=0.125))
    backbone.save_pretrained(tmp_path / "backbone")
    work = tmp_path / "work"
    work.mkdir()
    base, built = build_from_scratch(recipe(tmp_path / "backbone"), data, work)
    model, processor = load_model(base)
    images = processor.image_processor
    assert (list(images.face_image_mean), list(images.face_image_std)) == (MEAN, STD)
    assert (list(images.image_mean), images.do_grayscale_face) == ([0.5] * 3, False)
    trained = load_file(work / "face" / "model.safetensors")
    found = model.model.face_model.state_dict()
    assert all((found[name] == value).all() for name, value in trained.items())
    for name in ("face-1", "face"):  # each stage says how far it came
        assert json.loads((work / name / "evaluation.json").read_text())["rule"] == "majority"
    assert (built / "README.md").is_file()
    assert build_from_scratch(recipe("no-folder"), data, work) == (base, built)  # all is there


def test_a_backbone_that_is_not_there_is_told_before_any_work(data, tmp_path):
    with pytest.raises(ModelNotFoundError, match="no-folder"):
        build_from_scratch(recipe(tmp_path / "no-folder"), data, tmp_path)
    assert not (tmp_path / "landmarks-ferplus.npz").exists()
