"""Frozen encoders' answers on disk: the same losses, and never those of other weights."""

import json

import pytest
import torch
import yaml
from safetensors.torch import load_file

from emo_llama.annotate.template import TemplateAnnotator
from emo_llama.cli import main
from emo_llama.dataset_builders.build import build_folder
from emo_llama.dataset_builders.dfew import Dfew
from emo_llama.errors import UsageError
from emo_llama.testing import tiny_model, tiny_processor
from emo_llama.training import features
from emo_llama.training.features import store_features
from emo_llama.training.instructions import training_rows
from emo_llama.training.parts import freeze
from emo_llama.training.pictures import number_pictures

SETTINGS = {
    "max_steps": 6,
    "per_device_train_batch_size": 4,
    "learning_rate": 1.0e-3,
    "assistant_only_loss": True,
    "max_length": None,
    "bf16": False,
    "gradient_checkpointing": False,
    "save_steps": 3,
    "logging_steps": 1,
    "report_to": "none",
    "use_cpu": True,
}


@pytest.fixture
def tune(tmp_path):
    """Runs a recipe on the tiny model; gives the loss of each step."""
    start = tmp_path / "start"
    tiny_model().save_pretrained(start)
    tiny_processor().save_pretrained(start)

    def run(data, name, **settings):
        values = {"model_name_or_path": str(start), "data": str(data), **SETTINGS, **settings}
        values["output_dir"] = str(tmp_path / name)
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(values))
        assert main(["train", "--config", str(path)]) == 0
        state = tmp_path / name / "tuning" / f"checkpoint-{values['max_steps']}"
        history = json.loads((state / "trainer_state.json").read_text())["log_history"]
        return [entry["loss"] for entry in history if "loss" in entry]

    return run


@pytest.fixture
def clips(tmp_path):
    """Built clips beside nothing else."""
    Dfew.write_synthetic(tmp_path / "dfew", per_class=1)
    build_folder("dfew", tmp_path / "dfew", tmp_path / "clips", TemplateAnnotator())
    return tmp_path / "clips"


@pytest.mark.slow
def test_losses_are_those_without_a_cache(tune, ferplus_build, tmp_path):
    plain = tune(ferplus_build[0], "plain")
    cached = tune(ferplus_build[0], "cached", feature_cache=str(tmp_path / "cache"))
    assert len(plain) == SETTINGS["max_steps"]
    assert cached == pytest.approx(plain, rel=1e-5)
    (folder,) = (tmp_path / "cache").iterdir()
    written = (folder / "vision_states.npy").stat().st_mtime_ns
    again = tune(ferplus_build[0], "again", feature_cache=str(tmp_path / "cache"))
    assert again == cached
    assert (folder / "vision_states.npy").stat().st_mtime_ns == written
    finished = load_file(tmp_path / "cached" / "model" / "model.safetensors")
    for name, tensor in load_file(tmp_path / "start" / "model.safetensors").items():
        if ".vision_tower." in name or ".face_model." in name:
            assert torch.equal(finished[name], tensor)


@pytest.mark.slow
def test_clips_are_cached_as_well(tune, clips, tmp_path):
    plain = tune(clips, "plain", per_device_train_batch_size=2)
    cached = tune(
        clips, "cached", per_device_train_batch_size=2, feature_cache=str(tmp_path / "cache")
    )
    assert cached == pytest.approx(plain, rel=1e-5)


@pytest.mark.slow
def test_validation_has_features_of_its_own(tune, ferplus_build, tmp_path):
    """Early stopping keeps the best of two evaluations, with stored features as without."""
    likelihoods = []
    for name, cache in (("plain", None), ("cached", str(tmp_path / "cache"))):
        settings = {"early_stopping_patience": 1} | ({"feature_cache": cache} if cache else {})
        tune(ferplus_build[0], name, **settings)
        state = tmp_path / name / "tuning" / "checkpoint-6" / "trainer_state.json"
        history = json.loads(state.read_text())
        likelihoods.append([e["eval_loss"] for e in history["log_history"] if "eval_loss" in e])
        assert history["best_metric"] == min(likelihoods[-1])
        card = (tmp_path / name / "model" / "README.md").read_text()
        assert "chosen on this very split (early stopping)" in card
    assert len(likelihoods[0]) == 2
    assert likelihoods[0] == pytest.approx(likelihoods[1], rel=1e-5)


@pytest.fixture
def parts(ferplus_build):
    """A frozen tiny model, its processor, and numbered pictures."""
    model = tiny_model()
    freeze(model, ["vision_tower", "face_model"])
    rows = training_rows(ferplus_build[0], 1.0, 0)
    return model, tiny_processor(), number_pictures(rows, 1, None, 0)[1]


def test_one_picture_is_kept_once_for_all_its_rows(parts, ferplus_build):
    rows = training_rows(ferplus_build[0], 1.0, 0)
    numbered, pictures = number_pictures(rows, 3, None, 0)
    assert len(pictures) < len(rows)
    first = pictures.load([numbered["images"][5][0]])[0]
    assert first.tobytes() == rows[5]["images"][0].tobytes()


def test_other_weights_have_another_folder(parts, tmp_path):
    model, processor, pictures = parts
    store_features(model, processor, pictures, tmp_path)
    with torch.no_grad():
        next(model.model.face_model.parameters()).add_(1.0)
    store_features(model, processor, pictures, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_of_other_weights_is_refused(parts, tmp_path):
    store_features(*parts, tmp_path)
    (facts,) = tmp_path.glob("*/features.json")
    facts.write_text(facts.read_text().replace('"key": "', '"key": "0'))
    with pytest.raises(UsageError, match="features of other weights.*name another feature_cache"):
        store_features(*parts, tmp_path)


def test_what_was_cut_off_goes_on(parts, tmp_path, monkeypatch):
    whole = store_features(*parts, tmp_path / "whole")
    monkeypatch.setattr(features, "BATCH", 8)
    encode, calls = features._encode, []

    def fails(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(*args)

    monkeypatch.setattr(features, "_encode", fails)
    with pytest.raises(KeyboardInterrupt):
        store_features(*parts, tmp_path / "cut")
    (folder,) = (tmp_path / "cut").iterdir()
    assert (folder.suffix, (folder / "done").read_text()) == (".part", "16")
    store = store_features(*parts, tmp_path / "cut")
    every = torch.arange(len(parts[2]))
    assert len(calls) == 1 + -(-len(every) // 8)
    for name in whole.arrays:
        torch.testing.assert_close(store.read(name, every), whole.read(name, every))


def test_trained_encoders_cannot_be_cached(parts, tmp_path):
    model, processor, pictures = parts
    model.model.face_model.requires_grad_(True)
    with pytest.raises(UsageError, match="face_model is trained.*frozen"):
        store_features(model, processor, pictures, tmp_path)


def test_bfloat16_comes_back_bit_by_bit(parts, tmp_path):
    model, processor, pictures = parts
    store = store_features(model.to(torch.bfloat16), processor, pictures, tmp_path)
    states = store.read("vision_states", torch.tensor([3, 1]))
    assert states.dtype == torch.bfloat16
    inputs = processor.image_processor(pictures.load([3, 1]), return_tensors="pt")
    with torch.inference_mode():
        expected = model.model.vision_tower(inputs["pixel_values"].to(torch.bfloat16))
    torch.testing.assert_close(states, expected.last_hidden_state, atol=0.02, rtol=0.02)
