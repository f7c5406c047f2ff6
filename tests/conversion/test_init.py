"""`emo-llama init`: a new model from a language model, a vision tower and a face network."""

import json

import numpy as np
import pytest
import torch
from parts import LANGUAGE_MODELS, TOWERS, write_language_model, write_tower
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    Gemma2Config,
    GPT2Config,
    ResNetConfig,
    ResNetForImageClassification,
)
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil

from emo_llama.cli import main
from emo_llama.labels import FERPLUS
from emo_llama.modeling import EmoLlamaForConditionalGeneration
from emo_llama.recognition.recognizer import EmotionRecognizer
from emo_llama.testing import tiny_config, tiny_model, tiny_processor

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8))
QUESTION = "What do the eyes show?"
SMALL = ("--set", "qformer_config.num_hidden_layers=2", "--set", "num_query_tokens=4")


def init(llm, vision, out, *words):
    words = ["init", "--llm", llm, "--vision", vision, "--out", out, *SMALL, *words]
    return main([*map(str, words)])


@pytest.fixture(scope="module")
def llms(tmp_path_factory):
    """The folder of each language model."""
    root = tmp_path_factory.mktemp("llms")
    return {kind: write_language_model(root / kind, kind) for kind in LANGUAGE_MODELS}


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    """The folder of each tower."""
    root = tmp_path_factory.mktemp("towers")
    return {kind: write_tower(root / kind, kind) for kind in TOWERS}


@pytest.fixture(scope="module")
def face(tmp_path_factory):
    """A finished model, whose face network is taken."""
    folder = tmp_path_factory.mktemp("face") / "finished"
    tiny_model().save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


def load(folder):
    model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)
    return model, AutoProcessor.from_pretrained(folder, trust_remote_code=True)


def talk(question=QUESTION, answer=None):
    content = [{"type": "image", "image": PICTURE}, {"type": "text", "text": question}]
    turns = [{"role": "user", "content": content}]
    return turns if answer is None else [*turns, {"role": "assistant", "content": answer}]


def same_body(model, folder):
    """The language model's weights, bit by bit, its head tied as before."""
    part = AutoModelForCausalLM.from_pretrained(folder)
    rows = part.config.vocab_size
    ours = model.model.language_model.state_dict()
    for name, value in part.base_model.state_dict().items():
        found = ours[name][:rows] if name.startswith("embed_tokens") else ours[name]
        assert torch.equal(found, value), name
    assert torch.equal(model.lm_head.weight[:rows], part.lm_head.weight)
    tied = model.lm_head.weight is model.get_input_embeddings().weight
    assert tied == part.config.tie_word_embeddings
    return part


@pytest.mark.parametrize("kind", LANGUAGE_MODELS)
def test_any_language_model(kind, llms, towers, face, tmp_path, capsys):
    out = tmp_path / "out"
    assert init(llms[kind], towers["siglip"], out, "--face", face) == 0
    assert capsys.readouterr().out == f"written to {out}\n"
    model, processor = load(out)
    assert type(model).__name__ == "EmoLlamaForConditionalGeneration"
    assert type(AutoModel.from_pretrained(out, trust_remote_code=True)) is type(model)
    part = same_body(model, llms[kind])
    ids = torch.randint(8, 250, (1, 9), generator=torch.Generator().manual_seed(0))
    hidden = [processor.image_token_id, processor.video_token_id]
    with torch.no_grad():
        ours, theirs = model(input_ids=ids).logits, part(ids).logits
    seen = [i for i in range(theirs.shape[-1]) if i not in hidden]
    assert torch.equal(ours[..., seen], theirs[..., seen])
    assert model.generation_config.repetition_penalty == 1.5
    assert processor.tokenizer.eos_token_id in model.generation_config.eos_token_id
    inputs = processor.apply_chat_template(
        talk(answer="Happy."),
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        return_assistant_tokens_mask=True,
    )
    learned = inputs.pop("assistant_masks")[0].bool()
    text = processor.tokenizer.decode(inputs["input_ids"][0][learned])
    assert text.startswith("Happy.")
    assert processor.tokenizer.padding_side == "left"
    assert inputs["input_ids"][0][learned][-1] in torch.tensor(model.generation_config.eos_token_id)
    model(**inputs, labels=inputs["input_ids"]).loss.backward()
    assert model.model.frame_tokens.query_tokens.grad.abs().sum() > 0
    assert model.model.face_info_mining.projection.weight.grad.abs().sum() > 0
    prompt = processor.apply_chat_template(
        talk(), add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    answer = model.generate(**prompt, max_new_tokens=3, do_sample=False)
    assert answer.shape[1] <= prompt["input_ids"].shape[1] + 3
    (row,) = processor.qformer_tokenizer.batch_decode(
        prompt["qformer_input_ids"], skip_special_tokens=True
    )
    assert row == QUESTION


@pytest.mark.parametrize("kind", [kind for kind in LANGUAGE_MODELS if kind != "llama-base"])
def test_prompts_are_the_language_models_own(kind, llms, towers, tmp_path):
    assert init(llms[kind], towers["clip"], tmp_path / "out") == 0
    _, processor = load(tmp_path / "out")
    own = AutoTokenizer.from_pretrained(llms[kind])
    options = {"add_generation_prompt": True, "tokenize": False, "enable_thinking": False}
    turns = [{"role": "user", "content": "Hello."}]
    assert processor.apply_chat_template(turns, **options) == own.apply_chat_template(
        turns, **options
    )
    if kind != "gemma3":  # knows no system message
        turns = [{"role": "system", "content": "Be brief."}, *turns]
        expected = own.apply_chat_template(turns, **options)
        assert processor.apply_chat_template(turns, **options) == expected
    more = [{"role": "assistant", "content": "Hi."}, {"role": "user", "content": "Who are you?"}]
    ours = processor.apply_chat_template([*turns, *more], **options)
    expected = own.apply_chat_template([*turns, *more], **options)
    # ours marks every answer as one without reasoning, as the last one is
    assert ours.replace("<think>\n\n</think>\n\n", "") == expected.replace(
        "<think>\n\n</think>\n\n", ""
    )


@pytest.mark.parametrize("kind", TOWERS)
@pytest.mark.parametrize(
    "compress", ["mean", *(pytest.param(c, marks=pytest.mark.slow) for c in ("grid:2", "all"))]
)
def test_any_tower(kind, compress, llms, towers, tmp_path, capsys):
    out = tmp_path / "out"
    assert init(llms["qwen3"], towers[kind], out, "--compress", compress) == 0
    assert "neither a face network nor Face Info Mining" in capsys.readouterr().err
    model, processor = load(out)
    assert (model.model.face_model, model.model.face_info_mining) == (None, None)
    tokens = {"mean": 2, "grid:2": 5, "all": 17}[compress]
    assert model.config.num_tokens_per_frame == processor.num_tokens_per_frame == tokens
    whole = AutoModel.from_pretrained(towers[kind])
    part = getattr(whole, "vision_model", whole)
    weights, ours = part.state_dict(), model.model.vision_tower.state_dict()
    assert not any("head." in name for name in ours)
    assert all(torch.equal(value, weights[name]) for name, value in ours.items())
    images = processor.image_processor
    side = {"height": 56, "width": 56}
    assert {name: images.size[name] for name in side} == side
    mean = [0.5] * 3 if kind.startswith("siglip") else [0.4, 0.5, 0.6]
    assert (list(images.image_mean), images.do_face_crop) == (mean, False)
    assert images.resample == (3 if kind.startswith("siglip") else 2)
    pixels = processor.image_processor([PICTURE], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        frame = model.get_frame_features(pixels)
        outputs = model.get_image_features(pixels, output_hidden_states=True)
        states = model.model.vision_tower(pixels).last_hidden_state
    assert frame.shape == (1, tokens, 32)
    assert torch.equal(outputs.last_hidden_state, states)
    if kind == "eva":
        part.post_layernorm = torch.nn.Identity()
    with torch.no_grad():
        assert torch.equal(states, part(pixels).last_hidden_state)


def test_no_part_loses_anything_unless_asked(towers, face, tmp_path, capsys):
    llm = write_language_model(tmp_path / "llm", "qwen2", torch.bfloat16)
    assert init(llm, towers["clip"], tmp_path / "wide") == 0
    assert "type of all weights: float32" in capsys.readouterr().err
    model, _ = load(tmp_path / "wide")
    part = AutoModelForCausalLM.from_pretrained(llm)
    assert torch.equal(model.lm_head.weight[:259], part.lm_head.weight.float()[:259])
    words = ["--dtype", "bfloat16", "--face", face]
    assert init(llm, towers["clip"], tmp_path / "half", *words) == 0
    weights = load_file(tmp_path / "half" / "model.safetensors")
    counters = {name: value for name, value in weights.items() if name.endswith("_tracked")}
    assert {value.dtype for value in counters.values()} == {torch.int64}
    kinds = {value.dtype for name, value in weights.items() if name not in counters}
    assert kinds == {torch.bfloat16}
    model, _ = load(tmp_path / "half")
    assert model.dtype == torch.bfloat16
    same_body(model, llm)


def test_a_backbone_of_transformers_becomes_a_face_network(llms, towers, tmp_path, capsys):
    """Its weights and its pictures are taken; what is put around it is named as fresh."""
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
    backbone = ResNetForImageClassification(ResNetConfig(layer_type="basic", **sizes))
    backbone.save_pretrained(tmp_path / "resnet")
    ConvNextImageProcessorPil(
        size={"shortest_edge": 64}, image_mean=[0.1, 0.2, 0.3]
    ).save_pretrained(tmp_path / "resnet")
    words = ["--face", tmp_path / "resnet"]
    assert init(llms["llama"], towers["siglip"], tmp_path / "out", *words) == 0
    assert "all of the face network but its backbone" in capsys.readouterr().err
    model, processor = load(tmp_path / "out")
    known = backbone.resnet.state_dict()
    for name, value in model.model.face_model.backbone.state_dict().items():
        assert torch.equal(value, known[name]), name
    images = processor.image_processor
    assert (list(images.face_image_mean), images.face_size["height"]) == ([0.1, 0.2, 0.3], 64)
    inputs = processor.apply_chat_template(
        talk(), add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert torch.isfinite(model(**inputs).logits).all()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_folder(llms, towers, face, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        words = ["--face", face, "--seed", seed]
        assert init(llms["smollm3"], towers["dinov2"], tmp_path / name, *words) == 0
    one, two, other = (load_file(tmp_path / name / "model.safetensors") for name in "abc")
    assert all(torch.equal(one[name], two[name]) for name in one)
    key = "model.frame_tokens.query_tokens"
    assert not torch.equal(one[key], other[key])
    assert "lm_head.weight" not in one
    faces = load_file(face / "model.safetensors")
    assert all(torch.equal(one[name], faces[name]) for name in faces if ".face_model." in name)


def test_the_fresh_parts_are_drawn_as_transformers_does(llms, towers, face, tmp_path):
    assert init(llms["llama"], towers["siglip"], tmp_path / "out", "--face", face) == 0
    model, _ = load(tmp_path / "out")
    torch.manual_seed(0)
    other = EmoLlamaForConditionalGeneration(model.config).model
    for part in ("frame_tokens", "face_info_mining"):
        drawn = getattr(other, part).state_dict()
        for name, weight in getattr(model.model, part).state_dict().items():
            assert bool(weight.isfinite().all()), name
            if name.startswith("content_projector.linear") and weight.ndim == 2:
                drawn[name].normal_(std=weight.shape[1] ** -0.5)  # so that its scale is kept
            if weight.numel() > 500:
                torch.testing.assert_close(weight.std(), drawn[name].std(), atol=0.01, rtol=0.3)


def test_the_card_and_the_folder(llms, towers, tmp_path):
    for towers_card, said in (
        (None, "clip | unknown: look it up |"),
        ("---\nlicense: other\nlicense_name: my-licence\n---\n", "clip | my-licence |"),
        ("---\nlicense: apache-2.0\n---\n", "clip | apache-2.0 |"),
        ("---\nlicense: [\n---\n", "clip | unknown: look it up |"),
    ):
        card = towers["clip"] / "README.md"
        card.unlink(missing_ok=True)
        if towers_card:
            card.write_text(towers_card)
        out = tmp_path / f"out-{abs(hash(towers_card))}"
        assert init(llms["llama"], towers["clip"], out) == 0
        text = (out / "README.md").read_text()
        assert said in text and "language model | llama | apache-2.0" in text
        same = "apache-2.0" in (towers_card or "")
        assert text.startswith("---\nlibrary_name") and ("\nlicense: apache" in text) == same
        assert (out / "modeling_emo_llama.py").is_file()
        assert (out / "qformer_tokenizer" / "tokenizer.json").is_file()
        for path in out.rglob("*"):
            if path.suffix in (".json", ".md", ".jinja"):
                assert str(tmp_path.parent) not in path.read_text(), path.name
    card.unlink()


def test_a_folder_without_picture_settings_gets_those_of_its_kind(llms, tmp_path):
    tower = write_tower(tmp_path / "tower", "siglip", pictures=False)
    assert init(llms["llama"], tower, tmp_path / "out") == 0
    images = load(tmp_path / "out")[1].image_processor
    assert (images.size["height"], list(images.image_mean)) == (56, [0.5] * 3)


def test_the_recognizer_runs(llms, towers, tmp_path, capsys):
    assert init(llms["gemma3"], towers["clip-whole"], tmp_path / "out") == 0
    recognizer = EmotionRecognizer.from_pretrained(
        tmp_path / "out", detector="none", max_new_tokens=4
    )
    (found,) = recognizer(PICTURE).faces
    assert tuple(found.probabilities) == FERPLUS
    PICTURE.save(tmp_path / "photo.png")
    words = ["--model", str(tmp_path / "out"), "--faces", "none", "--format", "jsonl"]
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "photo.png"), *words]) == 0
    assert json.loads(capsys.readouterr().out)["faces"][0]["label"] == found.label


@pytest.mark.slow
def test_it_can_be_tuned(llms, towers, face, ferplus_build, tmp_path):
    start, work = tmp_path / "start", tmp_path / "work"
    assert init(llms["qwen3"], towers["siglip"], start, "--face", face) == 0
    words = ["--model_name_or_path", start, "--data", ferplus_build[0], "--output_dir", work]
    words += ["--max_steps", "2", "--per_device_train_batch_size", "2", "--use_cpu", "true"]
    assert main(["train", "--config", "finetune", *map(str, words)]) == 0
    before, after = (load(folder)[0].state_dict() for folder in (start, work / "model"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any(".face_model." in name or ".vision_tower." in name for name in changed)
    assert any(".language_model." in name for name in changed)
    assert any(".frame_tokens." in name for name in changed)


def no_tokenizer(llm):
    for path in llm.glob("tokenizer*"):
        path.unlink()


def no_head(llm):
    weights = load_file(llm / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, llm / "model.safetensors", metadata={"format": "pt"})


def damaged(llm):
    (llm / "model.safetensors").write_bytes(b"no weights")


def capped(llm):
    sizes = json.loads((llm / "config.json").read_text())
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")
    config = Gemma2Config(
        **{name: sizes[name] for name in names},
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(llm)


def tied_elsewhere(llm):
    sizes = {"vocab_size": 258, "n_embd": 16, "n_layer": 1, "n_head": 2}
    AutoModelForCausalLM.from_config(GPT2Config(**sizes)).save_pretrained(llm)


def masked(llm):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertForMaskedLM(BertConfig(**sizes, intermediate_size=16, vocab_size=300)).save_pretrained(llm)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_tokenizer, "found none of tokenizer.json"),
        (no_head, "lm_head.weight"),
        (damaged, "the weights cannot be read"),
        (capped, "which EMO-LLaMA does not compute"),
        (tied_elsewhere, "GPT2LMHeadModel ties its head to an embedding"),
        (masked, "expected a causal language model for text alone, found BertForMaskedLM"),
        (lambda llm: (llm / "config.json").unlink(), "expected a model folder with config.json"),
        (lambda llm: (llm / "config.json").write_text("{"), "config.json: expected the config"),
    ],
)
def test_a_language_model_that_will_not_do(damage, message, towers, tmp_path, capsys):
    llm = write_language_model(tmp_path / "llm", "llama")
    damage(llm)
    assert init(llm, towers["clip"], tmp_path / "out") == 1
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["llm"]


def test_parts_of_another_kind(llms, towers, tmp_path, capsys):
    out = tmp_path / "out"
    for llm, vision, words, status, message in (
        (towers["clip"], towers["clip"], [], 1, "expected a causal language model"),
        (llms["llama"], llms["qwen3"], [], 1, "expected a vision tower"),
        (llms["llama"], towers["clip"], ["--face", towers["clip"]], 1, "expected a face network"),
        (llms["llama"], tmp_path / "none", [], 2, "none"),
        (llms["llama"], towers["clip"], ["--compress", "some"], 2, "--compress some"),
        (llms["llama"], towers["clip"], ["--compress", "grid:9"], 2, "4 patches a side"),
        (
            llms["llama"],
            towers["clip"],
            ["--set", "num_query_token=2"],
            2,
            "Did you mean num_query_tokens?",
        ),
        (llms["llama"], towers["clip"], ["--set", "num_query_tokens"], 2, "FIELD=VALUE"),
    ):
        assert init(llm, vision, out, *words) == status
        assert message in capsys.readouterr().err
        assert not any(tmp_path.iterdir())
    without = tmp_path / "without"
    tiny_model(tiny_config(face_config=None)).save_pretrained(without)
    assert init(llms["llama"], towers["clip"], out, "--face", without) == 1
    assert "without a face network" in capsys.readouterr().err
    assert init(llms["llama"], towers["clip"], without) == 2
    assert "exists already" in capsys.readouterr().err
