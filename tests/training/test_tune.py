"""Instruction tuning on the drawn FERPlus: real TRL training of the tiny test model."""

import json
import shutil
import sys

import pytest
import torch
from datasets import load_dataset
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from emo_llama.annotate.template import TemplateAnnotator
from emo_llama.cli import main
from emo_llama.dataset_builders.build import BuildOptions, build_folder
from emo_llama.dataset_builders.stripping import strip_pictures
from emo_llama.dataset_builders.synthetic import draw_face
from emo_llama.dataset_builders.synthetic_clips import write_clip
from emo_llama.errors import UsageError
from emo_llama.evaluation import split
from emo_llama.files import only_run
from emo_llama.labels import FERPLUS
from emo_llama.loading import EMBEDDED_MODEL, load_model
from emo_llama.modeling import FaceXFormerModel
from emo_llama.recognition.recognizer import EmotionRecognizer
from emo_llama.testing import tiny_model, tiny_processor
from emo_llama.training.data import instructions
from emo_llama.training.data.instructions import InstructionData
from emo_llama.training.parts import adopt_labels
from emo_llama.training.recipe import parse_recipe, scratch_settings
from emo_llama.training.scratch.assembling import (
    changed_settings,
    face_stages,
    train_tokenizer,
    unpack_encoders,
)


@pytest.mark.slow
def test_train_changes_what_is_not_frozen(recipe, tmp_path):
    out = tmp_path / "embedded"
    settings = str(recipe(prior_correction=0.5, operating_points={"balanced": 1.0}))
    assert main(["train", "--config", settings, "--export_to", str(out)]) == 0
    before = load_file(tmp_path / "start" / "model.safetensors")
    after = load_file(out / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any(".face_model." in name or ".vision_tower." in name for name in changed)
    assert any(".face_info_mining." in name for name in changed)
    assert any(".language_model." in name for name in changed)
    card = (out / "README.md").read_text()
    assert card.count("| happiness |") == 1 and "(`prior_correction: 0.5`)" in card
    assert "FairFace" not in card and "tiny.yaml" not in card
    head = ModelCard(card).data
    found = {result.metric_type: result.metric_value for result in head.eval_results}
    report = json.loads((out / "validation.json").read_text())
    assert found == {
        "accuracy": round(report["war"], 4),
        "recall": round(report["uar"], 4),
        "f1": round(report["macro_f1"], 4),
    }
    assert (head.library_name, head.license_name) == ("transformers", "mixed-see-card")
    assert json.loads((out / "validation.json").read_text())["n"] == 8
    model, _ = load_model(out)
    assert 0.25 <= model.config.label_temperature <= 8
    assert len(set(model.config.label_bias)) > 1
    balanced = model.config.operating_points["balanced"]
    assert balanced == pytest.approx([2 * bias for bias in model.config.label_bias], abs=1e-3)


@pytest.mark.slow
def test_a_folder_of_pictures_and_its_own_labels(recipe, tmp_path, capsys):
    """One command: built, tuned, scored, though the first model knows nothing of these labels."""
    for number in range(24):
        label = ("calm", "bored")[number % 2]
        face = draw_face(("neutral", "sadness")[number % 2], number, 64)
        path = tmp_path / "mine" / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        face.save(path)
    (tmp_path / "mine" / "calm" / "broken.png").write_bytes(b"no picture")
    words = ["train", "--config", str(recipe()), "--data", str(tmp_path / "mine")]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "before: not scored" in out and "does not know the labels bored, calm" in out
    assert "before on" not in out and "after on" in out
    assert out.split("is / named")[1].split()[:3] == ["bored", "calm", "bored"]
    model, _ = load_model(tmp_path / "work" / "model")
    assert model.config.id2label == {0: "bored", 1: "calm"}
    assert model.config.label_temperature == 1.0  # two rows tell nothing of it
    card = (tmp_path / "work" / "model" / "README.md").read_text()
    assert "22 items of `folder`, labels bored, calm" in card
    assert str(tmp_path) not in card
    result = EmotionRecognizer.from_pretrained(tmp_path / "work" / "model", detector="none")(face)
    assert set(result.faces[0].probabilities) == {"bored", "calm"}


@pytest.mark.slow
def test_data_without_a_validation_split(recipe, tmp_path, capsys):
    root = tmp_path / "mine"
    for number, label in enumerate(("happy", "sad") * 4):
        path = root / "train" / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_face("happiness" if label == "happy" else "sadness", number, 64).save(path)
    assert main(["train", "--config", str(recipe()), "--data", str(root)]) == 0
    assert "after" not in capsys.readouterr().out
    assert "nothing was measured" in (tmp_path / "work" / "model" / "README.md").read_text()


@pytest.mark.slow
def test_a_run_killed_behind_its_last_step_makes_no_further_one(recipe, tmp_path):
    words = ["train", "--config", str(recipe(max_steps=1, save_steps=1))]
    assert main(words) == 0
    model, checkpoints = tmp_path / "work" / "model", tmp_path / "work" / "tuning"
    whole = load_file(model / "model.safetensors")
    shutil.rmtree(model)
    assert main([*words, "--resume"]) == 0
    again = load_file(model / "model.safetensors")
    assert all(torch.equal(again[name], value) for name, value in whole.items())
    assert [path.name for path in checkpoints.glob("checkpoint-*")] == ["checkpoint-1"]


@pytest.mark.slow
def test_scores_before_and_after_stand_side_by_side(recipe, capsys):
    assert main(["train", "--config", str(recipe(max_steps=1))]) == 0
    out = capsys.readouterr().out
    assert out.index("before on") < out.index("after on") < out.index("finished model")
    assert out.count("is / named") == 2


def test_a_face_stage_adds_to_the_one_before():
    first = {"epochs": 3, "balance": 0.3, "model": {"image_size": 80, "hidden_size": 64}}
    one, two = face_stages([first, {"epochs": 5, "model": {"image_size": 96}}])
    assert (one.epochs, one.model) == (3, first["model"])
    assert (two.epochs, two.balance) == (5, 0.3)
    assert two.model == {"image_size": 96, "hidden_size": 64}


def test_another_label_set_begins_uncalibrated():
    model = tiny_model()
    model.config.label_temperature = 2.0
    model.config.label_bias = [0.0] * 8
    model.config.operating_points = {"balanced": [0.0] * 8}
    adopt_labels(model, list(FERPLUS))
    assert model.config.label_temperature == 2.0 and model.config.label_bias == [0.0] * 8
    adopt_labels(model, ["calm", "bored"])
    assert model.config.id2label == {0: "calm", 1: "bored"}
    assert (model.config.label2id["bored"], model.config.label_temperature) == (1, 1.0)
    assert model.config.label_bias is None and model.config.operating_points is None


def test_whole_clips_cannot_be_shown(tmp_path):
    for label in ("happiness", "sadness"):
        write_clip(tmp_path / "clips" / "train" / label / "1.mp4", label, seed=1, num_frames=2)
    options = BuildOptions(clips="bytes")
    build_folder("folder", tmp_path / "clips", tmp_path / "out", TemplateAnnotator(), options)
    with pytest.raises(UsageError, match="build with --clips frames"):
        InstructionData(tmp_path / "out")
    strip_pictures(tmp_path / "out", tmp_path / "stripped")
    with pytest.raises(UsageError, match="holds no pictures"):
        InstructionData(tmp_path / "stripped")


def test_missing_data_are_named(recipe, tmp_path, capsys):
    assert main(["train", "--config", str(recipe()), "--data", str(tmp_path / "none")]) == 1
    assert "none: no such folder. Name one" in capsys.readouterr().err


@pytest.mark.slow
def test_lora_leaves_an_ordinary_model(recipe, tmp_path):
    words = ["--use_peft", "true", "--lora_target_modules", "q_proj", "v_proj", "--lora_r", "2"]
    assert main(["train", "--config", str(recipe()), *words]) == 0
    names = load_file(tmp_path / "work" / "model" / "model.safetensors")
    assert set(names) == set(load_file(tmp_path / "start" / "model.safetensors"))


@pytest.mark.parametrize(
    ("verb", "package"),
    [("train", name) for name in ("accelerate", "peft", "trl")]
    + [("ablate", name) for name in ("matplotlib", "scipy", "trl")],
)
def test_without_the_extra_the_command_to_type_is_said(
    verb, package, recipe, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    words = [verb, "--config", recipe(), "--data", "any"]
    assert main([*words, *(["--out", str(tmp_path / "out")] if verb == "ablate" else [])]) == 2
    err = capsys.readouterr().err
    assert f"package {package!r}" in err and 'pip install "emo-llama[train]"' in err


def test_a_second_run_on_one_work_folder_is_refused(recipe, tmp_path, capsys):
    with only_run(tmp_path / "work"):
        assert main(["train", "--config", str(recipe())]) == 2
    assert "another run is writing here" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


@pytest.mark.slow
def test_the_data_are_opened_once(recipe, monkeypatch):
    opened = []

    def counted(*args, **kwargs):
        opened.append(args)
        return load_dataset(*args, **kwargs)

    for module in (instructions, split.datasets):
        monkeypatch.setattr(module, "load_dataset", counted)
    assert main(["train", "--config", recipe(max_steps=1, prior_correction=0.5)]) == 0
    assert [name for _, name in opened] == ["category", "conversation"]


def test_an_earlier_run_is_not_overwritten(recipe, tmp_path, capsys):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "anything").touch()
    assert main(["train", "--config", str(recipe())]) == 2
    assert "--resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frozen": ["vision_towel"]}, "vision_towel"),
        ({"no_such_key": 1}, "no setting 'no_such_key'. Remove it"),
        ({"learning_rat": 1}, "Did you mean learning_rate"),
        ({"conversation_shares": 1}, "Did you mean conversation_share"),
    ],
)
def test_a_wrong_recipe_is_named(recipe, settings, message):
    with pytest.raises(UsageError, match=message):
        parse_recipe(["--config", str(recipe(**settings))])


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"none\.yaml"):
        parse_recipe(["--config", str(tmp_path / "none.yaml")])


def test_recipes_are_found_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe, sft, _ = parse_recipe(["--config", "finetune", "--data", "somewhere"])
    assert (recipe.augment_faces, sft.assistant_only_loss) == (80, True)
    (tmp_path / "finetune").write_text("output_dir: mine\nbf16: false\n")
    assert parse_recipe(["--config", "finetune", "--data", "x"])[1].output_dir == "mine"


def test_rows_of_both_kinds_are_mixed(ferplus_build):
    whole = InstructionData(ferplus_build[0]).rows(1.0, seed=0)
    half = InstructionData(ferplus_build[0]).rows(0.5, seed=0)
    count = len(load_dataset(str(ferplus_build[0]), "category", split="train"))
    assert len(whole) == 2 * count
    assert len(half) == count + round(count / 2)
    assert whole["messages"] == InstructionData(ferplus_build[0]).rows(1.0, seed=0)["messages"]


def test_switches_reach_the_model_settings():
    words = ["--config", "recipes/tiny.yaml", "--data", "data", "--face_info_mining", "off"]
    recipe, _, _ = parse_recipe([*words, "--tower", "face"])
    settings = scratch_settings(recipe)
    assert settings["tower"] == "face"
    assert settings["model"]["fim_config"]["use_global"] is False
    assert settings["model"]["fim_config"]["use_local"] is False


def test_a_work_folder_belongs_to_its_settings(tmp_path):
    assert changed_settings({"tower": "face", "face": {"epochs": 1}}, tmp_path) == []
    assert changed_settings({"tower": "face", "face": {"epochs": 2}}, tmp_path) == ["face"]


def test_the_encoders_of_a_finished_model_are_taken(tmp_path):
    words = ["--config", "recipes/tiny.yaml", "--data", "data"]
    scratch = scratch_settings(parse_recipe(words)[0])
    (tmp_path / "tower").mkdir()
    (tmp_path / "tower" / "config.json").touch()  # of a run that was killed before the second
    unpack_encoders(EMBEDDED_MODEL, scratch, tmp_path)
    parts = load_model()[0].model
    face, tower = (FaceXFormerModel.from_pretrained(tmp_path / name) for name in ("face", "tower"))
    for found, wanted in ((face, parts.face_model), (tower.backbone, parts.vision_tower)):
        weights = wanted.state_dict()
        assert all(torch.equal(weights[name], value) for name, value in found.state_dict().items())
    assert tower.config.image_size == 64
    tiny_model().save_pretrained(tmp_path / "other")
    tiny_processor().save_pretrained(tmp_path / "other")
    with pytest.raises(UsageError, match="vision tower is not this recipe's"):
        unpack_encoders(tmp_path / "other", scratch, tmp_path / "new")


def test_the_tokenizer_writes_whatever_is_typed():
    tokenizer = train_tokenizer(["The person looks happy."] * 3, vocab_size=300)
    text = "Größe 😀 <image> the eyes"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer(" happy")["input_ids"]) < 6
    assert tokenizer.decode(tokenizer(" happy")["input_ids"]) == "happy"  # an answer is bare
