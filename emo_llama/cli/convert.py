"""`emo-llama convert`: reference checkpoints in the format of this project."""

import argparse
from pathlib import Path

from emo_llama.cli import _options, _output

EXAMPLES = """examples:
  emo-llama convert facexformer --checkpoint model.pt --out faces
  emo-llama convert faceres --checkpoint faceres.json --out faces --set image_size=112
  emo-llama convert llama-vid --checkpoint llama-vid-7b --vision-tower eva_vit_g.pth --face-model faces --qformer-tokenizer bert-base-uncased --out emo-llama-7b
  emo-llama convert llama-vid --checkpoint my-lora --base llama-vid-7b --out emo-llama-lora
"""  # noqa: E501 - commands stay whole


FACE_NETWORKS = (
    ("facexformer", "FaceXFormer's published model.pt", "model.pt"),
    ("faceres", "HSE-FaceRes, a MobileNet that knows faces", "faceres.json, faceres.bin beside it"),
)
"""Kind, what it is, and the file to name."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options.

    Args:
        parser (`argparse.ArgumentParser`):
            The verb's parser.
    """
    parser.epilog = EXAMPLES
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    for kind, what, file in FACE_NETWORKS:
        face = kinds.add_parser(kind, help=what)
        face.add_argument("--checkpoint", required=True, metavar="FILE", help=file)
        _add_common(face)
    video = kinds.add_parser("llama-vid", help="a LLaMA-VID folder, full or LoRA")
    video.add_argument(
        "--checkpoint", required=True, metavar="DIR", help="config.json and .bin or safetensors"
    )
    video.add_argument(
        "--vision-tower", type=Path, metavar="FILE", help="eva_vit_g.pth, where the shards lack it"
    )
    video.add_argument(
        "--face-model",
        metavar="DIR",
        help="what `convert facexformer` wrote, or none (default: the embedded model's small one)",
    )
    video.add_argument(
        "--qformer-tokenizer", type=Path, metavar="DIR", help="folder of bert-base-uncased's"
    )
    video.add_argument("--base", type=Path, metavar="DIR", help="what a LoRA checkpoint changes")
    video.add_argument(
        "--extra",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="another weight file, for keys that the shards lack; can be given more than once",
    )
    video.add_argument(
        "--ignore-unplaced", action="store_true", help="leave out keys that have no place"
    )
    _options.add(video, "--seed")
    _add_common(video)


def _add_common(parser: argparse.ArgumentParser) -> None:
    _options.add(parser, "--out", "--set")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="of the weights (default: as they are)",
    )


def main(args: argparse.Namespace) -> int:
    """Run the verb.

    Args:
        args (`argparse.Namespace`):
            Its options.

    Returns:
        `int`: The exit status.
    """
    import torch

    from emo_llama.conversion.faceres import convert_faceres
    from emo_llama.conversion.facexformer import convert_facexformer
    from emo_llama.conversion.llama_vid import LlamaVidParts, convert_llama_vid

    dtype = None if args.dtype is None else getattr(torch, args.dtype)
    changes = _options.changes(args.set)
    if args.kind == "facexformer":
        convert_facexformer(Path(args.checkpoint), args.out, dtype, **changes)
    elif args.kind == "faceres":
        convert_faceres(Path(args.checkpoint), args.out, dtype, **changes)
    else:
        own = args.face_model not in (None, "none")
        parts = LlamaVidParts(
            args.vision_tower,
            Path(args.face_model) if own else None,
            args.face_model != "none",
            args.base,
            args.qformer_tokenizer,
            args.extra,
        )
        for line in convert_llama_vid(
            Path(args.checkpoint), args.out, parts, dtype, args.seed, args.ignore_unplaced, changes
        ):
            _output.message(line)
    _output.data(f"written to {args.out}")
    return 0
