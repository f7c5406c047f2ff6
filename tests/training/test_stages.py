"""The recipes for large models: what they train, to the name, and both stages in a row."""

import json
import re

import pytest
import torch
from peft import get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import get_peft_config

from emo_llama.cli import main
from emo_llama.errors import UsageError
from emo_llama.testing import tiny_model, tiny_processor
from emo_llama.training.parts import freeze, keep_precise
from emo_llama.training.recipe import parse_recipe

PROJECTORS = r"frame_tokens\.(query|key|value)_projection|frame_tokens\.content_projector"
ALIGNED = re.compile(rf"model\.(face_info_mining|{PROJECTORS})\..*")
LORA = re.compile(
    r"model\.language_model\.layers\.\d+\.(self_attn\.[qkvo]|mlp\.(gate|up|down))_proj\.lora_[AB]\.default\.weight"
)
TUNED = re.compile(r"lm_head\..*|model\.(language_model|frame_tokens|face_info_mining)\..*")


@pytest.fixture
def quick():
    """Two steps on a processor; all else is the recipe's."""
    words = {"max_steps": 2, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1}
    words |= {"use_cpu": "true", "dataloader_num_workers": 0}
    return [word for key, value in words.items() for word in (f"--{key}", str(value))]


def trained(name, words=("--use_cpu", "true")):
    """Names of what a recipe trains of the tiny model, of all its parameters, and settings."""
    recipe, sft, peft = parse_recipe(["--config", name, "--data", "x", *words])
    model = tiny_model()
    names = {key for key, _ in model.named_parameters()}
    freeze(model, recipe.frozen)
    if peft.use_peft:
        model = get_peft_model(model, get_peft_config(peft))
    found = {
        key.removeprefix("base_model.model.")
        for key, value in model.named_parameters()
        if value.requires_grad
    }
    return found, names, sft, peft


@pytest.mark.parametrize(("name", "pattern"), [("align", ALIGNED), ("full", TUNED)])
def test_what_is_trained_in_full(name, pattern):
    found, names, sft, peft = trained(name)
    assert found == {key for key in names if pattern.fullmatch(key)}
    assert (sft.bf16, sft.gradient_checkpointing, peft.use_peft) == (True, True, False)
    assert sft.learning_rate == {"align": 1e-3, "full": 2e-5}[name]


def test_what_lora_trains():
    found, names, sft, peft = trained("instruct")
    adapters = {key for key in found if ".lora_" in key}
    assert len(adapters) == 2 * 7 * 2  # matrices, linear layers of a layer, layers
    assert all(LORA.fullmatch(key) for key in adapters)
    in_full = {key.replace(".modules_to_save.default", "") for key in found - adapters}
    assert in_full == {key for key in names if ALIGNED.fullmatch(key)}
    assert (peft.lora_r, peft.lora_alpha, peft.lora_dropout) == (64, 16, 0.05)
    assert (sft.learning_rate, sft.num_train_epochs, sft.warmup_steps) == (2e-4, 1, 0.03)
    assert (sft.lr_scheduler_type, sft.bf16, sft.gradient_checkpointing) == ("cosine", True, True)


def test_lora_alone_decides_what_is_trained():
    """`frozen` takes nothing away from what LoRA's settings name."""
    usual, *_ = trained("instruct")
    words = ["--frozen", "language_model", "face_info_mining", "--use_cpu", "true"]
    assert trained("instruct", words)[0] == usual


def test_parts_of_parts_are_frozen():
    model = tiny_model()
    freeze(model, ["frame_tokens.query_tokens", "frame_tokens.qformer", "language_model"])
    tokens = model.model.frame_tokens
    assert not tokens.query_tokens.requires_grad and tokens.norm.weight.requires_grad
    assert not tokens.qformer.training and not model.lm_head.weight.requires_grad
    with pytest.raises(UsageError, match="frame_tokens has no qfromer; it has .*qformer"):
        freeze(model, ["frame_tokens.qfromer"])


def test_what_is_trained_is_held_in_float32():
    model = tiny_model().to(torch.bfloat16)
    freeze(model, ["vision_tower", "face_model", "language_model"])
    keep_precise(model)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {torch.bfloat16}
    model = tiny_model().to(torch.bfloat16)
    keep_precise(model, ["face_info_mining"])
    assert {p.dtype for p in model.model.face_info_mining.parameters()} == {torch.float32}
    assert model.lm_head.weight.dtype == torch.bfloat16


@pytest.mark.slow
def test_both_stages_one_after_the_other(ferplus_build, tmp_path, quick):
    """A model in bfloat16, as one of 7B is: aligned, tuned by LoRA, merged, loaded elsewhere."""
    start, aligned, tuned = tmp_path / "start", tmp_path / "align", tmp_path / "instruct"
    tiny_model().to(torch.bfloat16).save_pretrained(start)
    tiny_processor().save_pretrained(start)
    words = ["--data", str(ferplus_build[0]), *quick]
    begin = ["--model_name_or_path", str(start), "--output_dir", str(aligned)]
    assert main(["train", "--config", "align", *words, *begin]) == 0
    begin = ["--model_name_or_path", str(aligned / "model"), "--output_dir", str(tuned)]
    assert main(["train", "--config", "instruct", *words, *begin]) == 0
    before, between, after = (
        load_file(folder / "model.safetensors")
        for folder in (start, aligned / "model", tuned / "model")
    )
    assert before.keys() == between.keys() == after.keys()
    assert {value.dtype for value in after.values()} == {value.dtype for value in before.values()}
    changed = {key for key in before if not torch.equal(before[key], between[key])}
    assert changed and all(ALIGNED.fullmatch(key) for key in changed)
    changed = {key for key in before if not torch.equal(between[key], after[key])}
    linear = re.compile(r"model\.language_model\..*_proj\.weight")
    assert any(linear.fullmatch(key) for key in changed)
    assert all(linear.fullmatch(key) or ALIGNED.fullmatch(key) for key in changed)
    model = AutoModelForImageTextToText.from_pretrained(tuned / "model")
    AutoProcessor.from_pretrained(tuned / "model")
    assert model.dtype == torch.bfloat16
    assert json.loads((tuned / "model" / "validation.json").read_text())["n"] == 8
