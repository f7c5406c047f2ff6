"""Time and peak memory of `emo-llama convert` on full-size checkpoints of random numbers.

    python benchmarks/convert.py facexformer --work DIR
    python benchmarks/convert.py llama-vid --work DIR --dtype float16

The checkpoints have the reference's file format, key names and shapes (LLaMA-VID 7B: about 16 GB in
`DIR`); only their numbers are made up.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

Shapes = dict[str, tuple[int, ...]]
SHARD_BYTES = 5 * 2**30
LLAMA_VID = {
    "model_type": "llava",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "compress_type": "mean_concat",
}
"""The published `config.json`, as far as a conversion reads it."""


def linear(name: str, out: int, into: int, bias: bool = True) -> Shapes:
    """A linear layer."""
    return {f"{name}.weight": (out, into)} | ({f"{name}.bias": (out,)} if bias else {})


def norm(name: str, width: int) -> Shapes:
    """A layer norm with weight and bias."""
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def swin_block(name: str, width: int, heads: int) -> Shapes:
    """One block of torchvision's Swin."""
    return {
        **norm(f"{name}.norm1", width),
        f"{name}.attn.relative_position_bias_table": (169, heads),
        f"{name}.attn.relative_position_index": (2401,),
        **linear(f"{name}.attn.qkv", 3 * width, width),
        **linear(f"{name}.attn.proj", width, width),
        **norm(f"{name}.norm2", width),
        **linear(f"{name}.mlp.0", 4 * width, width),
        **linear(f"{name}.mlp.3", width, 4 * width),
    }


def attention(name: str, width: int, inner: int) -> Shapes:
    """One attention of the two-way decoder."""
    shapes: Shapes = {}
    for part in ("q_proj", "k_proj", "v_proj"):
        shapes |= linear(f"{name}.{part}", inner, width)
    return shapes | linear(f"{name}.out_proj", width, inner)


def facexformer_shapes(
    embed: int = 128,
    depths: tuple[int, ...] = (2, 2, 18, 2),
    heads: tuple[int, ...] = (4, 8, 16, 32),
    width: int = 256,
    mlp: int = 2048,
) -> Shapes:
    """Keys and shapes of FaceXFormer's `state_dict_backbone`."""
    shapes: Shapes = {"backbone.0.0.0.weight": (embed, 3, 4, 4), "backbone.0.0.0.bias": (embed,)}
    shapes |= norm("backbone.0.0.2", embed)
    for stage, (depth, count) in enumerate(zip(depths, heads, strict=True)):
        size = embed * 2**stage
        for block in range(depth):
            shapes |= swin_block(f"backbone.0.{2 * stage + 1}.{block}", size, count)
        if stage < 3:
            name = f"backbone.0.{2 * stage + 2}"
            shapes |= norm(f"{name}.norm", 4 * size)
            shapes |= linear(f"{name}.reduction", 2 * size, 4 * size, bias=False)
        shapes |= linear(f"linear_c.{stage}.proj", width, size)
    shapes |= norm("backbone.1", 8 * embed)
    shapes["linear_fuse.weight"] = (width, 4 * width, 1, 1)
    shapes["pe_layer.positional_encoding_gaussian_matrix"] = (2, width // 2)
    return shapes | decoder_shapes(width, mlp)


def decoder_shapes(width: int, mlp: int) -> Shapes:
    """Keys and shapes of the two-way decoder and its heads."""
    shapes: Shapes = {"face_decoder.mask_tokens.weight": (11, width)}
    name = "face_decoder.transformer"
    for layer in range(2):
        one = f"{name}.layers.{layer}"
        shapes |= attention(f"{one}.self_attn", width, width)
        for direction in ("cross_attn_token_to_image", "cross_attn_image_to_token"):
            shapes |= attention(f"{one}.{direction}", width, width // 2)
        for number in range(1, 5):
            shapes |= norm(f"{one}.norm{number}", width)
        shapes |= linear(f"{one}.mlp.lin1", mlp, width) | linear(f"{one}.mlp.lin2", width, mlp)
    shapes |= attention(f"{name}.final_attn_token_to_image", width, width // 2)
    shapes |= norm(f"{name}.norm_final_attn", width)
    sizes = {"landmarks": 136, "pose": 3, "attribute": 40, "visibility": 29}
    sizes |= {"age": 8, "gender": 2, "race": 5}
    heads = {f"{task}_prediction_head": size for task, size in sizes.items()}
    for head, size in (heads | {"output_hypernetwork_mlps": width // 8}).items():
        for layer, out in enumerate((width, width, size)):
            shapes |= linear(f"face_decoder.{head}.layers.{layer}", out, width)
    shapes |= {f"face_decoder.{task}_token.weight": (1, width) for task in sizes}
    upscaling = "face_decoder.output_upscaling"
    shapes |= {
        f"{upscaling}.0.weight": (width, width // 4, 2, 2),
        f"{upscaling}.0.bias": (width // 4,),
        **norm(f"{upscaling}.1", width // 4),
        f"{upscaling}.3.weight": (width // 4, width // 8, 2, 2),
        f"{upscaling}.3.bias": (width // 8,),
    }
    return shapes


def eva_shapes(width: int = 1408, mlp: int = 6144, depth: int = 39, patches: int = 257) -> Shapes:
    """Keys and shapes of EVA's tower, as a full checkpoint holds them."""
    tower = "model.vision_tower.vision_tower"
    shapes: Shapes = {
        f"{tower}.cls_token": (1, 1, width),
        f"{tower}.pos_embed": (1, patches, width),
        f"{tower}.patch_embed.proj.weight": (width, 3, 14, 14),
        f"{tower}.patch_embed.proj.bias": (width,),
    }
    for number in range(depth):
        name = f"{tower}.blocks.{number}"
        shapes |= norm(f"{name}.norm1", width) | norm(f"{name}.norm2", width)
        shapes |= {f"{name}.attn.{kind}_bias": (width,) for kind in "qv"}
        shapes |= linear(f"{name}.attn.qkv", 3 * width, width, bias=False)
        shapes |= linear(f"{name}.attn.proj", width, width)
        shapes |= linear(f"{name}.mlp.fc1", mlp, width) | linear(f"{name}.mlp.fc2", width, mlp)
    return shapes


def bert_shapes(
    width: int = 768,
    mlp: int = 3072,
    layers: int = 12,
    words: int = 30523,
    positions: int = 512,
    image_width: int = 1408,
) -> Shapes:
    """Keys and shapes of the Q-Former; every second layer looks at the picture."""
    bert = "model.vlm_att_encoder.bert"
    shapes: Shapes = {
        f"{bert}.embeddings.word_embeddings.weight": (words, width),
        f"{bert}.embeddings.position_embeddings.weight": (positions, width),
        f"{bert}.embeddings.position_ids": (1, positions),
        **norm(f"{bert}.embeddings.LayerNorm", width),
    }
    for number in range(layers):
        name = f"{bert}.encoder.layer.{number}"
        kinds = {"attention": width} | ({} if number % 2 else {"crossattention": image_width})
        for kind, into in kinds.items():
            shapes |= linear(f"{name}.{kind}.self.query", width, width)
            for part in ("key", "value"):
                shapes |= linear(f"{name}.{kind}.self.{part}", width, into)
            shapes |= linear(f"{name}.{kind}.output.dense", width, width)
            shapes |= norm(f"{name}.{kind}.output.LayerNorm", width)
        for end in ("", "_query"):
            shapes |= linear(f"{name}.intermediate{end}.dense", mlp, width)
            shapes |= linear(f"{name}.output{end}.dense", width, mlp)
            shapes |= norm(f"{name}.output{end}.LayerNorm", width)
    return shapes


def bridge_shapes(
    width: int = 768, image_width: int = 1408, hidden: int = 4096, queries: int = 32
) -> Shapes:
    """Keys and shapes between tower, Q-Former and language model."""
    return {
        "model.vlm_att_query": (1, queries, width),
        **norm("model.vlm_att_ln", image_width),
        **linear("model.vlm_att_projector", image_width, width),
        **linear("model.vlm_att_key_projector", image_width, image_width),
        **linear("model.vlm_att_val_projector", hidden, image_width),
        **linear("model.mm_projector.0", hidden, image_width),
        **linear("model.mm_projector.2", hidden, hidden),
    }


def llama_shapes(
    hidden: int = 4096, mlp: int = 11008, layers: int = 32, words: int = 32000, heads: int = 32
) -> Shapes:
    """Keys and shapes of Vicuna."""
    shapes: Shapes = {
        "model.embed_tokens.weight": (words, hidden),
        "lm_head.weight": (words, hidden),
    }
    for number in range(layers):
        name = f"model.layers.{number}"
        for part in ("q_proj", "k_proj", "v_proj", "o_proj"):
            shapes |= linear(f"{name}.self_attn.{part}", hidden, hidden, bias=False)
        shapes |= {f"{name}.self_attn.rotary_emb.inv_freq": (hidden // heads // 2,)}
        for part in ("gate_proj", "up_proj"):
            shapes |= linear(f"{name}.mlp.{part}", mlp, hidden, bias=False)
        shapes |= linear(f"{name}.mlp.down_proj", hidden, mlp, bias=False)
        for part in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{name}.{part}.weight"] = (hidden,)
    return shapes | {"model.norm.weight": (hidden,)}


def numbers(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Random numbers; large tensors repeat a block of them, which is fast to make."""
    size = torch.Size(shape).numel()
    block = torch.randn(min(size, 2**20)) * 0.02
    return block.to(dtype).repeat(-(-size // block.numel()))[:size].reshape(shape)


def write_llama_vid(folder: Path, dtype: torch.dtype) -> None:
    """A LLaMA-VID 7B folder: shards of 5 GiB with their index, and config.json."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(LLAMA_VID))
    places: dict[str, str] = {}
    part: dict[str, torch.Tensor] = {}
    shapes = llama_shapes() | bridge_shapes() | bert_shapes() | eva_shapes()
    left = list(shapes)
    while left:
        name = left.pop(0)
        part[name] = numbers(shapes[name], dtype)
        size = sum(tensor.numel() * tensor.element_size() for tensor in part.values())
        if size > SHARD_BYTES or not left:
            file = f"pytorch_model-{len(set(places.values())) + 1:05d}.bin"
            torch.save(part, folder / file)
            places |= dict.fromkeys(part, file)
            part = {}
    index = {"weight_map": places}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def main() -> None:
    """Write the checkpoint unless it is there, convert it, and print time and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=("facexformer", "llama-vid"))
    parser.add_argument("--work", type=Path, required=True, help="folder for both checkpoints")
    parser.add_argument("--dtype", default="float16", help="of the checkpoint of LLaMA-VID")
    args = parser.parse_args()
    source, out = args.work / args.kind, args.work / f"{args.kind}-converted"
    if args.kind == "llama-vid":
        if not source.exists():
            write_llama_vid(source, getattr(torch, args.dtype))
    else:
        source = source.with_suffix(".pt")
        source.parent.mkdir(parents=True, exist_ok=True)
        weights = {k: numbers(v, torch.float32) for k, v in facexformer_shapes().items()}
        torch.save({"state_dict_backbone": weights}, source)
    command = ["convert", args.kind, "--checkpoint", str(source), "--out", str(out)]
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "emo_llama.cli", *command], check=True)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    files = [*source.glob("*.bin")] if source.is_dir() else [source]
    largest = max(file.stat().st_size for file in files) / 2**20
    print(f"{seconds:.0f} s, peak {peak:,.0f} MB, largest shard {largest:,.0f} MB")


if __name__ == "__main__":
    main()
