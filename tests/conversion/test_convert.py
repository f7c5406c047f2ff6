"""`emo-llama convert` on the golden weights, written as the reference writes its files."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoModel, AutoProcessor, AutoTokenizer, LlamaTokenizer

from emo_llama.cli import main
from emo_llama.conversion import checkpoints
from emo_llama.conversion.lora import LoraUpdate
from emo_llama.modeling import EmoLlamaForConditionalGeneration
from emo_llama.modeling.processing_emo_llama import VICUNA_SYSTEM_PROMPT
from emo_llama.testing import tiny_processor

GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden"
EXACT = {"atol": 1e-5, "rtol": 0}
REFERENCE_PLACEHOLDER = -200
TOWER = "model.vision_tower.vision_tower."


@pytest.fixture
def face_file(tmp_path):
    """The reference's weights in the published file's form."""
    path = tmp_path / "model.pt"
    weights = load_file(GOLDEN / "facexformer_tiny_weights.safetensors")
    torch.save({"state_dict_backbone": weights}, path)
    return path


def face_weights():
    return load_file(GOLDEN / "facexformer_tiny_weights.safetensors")


def convert_face(path, out, *words):
    return main(["convert", "facexformer", "--checkpoint", str(path), "--out", str(out), *words])


def test_the_face_network_answers_as_the_reference(face_file, tmp_path):
    assert convert_face(face_file, tmp_path / "out") == 0
    model = AutoModel.from_pretrained(tmp_path / "out", trust_remote_code=True).eval()
    pixels = load_file(GOLDEN / "facexformer_input.safetensors")["pixel_values"]
    reference = load_file(GOLDEN / "facexformer_tiny_outputs.safetensors")
    with torch.no_grad():
        answers = model(pixels)
    for ours, theirs in (
        ("feature_map", "fused_states"),
        ("head_pose", "headpose"),
        ("age_logits", "age"),
        ("visibility_logits", "visibility"),
    ):
        torch.testing.assert_close(getattr(answers, ours), reference[theirs], **EXACT)
    assert (model.config.num_attention_heads, model.config.backbone_config.num_heads) == (
        4,
        [1, 2, 4, 8],
    )
    assert (tmp_path / "out" / "modeling_facexformer.py").is_file()


def test_the_face_network_in_half_precision(face_file, tmp_path):
    assert convert_face(face_file, tmp_path / "out", "--dtype", "bfloat16") == 0
    kinds = {t.dtype for t in load_file(tmp_path / "out" / "model.safetensors").values()}
    assert kinds == {torch.bfloat16}


def test_fields_that_shapes_do_not_tell_can_be_set(face_file, tmp_path, capsys):
    words = ["--set", "num_attention_heads=2"]
    assert convert_face(face_file, tmp_path / "out", *words) == 0
    assert json.loads((tmp_path / "out" / "config.json").read_text())["num_attention_heads"] == 2
    assert convert_face(face_file, tmp_path / "other", "--set", "heads") == 2
    assert "FIELD=VALUE" in capsys.readouterr().err
    assert convert_face(face_file, tmp_path / "other", "--set", "heads=2") == 2
    assert "no such field" in capsys.readouterr().err


def lacking(weights):
    del weights["linear_fuse.weight"]


def more(weights):
    weights["surprise.weight"] = torch.zeros(1)


def narrower(weights):
    weights["linear_c.1.proj.weight"] = weights["linear_c.1.proj.weight"][:, :3].clone()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lacking, "1 missing: fusion.fuse.weight"),
        (more, "1 without a place: surprise.weight"),
        (narrower, r"fusion.projections.1.weight [32, 3] in place of [32, 16]"),
        (lambda weights: weights.pop("face_decoder.age_token.weight"), "age_token.weight"),
        (lambda weights: weights.clear(), "state_dict_backbone"),
    ],
)
def test_a_face_network_that_is_not_whole(damage, message, tmp_path, capsys):
    weights = face_weights()
    damage(weights)
    torch.save({"state_dict_backbone": weights}, tmp_path / "model.pt")
    assert convert_face(tmp_path / "model.pt", tmp_path / "out") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt"]


class Evil:
    def __reduce__(self):
        return print, ("code was run",)


def test_files_that_run_code_are_refused(tmp_path, capsys):
    (tmp_path / "model.pt").write_bytes(pickle.dumps(Evil()))
    assert convert_face(tmp_path / "model.pt", tmp_path / "out") == 1
    told = capsys.readouterr()
    assert "could run code" in told.err
    assert "code was run" not in told.out
    assert convert_face(tmp_path / "none.pt", tmp_path / "out") == 1
    assert "no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [b"\xff\xd8 no pickle", b"hello", b"", b"PK\3\4 no archive", pickle.dumps({"a": Evil()})],
)
def test_nobody_is_told_to_read_a_checkpoint_unguarded(content, tmp_path, capsys):
    (tmp_path / "model.pt").write_bytes(content)
    assert convert_face(tmp_path / "model.pt", tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert "model.pt: cannot be read (" in told and "ask for safetensors" in told
    assert "weights_only" not in told and "eights only" not in told


@pytest.fixture(scope="module")
def vid_weights():
    return load_file(GOLDEN / "llamavid_tiny_weights.safetensors")


@pytest.fixture(scope="module")
def io():
    return load_file(GOLDEN / "llamavid_tiny_io.safetensors")


def llama_config(compress="mean_concat"):
    """The keys that LLaMA-VID's training writes, with the golden sizes."""
    llama = json.loads((GOLDEN / "llamavid_tiny_config.json").read_text())["llama"]
    return {
        "model_type": "llava",
        "architectures": ["LlavaLlamaAttForCausalLM"],
        "mm_vision_tower": "./model_zoo/LAVIS/eva_vit_g.pth",
        "bert_type": "qformer_pretrain",
        "compress_type": compress,
        "image_aspect_ratio": "pad",
        "vocab_size": llama["vocab"],
        "hidden_size": llama["hidden"],
        "intermediate_size": llama["inter"],
        "num_hidden_layers": llama["layers"],
        "num_attention_heads": llama["heads"],
        "num_key_value_heads": llama["heads"],
        "rms_norm_eps": llama["rms_eps"],
        "rope_scaling": None,
        "torch_dtype": "float32",
    }


def write_folder(folder, weights, shards=3, compress="mean_concat"):
    """A sharded folder of .bin files; the biases of a layer fall into different ones."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(llama_config(compress)))
    names = sorted(weights)
    places = {}
    for number in range(shards):
        part = {name: weights[name] for name in names[number::shards]}
        file = f"pytorch_model-{number + 1:05d}-of-{shards:05d}.bin"
        torch.save(part, folder / file)
        places |= dict.fromkeys(part, file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


def convert(folder, out, *words):
    words = ["convert", "llama-vid", "--checkpoint", str(folder), "--out", str(out), *words]
    return main([*map(str, words)])


@pytest.mark.parametrize(
    ("kind", "ours", "golden"),
    [("mean_concat", "mean", "mean"), ("grid:2", "grid:2", "grid2"), (None, "all", "all")],
)
def test_frame_tokens_are_those_of_the_reference(kind, ours, golden, vid_weights, io, tmp_path):
    folder = write_folder(tmp_path / "vid", vid_weights, compress=kind)
    assert convert(folder, tmp_path / "out") == 0
    model = AutoModel.from_pretrained(tmp_path / "out", trust_remote_code=True).eval()
    assert model.config.compress == ours
    with torch.no_grad():
        tokens = model.get_frame_features(io["video"], io["p1_ids"], io["p1_mask"])
    expected = io[f"tokens_video_p1_{golden}"].reshape(tokens.shape)
    torch.testing.assert_close(tokens, expected, **EXACT)
    torch.manual_seed(0)  # what is compared is drawn, too
    fresh = EmoLlamaForConditionalGeneration(model.config).model.face_info_mining.state_dict()
    for name, weight in model.model.face_info_mining.state_dict().items():
        assert bool(weight.isfinite().all()), name
        torch.testing.assert_close(weight.mean(), fresh[name].mean(), atol=0.1, rtol=0)
        if weight.numel() > 100:
            torch.testing.assert_close(weight.std(), fresh[name].std(), atol=0.01, rtol=0.3)
    assert model.model.face_model.config.num_expressions == 8  # the embedded model's own


def test_two_conversions_have_the_same_fresh_parts(vid_weights, tmp_path):
    folder = write_folder(tmp_path / "vid", vid_weights)
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        assert convert(folder, tmp_path / name, "--seed", seed) == 0
    parts = [
        {
            k: v
            for p in sorted((tmp_path / n).glob("*.safetensors"))
            for k, v in load_file(p).items()
        }
        for n in "abc"
    ]
    key = "model.face_info_mining.projection.weight"
    assert all(torch.equal(parts[0][name], parts[1][name]) for name in parts[0])
    assert not torch.equal(parts[0][key], parts[2][key])


def test_logits_without_a_face_network(vid_weights, io, tmp_path):
    folder = write_folder(tmp_path / "vid", vid_weights, shards=1)
    assert convert(folder, tmp_path / "out", "--face-model", "none") == 0
    loaded = EmoLlamaForConditionalGeneration.from_pretrained(tmp_path / "out")
    assert loaded.config.face_config is None
    visual = [loaded.config.image_token_id] * loaded.config.num_tokens_per_frame
    ids = [
        token
        for number in io["ids_image"][0].tolist()
        for token in (visual if number == REFERENCE_PLACEHOLDER else [number])
    ]
    with torch.no_grad():
        logits = loaded(
            input_ids=torch.tensor([ids]),
            pixel_values=io["image"],
            qformer_input_ids=io["p1_ids"],
            qformer_attention_mask=io["p1_mask"],
        ).logits
    torch.testing.assert_close(logits[..., :64], io["logits_image"], **EXACT)


def test_a_half_checkpoint_is_half_in_all_parts(vid_weights, tmp_path):
    half = {k: v.half() if v.is_floating_point() else v for k, v in vid_weights.items()}
    folder = write_folder(tmp_path / "vid", half)
    assert convert(folder, tmp_path / "out") == 0
    shards = [load_file(path) for path in (tmp_path / "out").glob("*.safetensors")]
    kinds = {t.dtype for shard in shards for t in shard.values() if t.is_floating_point()}
    assert kinds == {torch.float16}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "float16"


def test_fields_of_parts_can_be_set(vid_weights, tmp_path, capsys):
    folder = write_folder(tmp_path / "vid", vid_weights)
    change = "fim_config.face_tokens_per_frame=4"
    assert convert(folder, tmp_path / "out", "--set", change) == 0
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["fim_config"]["face_tokens_per_frame"] == 4
    for wrong, said in (
        ("fim_config.face_tokens=4", "Did you mean fim_config.face_tokens_per_frame?"),
        ("num_aggregator_layers=1", "Did you mean fim_config.num_aggregator_layers?"),
        ("nothing=1", "Name one of EmoLlamaConfig"),
        ("mouth.width=2", "Name one of EmoLlamaConfig"),
    ):
        assert convert(folder, tmp_path / "other", "--set", wrong) == 2
        assert f"no such field. {said}" in capsys.readouterr().err
    assert convert(folder, tmp_path / "other", "--set", "compress=most") == 2
    assert 'compress must be "mean"' in capsys.readouterr().err


def test_the_tower_from_its_own_file(vid_weights, tmp_path, capsys):
    rest = {key: value for key, value in vid_weights.items() if not key.startswith(TOWER)}
    tower = {
        key.removeprefix(TOWER): value
        for key, value in vid_weights.items()
        if key.startswith(TOWER)
    }
    last = {
        key.replace("blocks.2.", "blocks.3."): value
        for key, value in tower.items()
        if key.startswith("blocks.2.")
    }
    extras = {"norm.weight": torch.zeros(32), "head.weight": torch.zeros(4, 32)}
    torch.save(tower | last | extras, tmp_path / "eva_vit_g.pth")
    folder = write_folder(tmp_path / "vid", rest)
    assert convert(folder, tmp_path / "out") == 1
    assert "--vision-tower" in capsys.readouterr().err
    words = ["--vision-tower", tmp_path / "eva_vit_g.pth"]
    assert convert(folder, tmp_path / "out", *words) == 0
    assert "eva_vit_g.pth, its last block" in capsys.readouterr().err
    whole = write_folder(tmp_path / "whole", vid_weights)
    assert convert(whole, tmp_path / "other") == 0
    assert "from the shards" in capsys.readouterr().err
    one, two = (
        EmoLlamaForConditionalGeneration.from_pretrained(tmp_path / name).state_dict()
        for name in ("out", "other")
    )
    assert all(torch.equal(one[name], two[name]) for name in two)


def test_missing_frame_tokens_are_named(vid_weights, tmp_path, capsys):
    kept = {key: value for key, value in vid_weights.items() if "vlm_att_projector" not in key}
    lost = {key: value for key, value in vid_weights.items() if "vlm_att_projector" in key}
    folder = write_folder(tmp_path / "vid", kept)
    assert convert(folder, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "model.vlm_att_projector.weight, model.vlm_att_projector.bias" in error
    assert not (tmp_path / "out").exists()
    save_file(lost, tmp_path / "lost.safetensors")
    assert convert(folder, tmp_path / "out", "--extra", tmp_path / "lost.safetensors") == 0


def test_keys_without_a_place_stop_unless_told_otherwise(vid_weights, tmp_path, capsys):
    folder = write_folder(tmp_path / "vid", vid_weights | {"model.mystery": torch.zeros(2)})
    assert convert(folder, tmp_path / "out") == 1
    assert "model.mystery" in capsys.readouterr().err
    assert convert(folder, tmp_path / "out", "--ignore-unplaced") == 0
    assert "left out: model.mystery" in capsys.readouterr().err


def test_a_missing_shard_is_named(vid_weights, tmp_path, capsys):
    folder = write_folder(tmp_path / "vid", vid_weights)
    (folder / "pytorch_model-00002-of-00003.bin").unlink()
    assert convert(folder, tmp_path / "out") == 1
    assert "pytorch_model-00002-of-00003.bin" in capsys.readouterr().err
    (folder / "pytorch_model.bin.index.json").unlink()
    assert convert(folder, tmp_path / "out") == 1
    assert "found neither" in capsys.readouterr().err


def test_lora_is_merged_into_its_base(vid_weights, tmp_path, capsys):
    base = write_folder(tmp_path / "base", vid_weights)
    lora = tmp_path / "lora"
    lora.mkdir()
    (lora / "config.json").write_text(json.dumps(llama_config()))
    (lora / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 4}))
    key = "model.layers.1.self_attn.q_proj"
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 48, generator=generator), torch.randn(48, 2, generator=generator)
    prefix = "base_model.model."
    torch.save(
        {f"{prefix}{key}.lora_A.weight": a, f"{prefix}{key}.lora_B.weight": b},
        lora / "adapter_model.bin",
    )
    query = torch.ones_like(vid_weights["model.vlm_att_query"])
    torch.save({f"{prefix}model.vlm_att_query": query}, lora / "non_lora_trainables.bin")
    assert convert(lora, tmp_path / "out") == 2
    assert "--base" in capsys.readouterr().err
    assert convert(lora, tmp_path / "out", "--base", base) == 0
    model = EmoLlamaForConditionalGeneration.from_pretrained(tmp_path / "out")
    found = model.model.language_model.layers[1].self_attn.q_proj.weight
    torch.testing.assert_close(found.data, vid_weights[f"{key}.weight"] + 2 * b @ a, **EXACT)
    assert torch.equal(model.model.frame_tokens.query_tokens.data.reshape(query.shape), query)


def test_weights_are_read_and_merged_once(vid_weights, tmp_path, monkeypatch):
    base, lora = write_folder(tmp_path / "base", vid_weights), tmp_path / "lora"
    for path in base.glob("*.bin*"):
        path.unlink()
    save_file(vid_weights, base / "model.safetensors")
    lora.mkdir()
    (lora / "config.json").write_text(json.dumps(llama_config()))
    (lora / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 4}))
    key = "base_model.model.model.layers.1.self_attn.q_proj"
    pair = {f"{key}.lora_A.weight": torch.ones(2, 48), f"{key}.lora_B.weight": torch.ones(48, 2)}
    save_file(pair, lora / "adapter_model.safetensors")
    read, merged = [], []
    merge = LoraUpdate._merged
    monkeypatch.setattr(checkpoints, "load_file", lambda p: read.append(p.parent) or load_file(p))
    monkeypatch.setattr(LoraUpdate, "_merged", lambda *args: merged.append(1) or merge(*args))
    assert convert(lora, tmp_path / "out", "--base", base) == 0
    assert (read.count(base), read.count(lora), len(merged)) == (1, 1, 1)


SENTENCES = [
    "A chat between a curious user and an artificial intelligence assistant. USER: hello",
    "What is the expression of the person in this image? Options: {happy, sad} ASSISTANT: happy",
    "Describe the face. ASSISTANT: The person looks sad: the mouth corners are low.",
]


def write_tokenizer(folder, legacy):
    """A tokenizer of Llama's kind: bytes first, then merges learned from a few sentences."""
    metaspace = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=False)
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = metaspace
    trainer = trainers.BpeTrainer(vocab_size=200, show_progress=False)
    trained.train_from_iterator(SENTENCES * 3, trainer)
    model = json.loads(trained.to_str())["model"]
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words = [*special, *model["vocab"]]
    vocab = {word: number for number, word in enumerate(dict.fromkeys(words))}
    merges = [tuple(pair) for pair in model["merges"]]
    LlamaTokenizer(vocab=vocab, merges=merges, legacy=legacy).save_pretrained(folder)
    return len(vocab)


def reference_ids(tokenizer, prompt, placeholder):
    """How LLaMA-VID tokenizes a prompt: each piece on its own, one token at the start."""
    ids = [tokenizer.bos_token_id]
    for number, piece in enumerate(prompt.split("<image>")):
        if number:
            ids += placeholder
        ids += tokenizer(piece, add_special_tokens=False)["input_ids"]
    return ids


@pytest.mark.parametrize("legacy", [False, True])
def test_prompts_are_tokenized_as_the_reference_does(legacy, vid_weights, tmp_path):
    folder = tmp_path / "vid"
    folder.mkdir()
    words = write_tokenizer(folder, legacy)
    generator = torch.Generator().manual_seed(0)
    names = ("model.embed_tokens.weight", "lm_head.weight")
    more = {name: torch.randn(words, 48, generator=generator) for name in names}
    save_file(vid_weights | more, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(llama_config()))
    bert = tmp_path / "bert"
    tiny_processor().qformer_tokenizer.save_pretrained(bert)
    assert convert(folder, tmp_path / "out", "--qformer-tokenizer", bert) == 0
    processor = AutoProcessor.from_pretrained(tmp_path / "out", trust_remote_code=True)
    question, answer = "Describe the face.", "The person looks sad."
    picture = {"type": "image", "image": Image.new("RGB", (64, 64))}
    talk = [
        {"role": "user", "content": [picture, {"type": "text", "text": question}]},
        {"role": "assistant", "content": [{"type": "text", "text": answer}]},
        {"role": "user", "content": [{"type": "text", "text": "hello"}]},
    ]
    plain = AutoTokenizer.from_pretrained(folder)
    first = f"{VICUNA_SYSTEM_PROMPT} USER: <image>\n{question} ASSISTANT:"
    for turns, prompt in (
        (talk[:1], first),
        (talk, f"{first} {answer}</s>USER: hello ASSISTANT:"),
    ):
        inputs = processor.apply_chat_template(
            turns, add_generation_prompt=True, tokenize=True, return_dict=True
        )
        tokens = [processor.image_token_id] * processor.num_tokens_per_frame
        assert inputs["input_ids"][0] == reference_ids(plain, prompt, tokens)
    assert processor.image_token_id == words
    model = AutoModel.from_pretrained(tmp_path / "out", trust_remote_code=True)
    assert model.get_input_embeddings().weight.shape == (words + 2, 48)
