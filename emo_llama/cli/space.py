"""`emo-llama space`: the Gradio Space on this machine."""

import argparse
import os

from emo_llama.cli import _options
from emo_llama.errors import UsageError, require

EXAMPLES = """examples:
  emo-llama space
  emo-llama space --model runs/tiny --port 7861
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb.

    Args:
        parser (`argparse.ArgumentParser`):
            The parser of the verb.
    """
    parser.epilog = EXAMPLES
    _options.add(parser, "--model")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, help="port (default: the first free one from 7860)")


def main(args: argparse.Namespace) -> int:
    """Serve the Space until it is interrupted. No browser is opened, and no tunnel.

    Args:
        args (`argparse.Namespace`):
            The options of this verb.

    Returns:
        `int`: 0.

    Raises:
        UsageError: The port is none.
    """
    if args.port is not None and not 1 <= args.port <= 65_535:
        raise UsageError(f"--port expects a number from 1 to 65535, got {args.port}.")
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # gradio reads it when imported
    require("gradio", extra="space")
    from emo_llama.space.app import main as serve

    serve(args.model, args.host, args.port)
    return 0
