"""Frozen encoders' answers on disk: the same losses, and never those of other weights."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from emo_llama.annotate.template import TemplateAnnotator
from emo_llama.cli import main
from emo_llama.dataset_builders.build import build_folder
from emo_llama.dataset_builders.dfew import Dfew
from emo_llama.errors import UsageError
from emo_llama.recognition.recognizer import EmotionRecognizer
from emo_llama.testing import tiny_model, tiny_processor
from emo_llama.training.data import feature_cache
from emo_llama.training.data.augmentation import AugmentedFaces
from emo_llama.training.data.collator import InstructionCollator, ShownRows
from emo_llama.training.data.feature_cache import store_features
from emo_llama.training.data.instructions import InstructionData
from emo_llama.training.data.pictures import number_pictures
from emo_llama.training.parts import freeze
from emo_llama.training.validation import score_validation

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
    kept = sorted((tmp_path / "cache").glob("*/*.npy"))
    assert (
        len(kept) == 2 * 8
    )  # fields, of the split that is learned from, and of the one that is scored
    written = [path.stat().st_mtime_ns for path in kept]
    again = tune(ferplus_build[0], "again", feature_cache=str(tmp_path / "cache"))
    assert again == cached
    tune(ferplus_build[0], "seed", feature_cache=str(tmp_path / "cache"), seed=3)
    assert sorted((tmp_path / "cache").glob("*/*.npy")) == kept
    assert [path.stat().st_mtime_ns for path in kept] == written
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
    rows = InstructionData(ferplus_build[0]).rows(1.0, 0)
    return model, tiny_processor(), number_pictures(rows, 1, None)[1]


def test_one_picture_is_kept_once_for_all_its_rows(parts, ferplus_build):
    rows = InstructionData(ferplus_build[0]).rows(1.0, 0)
    numbered, pictures = number_pictures(rows, 3, None)
    assert len(pictures) < len(rows)
    first = pictures.load([numbered["images"][5][0]])[0]
    assert first.tobytes() == rows[5]["images"][0].tobytes()


def test_other_weights_have_another_folder(parts, tmp_path):
    model, processor, pictures = parts
    store_features(model, processor, pictures, tmp_path)
    with torch.no_grad():
        next(model.model.face_model.parameters()).add_(1.0)
    store_features(model, processor, pictures, tmp_path)
    assert len(list(tmp_path.glob("*/vision_states.npy"))) == 1
    assert len(list(tmp_path.glob("*/task_tokens.npy"))) == 2


def test_an_encoder_is_asked_once_whatever_stands_beside_it(parts, tmp_path):
    model, processor, pictures = parts
    whole = store_features(model, processor, pictures, tmp_path)
    model.model.vision_tower = None
    faces = store_features(model, processor, pictures, tmp_path)
    assert faces.arrays.keys() == whole.arrays.keys() - {"vision_states"}
    assert len(list(tmp_path.glob("*/features.json"))) == 2


def test_two_runs_beside_each_other_share_one_folder(parts, tmp_path, monkeypatch):
    """The second waits for the first, and encodes nothing."""
    encode, calls = feature_cache._encode, []

    def slow(*args):
        calls.append(1)
        time.sleep(0.05)
        return encode(*args)

    monkeypatch.setattr(feature_cache, "_encode", slow)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(store_features, *parts, tmp_path) for _ in range(2)]
        first, second = (run.result() for run in runs)
    every = torch.arange(len(parts[2]))
    for name in first.arrays:
        assert torch.equal(first.read(every)[name], second.read(every)[name])
    assert len(calls) == 2 * -(-len(every) // feature_cache.BATCH)
    assert not list(tmp_path.glob("*.part"))


def test_batches_hold_stored_rows_as_plain_tensors(parts, ferplus_build, tmp_path):
    """Loaders pin and move dictionaries of tensors; a clip's rows stand apart from stills'."""
    model, processor, pictures = parts
    store = store_features(model, processor, pictures, tmp_path)
    numbered, _ = number_pictures(InstructionData(ferplus_build[0]).rows(1.0, 0), 1, None)
    still, clip = numbered[0], numbered[1] | {"images": [2, 0, 1]}
    shown = ShownRows(store=store)({name: [still[name], clip[name]] for name in still})
    rows = [{name: column[row] for name, column in shown.items()} for row in range(2)]
    batch = InstructionCollator(processor=processor, assistant_only_loss=True)(rows)
    for name, numbers in (("encodings", still["images"]), ("encodings_videos", [2, 0, 1])):
        assert type(batch[name]) is dict
        for field, value in store.read(numbers).items():
            assert torch.equal(batch[name][field], value)
    assert batch["frame_counts"].tolist() == [3]
    assert not [name for name in batch if "pixel" in name]


def test_pictures_are_numbered_alike_in_any_order(ferplus_build):
    """So that runs with other seeds find the features of these."""
    change = AugmentedFaces(32)
    first, second = (
        number_pictures(InstructionData(ferplus_build[0]).rows(1.0, seed), 2, change)
        for seed in (0, 1)
    )
    assert first[1].key() == second[1].key()
    assert first[0]["images"] != second[0]["images"]
    for one, other in zip(first[1].load(range(6)), second[1].load(range(6)), strict=True):
        assert one.tobytes() == other.tobytes()


def test_stored_pictures_are_scored_as_the_pictures_are(ferplus_build, tmp_path):
    recognizer = EmotionRecognizer(tiny_model(), tiny_processor(), attributes="predicted")
    plain = score_validation(recognizer, InstructionData(ferplus_build[0]))
    stored = score_validation(recognizer, InstructionData(ferplus_build[0]), tmp_path)
    np.testing.assert_allclose(stored.probabilities, plain.probabilities, atol=1e-6)
    assert (stored.targets == plain.targets).all()
    assert list(tmp_path.glob("*/task_tokens.npy"))
    image = Image.new("RGB", (48, 48))
    assert recognizer.score_labels([image]).shape == (1, 8)  # pictures are pictures again


def test_a_folder_of_other_weights_is_refused(parts, tmp_path):
    store_features(*parts, tmp_path)
    facts = next(tmp_path.glob("*/features.json"))
    facts.write_text(facts.read_text().replace('"key": "', '"key": "0'))
    with pytest.raises(UsageError, match="features of other weights.*name another feature_cache"):
        store_features(*parts, tmp_path)


def test_what_was_cut_off_goes_on(parts, tmp_path, monkeypatch):
    whole = store_features(*parts, tmp_path / "whole")
    monkeypatch.setattr(feature_cache, "BATCH", 8)
    encode, calls = feature_cache._encode, []
    batches = -(-len(parts[2]) // 8)
    stop = batches + 3  # in the face network, behind the whole vision tower

    def fails(*args):
        calls.append(1)
        if len(calls) == stop:
            raise KeyboardInterrupt
        return encode(*args)

    monkeypatch.setattr(feature_cache, "_encode", fails)
    with pytest.raises(KeyboardInterrupt):
        store_features(*parts, tmp_path / "cut")
    (folder,) = (tmp_path / "cut").glob("*.part")
    assert (folder / "done").read_text() == "16"
    store = store_features(*parts, tmp_path / "cut")
    every = torch.arange(len(parts[2]))
    assert len(calls) == 1 + 2 * batches
    for name in whole.arrays:
        torch.testing.assert_close(store.read(every)[name], whole.read(every)[name])


def test_trained_encoders_cannot_be_cached(parts, tmp_path):
    model, processor, pictures = parts
    model.model.face_model.requires_grad_(True)
    with pytest.raises(UsageError, match="face_model is trained.*frozen"):
        store_features(model, processor, pictures, tmp_path)


def test_bfloat16_comes_back_bit_by_bit(parts, tmp_path):
    model, processor, pictures = parts
    store = store_features(model.to(torch.bfloat16), processor, pictures, tmp_path)
    states = store.read([3, 1]).vision_states
    assert states.dtype == torch.bfloat16
    inputs = processor.image_processor(pictures.load([3, 1]), return_tensors="pt")
    with torch.inference_mode():
        expected = model.model.vision_tower(inputs["pixel_values"].to(torch.bfloat16))
    torch.testing.assert_close(states, expected.last_hidden_state, atol=0.02, rtol=0.02)
