"""Third-party clients, unmodified, as docs/clients.md shows them."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from test_documentation import blocks
from transformers import AutoProcessor
from trl import SFTConfig, SFTTrainer

from emo_llama.hub.export import export
from emo_llama.testing import tiny_model, tiny_processor

PORTRAIT = Path(__file__).parents[1] / "emo_llama" / "assets" / "portrait.jpg"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An exported tiny model called `hub` in the current folder."""
    tiny_model().save_pretrained(tmp_path / "saved")
    tiny_processor().save_pretrained(tmp_path / "saved")
    monkeypatch.chdir(tmp_path)
    return export(tmp_path / "saved", tmp_path / "hub")


def inputs_of(folder: Path):
    processor = AutoProcessor.from_pretrained(folder)
    picture = {"type": "image", "image": Image.open(PORTRAIT)}
    return processor.apply_chat_template(
        [{"role": "user", "content": [picture, {"type": "text", "text": "Who?"}]}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )


def named(word: str) -> str:
    """The block of the document that holds a word."""
    (code,) = [code for code in blocks("docs/clients.md", "python") if word in code]
    return code


@pytest.mark.slow
def test_an_adapter_comes_back_by_the_causal_class(hub: Path) -> None:
    names: dict = {}
    code = named("AutoPeftModelForCausalLM").replace(
        'CAUSAL_LM",', 'CAUSAL_LM", init_lora_weights=False,'
    )
    exec(compile(code, "docs/clients.md", "exec"), names)
    loaded = names["model"]
    saved = names["get_peft_model"](tiny_model(), names["config"])
    assert all("language_model" in name for name in saved.targeted_module_names)
    inputs = inputs_of(hub)
    with torch.no_grad():
        tuned = loaded(**inputs).logits
        with loaded.disable_adapter():
            plain = loaded(**inputs).logits
    own = tiny_model()(**inputs).logits
    torch.testing.assert_close(plain, own, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(tuned, plain)
    merged = loaded.merge_and_unload()(**inputs).logits
    torch.testing.assert_close(merged, tuned, atol=1e-5, rtol=1e-4)


def test_the_modules_that_bitsandbytes_skips_exist_and_leave_the_language_model() -> None:
    names: dict = {}
    exec(compile(named("BitsAndBytesConfig"), "docs/clients.md", "exec"), names)
    skipped = tuple(names["quantization"].llm_int8_skip_modules)
    model = tiny_model()
    for name in skipped:
        model.get_submodule(name)
    linear = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)]
    left = [name for name in linear if not name.startswith(skipped)]
    assert left and all(name.startswith("model.language_model.") for name in left)


def test_generation_takes_a_static_cache_and_beams() -> None:
    model = tiny_model()
    tokens = [model.config.image_token_id] * model.config.num_tokens_per_frame
    inputs = {
        "input_ids": torch.tensor([[1, *tokens, 7, 8]]),
        "pixel_values": torch.zeros(1, 3, 56, 56),
    }
    options = {"max_new_tokens": 4, "do_sample": False}
    greedy = model.generate(**inputs, **options)
    static = model.generate(**inputs, **options, cache_implementation="static")
    assert torch.equal(greedy, static)
    beams = model.generate(**inputs, **options, num_beams=3, num_return_sequences=3)
    assert beams.shape[0] == 3 and len({tuple(row) for row in beams.tolist()}) == 3


@pytest.mark.slow
def test_trl_learns_answers_alone_with_an_adapter(hub: Path) -> None:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForImageTextToText

    picture = Image.open(PORTRAIT).convert("RGB").resize((64, 64))
    turns = [
        {"role": "user", "content": "Which expression?"},
        {"role": "assistant", "content": "happiness"},
    ]
    rows = Dataset.from_list([{"images": [picture], "messages": turns}] * 2)
    target = r".*language_model.*\.(q_proj|v_proj)"
    trainer = SFTTrainer(
        model=AutoModelForImageTextToText.from_pretrained(hub),
        processing_class=AutoProcessor.from_pretrained(hub),
        args=SFTConfig(
            "out",
            max_steps=1,
            max_length=None,
            assistant_only_loss=True,
            use_cpu=True,
            bf16=False,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=rows,
        peft_config=LoraConfig(target_modules=target),
    )
    before = {n: p.clone() for n, p in trainer.model.named_parameters() if "lora_B" in n}
    trainer.train()
    after = dict(trainer.model.named_parameters())
    assert before and all("language_model" in name for name in before)
    assert any(not torch.equal(value, after[name]) for name, value in before.items())
