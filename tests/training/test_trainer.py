"""What the trainer adds to TRL's: a second loss, averages, attributes, switches; by real runs."""

import json
import shutil

import numpy as np
import pytest
import torch
from datasets import Dataset
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file
from trl import SFTConfig

from emo_llama.cli import main
from emo_llama.errors import UsageError
from emo_llama.loading import load_model
from emo_llama.recognition.attributes import AGES, GENDERS, RACES, attribute_sentences
from emo_llama.recognition.encoding import encode_pictures
from emo_llama.recognition.recognizer import EmotionRecognizer
from emo_llama.testing import tiny_config, tiny_model, tiny_processor
from emo_llama.training.data.collator import CLASSES, InstructionCollator, ShownRows, with_prefixes
from emo_llama.training.data.instructions import InstructionData
from emo_llama.training.parts import switch_parts
from emo_llama.training.recipe import parse_recipe
from emo_llama.training.trainer import ExpressionHead, InstructionTrainer


def first_loss(tmp_path):
    """The loss of the only step of the run."""
    state = tmp_path / "work" / "tuning" / "checkpoint-1" / "trainer_state.json"
    return json.loads(state.read_text())["log_history"][0]["loss"]


@pytest.mark.slow
@pytest.mark.parametrize("lora", [False, True])
def test_the_expression_head_learns_and_is_dropped(recipe, tmp_path, lora):
    extra = {}
    if lora:
        extra = {"use_peft": True, "lora_target_modules": [".*language_model.*q_proj"], "lora_r": 2}
        extra["lora_modules_to_save"] = ["face_info_mining"]
    assert main(["train", "--config", recipe(expression_loss=1.0, **extra)]) == 0
    finished = load_file(tmp_path / "work" / "model" / "model.safetensors")
    start = load_file(tmp_path / "start" / "model.safetensors")
    assert set(finished) == set(start)
    mining = "model.face_info_mining.projection.weight"
    assert not torch.equal(finished[mining], start[mining])
    checkpoint = next((tmp_path / "work" / "tuning").glob("checkpoint-4/*model.safetensors"))
    heads = [k for k in load_file(checkpoint) if "expression_head.linear.weight" in k]
    assert len(heads) == 1


@pytest.mark.slow
def test_the_second_loss_is_added(recipe, tmp_path):
    assert main(["train", "--config", recipe(max_steps=1)]) == 0
    plain = first_loss(tmp_path)
    (tmp_path / "work").rename(tmp_path / "plain")
    assert main(["train", "--config", recipe(max_steps=1, expression_loss=0.5)]) == 0
    extra = first_loss(tmp_path) - plain
    assert 0.5 * 1.2 < extra < 0.5 * 4  # about half of log 8 before anything is learned


def test_the_head_keeps_tokens_only_while_it_is_trained():
    head = ExpressionHead(width=4, num_labels=3)
    tokens = torch.randn(5, 2, 4, requires_grad=True)
    head.eval().keep(head, (), tokens)
    assert head.kept == []
    head.train().keep(head, (), tokens)
    head.loss(torch.tensor([0, 1, 2, 0, 1])).backward()
    assert tokens.grad is not None and head.kept == []


@pytest.mark.slow
def test_the_average_lies_between_start_and_end(recipe, tmp_path):
    assert main(["train", "--config", recipe(ema_decay=0.9)]) == 0
    start = load_file(tmp_path / "start" / "model.safetensors")
    end = load_file(tmp_path / "work" / "tuning" / "checkpoint-4" / "model.safetensors")
    kept = load_file(tmp_path / "work" / "model" / "model.safetensors")
    name = "model.face_info_mining.projection.weight"
    moved, all_the_way = (kept[name] - start[name]).norm(), (end[name] - start[name]).norm()
    assert 0 < moved < 0.5 * all_the_way
    average = load_file(tmp_path / "work" / "tuning" / "checkpoint-4" / "average.safetensors")
    assert torch.equal(average[name], kept[name])


@pytest.mark.slow
def test_an_average_goes_on_where_it_was(recipe, tmp_path):
    assert main(["train", "--config", recipe(ema_decay=0.9)]) == 0
    whole = load_file(tmp_path / "work" / "model" / "model.safetensors")
    for gone in ("model", "tuning/checkpoint-4"):
        (tmp_path / "work" / gone).rename(tmp_path / gone.replace("/", "-"))
    assert main(["train", "--config", recipe(ema_decay=0.9), "--resume"]) == 0
    again = load_file(tmp_path / "work" / "model" / "model.safetensors")
    for name, tensor in whole.items():
        torch.testing.assert_close(again[name], tensor)


def test_stopping_and_averaging_exclude_each_other(recipe):
    with pytest.raises(UsageError, match="set one of the two to 0"):
        parse_recipe(["--config", recipe(ema_decay=0.9, early_stopping_patience=1)])


def test_stopping_needs_a_validation_split(recipe, tmp_path, capsys):
    from emo_llama.dataset_builders.synthetic import draw_face

    for number, label in enumerate(("happy", "sad") * 4):
        path = tmp_path / "mine" / "train" / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_face("happiness" if label == "happy" else "sadness", number, 64).save(path)
    words = ["--config", recipe(early_stopping_patience=1), "--data", str(tmp_path / "mine")]
    assert main(["train", *words]) == 2
    assert "no split validation to evaluate on. Set eval_strategy" in capsys.readouterr().err


@pytest.mark.slow
def test_a_checkpoint_of_other_weights_is_named(recipe, tmp_path, capsys):
    assert main(["train", "--config", recipe()]) == 0
    shutil.rmtree(tmp_path / "work" / "model")
    config = tiny_config()
    config.text_config.intermediate_size *= 2
    tiny_model(config).save_pretrained(tmp_path / "start")
    assert main(["train", "--config", recipe(max_steps=6), "--resume"]) == 2
    assert "of other weights than this run trains. Resume with" in capsys.readouterr().err
    assert (tmp_path / "work" / "tuning" / "checkpoint-4").is_dir()
    shutil.rmtree(tmp_path / "start")
    tiny_model().save_pretrained(tmp_path / "start")
    tiny_processor().save_pretrained(tmp_path / "start")
    words = ["--resume", "--frozen", "vision_tower", "face_model", "language_model"]
    assert main(["train", "--config", recipe(max_steps=6), *words]) == 2
    assert "of other weights than this run trains" in capsys.readouterr().err


@pytest.mark.slow
def test_placeholders_are_learned_neither_from_pictures_nor_from_clips(ferplus_build, tmp_path):
    """Through TRL's trainer with its own default, the loss on every token of the conversation."""
    rows = InstructionData(ferplus_build[0]).rows(0.0, 0).select(range(4))
    clip = rows[0] | {"images": rows[0]["images"] * 3}
    shown = Dataset.from_list([*rows, clip], features=rows.features).with_transform(ShownRows())
    model, processor = tiny_model().eval(), tiny_processor()
    placeholders = [processor.image_token_id, processor.video_token_id]
    settings = SFTConfig(
        output_dir=str(tmp_path),
        max_steps=8,
        per_device_train_batch_size=5,
        learning_rate=1e-2,
        max_length=None,
        remove_unused_columns=False,
        report_to="none",
        save_strategy="no",
        bf16=False,
        use_cpu=True,
    )
    assert settings.assistant_only_loss is False
    collator = InstructionCollator(processor=processor, max_length=None)
    trainer = InstructionTrainer(
        model=model,
        args=settings,
        data_collator=collator,
        train_dataset=shown,
        processing_class=processor,
    )
    batch = collator([shown[index] for index in range(5)])
    batch.pop(CLASSES)
    ids = batch["input_ids"]
    is_placeholder = torch.isin(ids, torch.tensor(placeholders))
    assert (ids == placeholders[0]).any() and (ids == placeholders[1]).any()

    def log_probabilities():
        """Of every token at every position, (B, T - 1, V), by the model as it is."""
        hidden = model.model(**{k: v for k, v in batch.items() if k != "labels"})[0]
        return model.lm_head(hidden[:, :-1]).float().log_softmax(-1)

    counted = (batch["attention_mask"].bool() & ~is_placeholder)[:, 1:]  # (B, T - 1)
    with torch.no_grad():
        before = log_probabilities()
    trainer.train()
    model.eval()
    with torch.no_grad():
        after = log_probabilities()
        loss = trainer.compute_loss(model, dict(batch))
    learned = after.gather(-1, ids[:, 1:, None])[..., 0][counted].mean()
    assert float(loss) == pytest.approx(-float(learned), rel=1e-4)
    assert learned > before.gather(-1, ids[:, 1:, None])[..., 0][counted].mean() + 0.5
    assert (after[..., placeholders].mean((0, 1)) < before[..., placeholders].mean((0, 1))).all()


def test_stills_and_clips_share_a_batch(ferplus_build):
    rows = InstructionData(ferplus_build[0]).rows(0.0, 0).select(range(3))
    mixed = Dataset.from_list(
        [rows[0], rows[1] | {"images": rows[1]["images"] * 3}], features=rows.features
    ).with_transform(ShownRows())
    batch = InstructionCollator(processor=tiny_processor(), assistant_only_loss=True)(
        [mixed[0], mixed[1]]
    )
    assert batch["pixel_values"].shape[0] == 1
    assert batch["frame_counts"].tolist() == [3]
    assert batch[CLASSES].tolist() == [rows[0]["class"], *[rows[1]["class"]] * 3]
    classes = batch.pop(CLASSES)
    loss = tiny_model()(**batch).loss
    assert loss.isfinite() and len(classes) == 4


def test_attributes_stand_before_the_question(ferplus_build):
    rows = InstructionData(ferplus_build[0]).rows(0.0, 0).select(range(2))
    prefixed = with_prefixes(rows, ["The person is a man aged 20-29.", ""])
    asked = [row["messages"][0]["content"] for row in rows]
    assert prefixed[0]["messages"][0]["content"] == f"The person is a man aged 20-29. {asked[0]}"
    assert prefixed[1]["messages"] == rows[1]["messages"]


@pytest.mark.slow
@pytest.mark.parametrize("cached", [False, True])
def test_a_model_is_tuned_with_attributes(recipe, tmp_path, cached, ferplus_build, capsys):
    extra = {"feature_cache": str(tmp_path / "cache")} if cached else {}
    assert main(["train", "--config", recipe(attributes="predicted", **extra)]) == 0
    model, _ = load_model(tmp_path / "work" / "model")
    assert model.config.attribute_prompt == "predicted"
    report = json.loads((tmp_path / "work" / "model" / "validation.json").read_text())
    words = ["--data", str(ferplus_build[0]), "--model", str(tmp_path / "work" / "model")]
    capsys.readouterr()
    assert main(["eval", *words, "--attributes", "predicted", "--format", "json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["confusion"] == report["confusion"]
    card = (tmp_path / "work" / "model" / "README.md").read_text()
    assert "--split validation --model DIR --attributes predicted`" in card


def test_sentences_are_of_the_heads(ferplus_build):
    model, processor = tiny_model(), tiny_processor()
    pictures = [
        row["images"][0].convert("RGB") for row in InstructionData(ferplus_build[0]).rows(0, 0)
    ]
    boxes = [(0, 0, 40, 40), None, (0, 0, 9, 9)]
    found = attribute_sentences(encode_pictures(model, processor, pictures[:3], boxes)[0])
    assert found[1] == ""
    crops = processor.image_processor(pictures[:1], face_boxes=[(0, 0, 40, 40)])
    out = model.model.face_model(torch.tensor(crops["face_pixel_values"]))
    words = (
        GENDERS[out.gender_logits.argmax()],
        AGES[out.age_logits.argmax()],
        RACES[out.race_logits.argmax()],
    )
    assert all(word in found[0] for word in words)


def test_the_recognizer_asks_with_attributes(ferplus_build):
    model, processor = tiny_model(), tiny_processor()
    plain = EmotionRecognizer(model, processor)
    asking = EmotionRecognizer(model, processor, attributes="predicted")
    pictures = [
        row["images"][0].convert("RGB") for row in InstructionData(ferplus_build[0]).rows(0, 0)
    ]
    one_by_one = np.concatenate([asking.score_labels([picture]) for picture in pictures[:4]])
    together = asking.score_labels(pictures[:4])
    assert together == pytest.approx(one_by_one, abs=1e-4)
    assert (abs(together - plain.score_labels(pictures[:4])) > 1e-6).any()
    without = tiny_model(tiny_config(face_config=None))
    with pytest.raises(UsageError, match="no face network to predict them. Leave them off"):
        EmotionRecognizer(without, processor, attributes="predicted")


@pytest.mark.parametrize(
    ("fim", "tower", "tokens"),
    [("off", "generic", 2), ("global", "generic", 4), ("local", "off", 2), ("both", "off", 2)],
)
def test_parts_are_switched_off(fim, tower, tokens, tmp_path, ferplus_build):
    model, processor = tiny_model(), tiny_processor()
    switch_parts(model, processor, fim, tower)
    assert model.config.num_tokens_per_frame == processor.num_tokens_per_frame == tokens
    picture = InstructionData(ferplus_build[0]).rows(0, 0)[0]["images"][0].convert("RGB")
    scores = EmotionRecognizer(model, processor).score_labels([picture])
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = EmotionRecognizer.from_pretrained(tmp_path, detector="none").score_labels([picture])
    assert again == pytest.approx(scores, abs=1e-6)


def test_something_must_be_left():
    with pytest.raises(UsageError, match="nothing would be seen"):
        switch_parts(tiny_model(), tiny_processor(), "off", "off")
    with pytest.raises(UsageError, match="needs a recipe with `scratch`"):
        switch_parts(tiny_model(), tiny_processor(), tower="face")
    with pytest.raises(UsageError, match="the model has no face network"):
        switch_parts(tiny_model(tiny_config(face_config=None)), tiny_processor(), "local")
    with pytest.raises(StrictDataclassError, match="leaves no visual token"):
        tiny_config(face_config=None, use_frame_tokens=False)
