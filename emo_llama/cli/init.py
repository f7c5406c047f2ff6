"""`emo-llama init`: a new model from parts of the Hub or of your own."""

import argparse

from emo_llama.cli import _options, _output

EXAMPLES = """examples:
  emo-llama init --llm Qwen/Qwen3-0.6B --vision google/siglip2-base-patch16-224 --out my-model
  emo-llama init --llm my-llm --vision my-clip --face faces --compress grid:4 --dtype bfloat16 --out my-model
"""  # noqa: E501 - commands stay whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options.

    Args:
        parser (`argparse.ArgumentParser`):
            The verb's parser.
    """
    parser.epilog = EXAMPLES
    parser.add_argument(
        "--llm", required=True, metavar="M", help="a causal language model: folder or Hub id"
    )
    parser.add_argument(
        "--vision",
        required=True,
        metavar="M",
        help="a vision tower, or a model that has one, as CLIP: folder or Hub id",
    )
    parser.add_argument(
        "--face",
        metavar="DIR",
        help="what `convert facexformer` or `convert faceres` wrote, a finished model, or a "
        "convolutional backbone of transformers (default: no face network and no Face Info Mining)",
    )
    _options.add(parser, "--out", "--seed", "--set")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        help="of the weights (default: the smallest that loses nothing of any part)",
    )
    parser.add_argument(
        "--compress",
        default="mean",
        metavar="HOW",
        help="visual tokens of a frame: mean (one), grid:N (N x N) or all patches (default: mean)",
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

    from emo_llama.conversion.composing import Composition, compose

    composition = Composition(
        args.llm,
        args.vision,
        args.face,
        args.compress,
        None if args.dtype is None else getattr(torch, args.dtype),
        args.seed,
        _options.changes(args.set),
    )
    for line in compose(composition, args.out):
        _output.message(line)
    _output.data(f"written to {args.out}")
    return 0
