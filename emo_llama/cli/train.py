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
    from emo_llama.evaluation.report import as_text
    from emo_llama.evaluation.split import SCORER
    from emo_llama.training.tune import parse_recipe, train

    words = ["--config", args.config, *args.overrides]
    if args.data is not None:
        words += ["--data", args.data]
    done = train(*parse_recipe(words), resume=args.resume)
    for name, report in (("before", done.before), ("after", done.after)):
        if report is not None:
            facts = {"model": name, "data": args.data, "split": "validation", "scorer": SCORER}
            _output.data(as_text(report | facts) + "\n")
    _output.data(f"finished model: {done.folder}")
    return 0
