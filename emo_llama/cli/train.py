"""`emo-llama train`: train a model from a YAML recipe."""

import argparse

from emo_llama.cli import _output

EXAMPLES = """examples:
  emo-llama train --data my-pictures
  emo-llama train --data built/mine --num_train_epochs 20 --output_dir outputs/mine
  emo-llama train --config my.yaml --data built/ferplus --learning_rate 1e-4
  emo-llama train --config tiny --data DIR --resume
my-pictures holds a sub-folder for each class. Any --key value of the recipe may follow; it
overrides the file.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options.

    Args:
        parser (`argparse.ArgumentParser`):
            The verb's parser.
    """
    parser.epilog = EXAMPLES
    parser.add_argument(
        "--config",
        default="finetune",
        metavar="FILE",
        help="the recipe: a YAML file, or the name of one that comes with the package (default: "
        "%(default)s, which goes on from the embedded model)",
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="a folder that `data build` wrote, or pictures in one sub-folder a class; for tiny "
        "the folder of the official files",
    )
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
    from emo_llama.training.recipe import parse_recipe
    from emo_llama.training.tune import train

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
