"""`emo-llama train`: train a model from a YAML recipe."""

import argparse

from emo_llama.cli import _output

EXAMPLES = """examples:
  emo-llama train --config recipes/tiny.yaml --data DIR
  emo-llama train --config recipes/tiny.yaml --data DIR --resume
  emo-llama train --config my.yaml --data built/ferplus --learning_rate 1e-4
any --key value of the recipe may follow; it overrides the file
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options.

    Args:
        parser (`argparse.ArgumentParser`):
            The verb's parser.
    """
    parser.epilog = EXAMPLES
    parser.add_argument("--config", required=True, metavar="FILE", help="the recipe")
    parser.add_argument("--data", metavar="DIR", help="folder of the data that the recipe wants")
    parser.add_argument("--resume", action="store_true", help="go on with an earlier run")
    parser.set_defaults(overrides=[])


def main(args: argparse.Namespace) -> int:
    """Run the verb.

    Args:
        args (`argparse.Namespace`):
            Its options.

    Returns:
        `int`: The exit status.
    """
    from emo_llama.training.tune import parse_recipe, train

    words = ["--config", args.config, *args.overrides]
    if args.data is not None:
        words += ["--data", args.data]
    finished = train(*parse_recipe(words), resume=args.resume)
    _output.data(f"finished model: {finished}")
    return 0
