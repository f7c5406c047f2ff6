"""Memory and speed of a LoRA step and of generation, at 7B, with random weights.

    python benchmarks/seven_b.py --peak-tflops 989               (one CUDA device; H100, H200: 989)
    python benchmarks/seven_b.py --batch-size 32 --length 256 --attention sdpa
    python benchmarks/seven_b.py --config tiny --device cpu      (tries the script itself)

What is trained and how precisely is what `recipes/instruct.yaml` says; the loss is the model's own,
which keeps the scores of every token, where TRL's trainer scores in pieces and takes less memory.

MFU counts the operations that the model needs, without those that gradient checkpointing repeats:
the frozen language model takes 2 a parameter and token forward and 2 backward, what is trained 6,
the frozen encoders 2, attention 4 a layer, unit of width, token and token before it, and twice that
backward. The face network and the projectors are left out: both are small.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from torch import nn
from trl import get_peft_config

from emo_llama.conversion.llama_vid_config import seven_b_config
from emo_llama.modeling import EmoLlamaConfig, EmoLlamaForConditionalGeneration
from emo_llama.testing import tiny_config
from emo_llama.training.parts import freeze, keep_precise
from emo_llama.training.recipe import parse_recipe

Batch = dict[str, torch.Tensor]


def build(config: EmoLlamaConfig, args: argparse.Namespace) -> PeftModel:
    """The model with random weights in bfloat16 and the recipe's adapters."""
    words = ["--config", "instruct", "--data", "none", "--bf16", "false", "--use_cpu", "true"]
    recipe, _, peft = parse_recipe(words)
    config.text_config._attn_implementation = args.attention
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(args.device):
            model = EmoLlamaForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(usual)
    freeze(model, recipe.frozen)
    keep_precise(model, peft.lora_modules_to_save)
    if args.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model = get_peft_model(model, get_peft_config(peft))
    if args.checkpointing:
        model.enable_input_require_grads()
    return model.to(args.device)


def random_batch(config: EmoLlamaConfig, rows: int, length: int, device: str) -> Batch:
    """Rows of one picture with its face, a question, and text up to a length."""
    with torch.device(device):
        words = torch.randint(config.text_config.vocab_size, (rows, length))
        words[(words == config.image_token_id) | (words == config.video_token_id)] = 3
        words[:, 1 : 1 + config.num_tokens_per_frame] = config.image_token_id
        side, face = config.vision_config.image_size, config.face_config.image_size
        questions = torch.randint(4, config.qformer_config.vocab_size, (rows, 16))
        return {
            "input_ids": words,
            "attention_mask": torch.ones_like(words),
            "pixel_values": torch.randn(rows, 3, side, side),
            "face_pixel_values": torch.randn(rows, 3, face, face),
            "qformer_input_ids": questions,
            "qformer_attention_mask": torch.ones_like(questions),
        }


def operations(model: PeftModel, batch: Batch) -> float:
    """Floating-point operations of one step, as the module docstring counts them."""
    parts: Any = model.get_base_model().model
    rows, length = batch["input_ids"].shape
    text = model.config.text_config
    head = model.get_output_embeddings()
    per_token = _matrices(parts.language_model, frozen=True) + head.weight.numel()
    trained = _matrices(parts.language_model, frozen=False)
    total = rows * length * (4.0 * per_token + 6.0 * trained)
    # Each token sees half of the others on average; queries by keys, and weights by values.
    seen = rows * length * length / 2
    total += 3 * 4.0 * text.num_hidden_layers * text.hidden_size * seen
    vision = model.config.vision_config
    patches = (vision.image_size // vision.patch_size) ** 2 + 1
    total += rows * patches * 2.0 * _matrices(parts.vision_tower, frozen=True)
    queries = model.config.num_query_tokens + batch["qformer_input_ids"].shape[1]
    return total + rows * queries * 2.0 * _matrices(parts.frame_tokens.qformer, frozen=True)


def _matrices(module: nn.Module, frozen: bool) -> int:
    """Parameters of linear layers, which each token meets once."""
    return sum(
        weight.numel()
        for layer in module.modules()
        if isinstance(layer, nn.Linear)
        for weight in layer.parameters(recurse=False)
        if weight.requires_grad != frozen
    )


def seconds(work: Callable[[], object], repeats: int, device: str) -> float:
    """Mean time of a piece of work, after two rounds that do not count."""
    for _ in range(2):
        work()
    _wait(device)
    started = time.perf_counter()
    for _ in range(repeats):
        work()
    _wait(device)
    return (time.perf_counter() - started) / repeats


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def peak_memory(device: str) -> float:
    """GiB so far: of the CUDA device, or of this process."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Builds the model, then times steps and generation."""
    torch.manual_seed(0)
    config = seven_b_config() if args.config == "7b" else tiny_config()
    model = build(config, args)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-4, weight_decay=0.0)
    batch = random_batch(config, args.batch_size, args.length, args.device)
    found = {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "trained": sum(weight.numel() for weight in trained),
        "weights_gib": round(peak_memory(args.device), 2),
    }
    model.train()

    def step() -> None:
        with torch.autocast(args.device, torch.bfloat16):
            loss = model(**batch, labels=batch["input_ids"], use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    taken = seconds(step, args.steps, args.device)
    found |= {
        "step_seconds": round(taken, 4),
        "step_tokens_per_second": round(args.batch_size * args.length / taken),
        "step_peak_gib": round(peak_memory(args.device), 2),
        "step_tflops": operations(model, batch) / taken / 1e12,
    }
    if args.peak_tflops:
        found["mfu"] = found["step_tflops"] / args.peak_tflops
    return found | generation(model, batch, args)


def generation(model: PeftModel, batch: Batch, args: argparse.Namespace) -> dict[str, Any]:
    """Greedy answers of a fixed length to the first tokens of the batch."""
    model.gradient_checkpointing_disable()
    model.eval()
    prompt = dict(batch)
    for name in ("input_ids", "attention_mask"):
        prompt[name] = batch[name][:, : args.length // 2]
    if args.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    options = {
        "do_sample": False,
        "max_new_tokens": args.new_tokens,
        "min_new_tokens": args.new_tokens,
    }

    def answer() -> None:
        with torch.inference_mode(), torch.autocast(args.device, torch.bfloat16):
            model.generate(**prompt, **options)

    taken = seconds(answer, args.steps, args.device)
    return {
        "generation_seconds": round(taken, 4),
        "generation_tokens_per_second": round(args.batch_size * args.new_tokens / taken, 1),
        "generation_peak_gib": round(peak_memory(args.device), 2),
    }


def main() -> None:
    """Measure, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", choices=("7b", "tiny"), default="7b")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--length", type=int, default=256, help="tokens a row")
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--attention", default="sdpa")
    parser.add_argument("--peak-tflops", type=float, help="of the device, dense bfloat16")
    parser.add_argument("--no-checkpointing", dest="checkpointing", action="store_false")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device; --config tiny --device cpu tries the script")
    print(json.dumps(vars(args) | measure(args)))


if __name__ == "__main__":
    main()
