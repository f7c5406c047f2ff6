"""Parity with the original LLaMA-VID modules; see tests/fixtures/golden/README.md."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from emo_llama.conversion.llama_vid_keys import convert_llama_vid_state_dict
from emo_llama.modeling import EmoLlamaConfig, EmoLlamaForConditionalGeneration

GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden"
MODES = {"mean": "mean", "grid2": "grid:2", "all": "all"}
REFERENCE_PLACEHOLDER = -200


@pytest.fixture(scope="module")
def io():
    return load_file(GOLDEN / "llamavid_tiny_io.safetensors")


def golden_model(compress="mean"):
    sizes = json.loads((GOLDEN / "llamavid_tiny_config.json").read_text())
    vision, qformer, llama = sizes["vision"], sizes["qformer"], sizes["llama"]
    config = EmoLlamaConfig(
        vision_config={
            "model_type": "instructblip_vision_model",
            "image_size": vision["img"],
            "patch_size": vision["patch"],
            "hidden_size": vision["width"],
            "num_hidden_layers": vision["depth"],
            "num_attention_heads": vision["heads"],
            "intermediate_size": vision["mlp_hidden"],
            "layer_norm_eps": vision["ln_eps"],
        },
        qformer_config={
            "vocab_size": 24,  # one more than the word list: the reference adds [DEC]
            "hidden_size": qformer["hidden_size"],
            "num_hidden_layers": qformer["num_hidden_layers"],
            "num_attention_heads": qformer["num_attention_heads"],
            "intermediate_size": qformer["intermediate_size"],
            "max_position_embeddings": qformer["max_position_embeddings"],
            "cross_attention_frequency": qformer["cross_attention_freq"],
        },
        text_config={
            "model_type": "llama",
            "vocab_size": llama["vocab"] + 2,
            "hidden_size": llama["hidden"],
            "intermediate_size": llama["inter"],
            "num_hidden_layers": llama["layers"],
            "num_attention_heads": llama["heads"],
            "num_key_value_heads": llama["heads"],
            "rms_norm_eps": llama["rms_eps"],
        },
        face_config=None,
        num_query_tokens=qformer["num_query"],
        compress=compress,
        image_token_id=llama["vocab"],
        video_token_id=llama["vocab"] + 1,
    )
    model = EmoLlamaForConditionalGeneration(config)
    weights = load_file(GOLDEN / "llamavid_tiny_weights.safetensors")
    model.load_state_dict(convert_llama_vid_state_dict(weights))
    return model.eval()


@pytest.fixture(scope="module")
def model():
    return golden_model()


def questions(io, prompt):
    return io[f"{prompt}_ids"], io[f"{prompt}_mask"]


def same(ours, reference):
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["image", "video"])
def test_tower(model, io, kind):
    with torch.no_grad():
        output = model.get_image_features(io[kind])
    same(output.last_hidden_state, io[f"eva_{kind}"])


def test_qformer(model, io):
    # the reference keeps the text rows too: run the sub-module as frame tokens do
    frame_tokens = model.model.frame_tokens
    ids, mask = questions(io, "p1")
    num_queries = frame_tokens.query_tokens.shape[1]
    with torch.no_grad():
        hidden = frame_tokens.qformer(
            input_ids=ids,
            attention_mask=torch.cat([torch.ones(1, num_queries, dtype=torch.long), mask], dim=1),
            query_embeds=frame_tokens.query_tokens,
            encoder_hidden_states=frame_tokens.norm(io["eva_image"]),
        ).last_hidden_state
    same(hidden, io["qformer_last_hidden_p1"])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("prompt", ["p1", "p2"])
@pytest.mark.parametrize("kind", ["image", "video"])
def test_frame_tokens(io, kind, prompt, mode):
    model = golden_model(MODES[mode])
    ids, mask = questions(io, prompt)
    with torch.no_grad():
        rows = [
            model.get_frame_features(io[kind], ids[i : i + 1], mask[i : i + 1]).flatten(0, 1)
            for i in range(len(ids))
        ]
    same(torch.stack(rows), io[f"tokens_{kind}_{prompt}_{mode}"])


def test_several_questions_about_one_image(model, io):
    with torch.no_grad():
        tokens = model.get_frame_features(io["image"], *questions(io, "p2"))
    same(tokens, io["tokens_image_p2_mean"])


def test_long_video_from_features(model, io):
    # long videos come as features without the class token; the Q-Former does not see it either
    with torch.no_grad():
        tokens = model.get_frame_features(
            None, *questions(io, "p1"), vision_states=io["eva_video"][:, 1:]
        )
    same(tokens.flatten(0, 1)[None], io["tokens_long_p1_mean"])


def sample(model, io, kind):
    """The reference's sample with its placeholders expanded, and the model's inputs for it."""
    frames = io[kind].shape[0]
    token = getattr(model.config, f"{kind}_token_id")
    count = frames * model.config.num_tokens_per_frame
    ids = [
        i
        for value in io[f"ids_{kind}"][0].tolist()
        for i in ([token] * count if value == REFERENCE_PLACEHOLDER else [value])
    ]
    if kind == "image":
        inputs = {"pixel_values": io["image"]}
        suffix, (q_ids, q_mask) = "", questions(io, "p1")
    else:  # two turns, each with its own question about the same clip
        inputs = {"pixel_values_videos": io["video"].repeat(2, 1, 1, 1)}
        inputs["frame_counts"] = torch.tensor([frames, frames])
        suffix, (q_ids, q_mask) = "_videos", questions(io, "p2")
    inputs[f"qformer_input_ids{suffix}"] = q_ids
    inputs[f"qformer_attention_mask{suffix}"] = q_mask
    return torch.tensor([ids]), inputs


@pytest.mark.parametrize("kind", ["image", "video"])
def test_embeddings_logits_and_loss(model, io, kind):
    ids, inputs = sample(model, io, kind)
    labels = io[f"labels_{kind}"]
    with torch.no_grad():
        outputs = model(
            input_ids=ids, labels=labels, output_hidden_states=True, use_cache=False, **inputs
        )
    same(outputs.hidden_states[0], io[f"embeds_{kind}"])
    reference = io[f"logits_{kind}"]
    same(outputs.logits[..., : reference.shape[-1]], reference)
    if kind == "video":
        same(outputs.loss[None], io["loss_video"])
    else:
        shifted = torch.nn.functional.cross_entropy(reference[0, :-1], labels[0, 1:])
        same(outputs.loss, shifted)
