"""`emo-llama train`: train a model from a YAML recipe."""

import argparse
import warnings

from emo_llama.cli import _options, _output
from emo_llama.errors import require

REPORTERS = ("tensorboard", "trackio", "wandb")

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
    recipe = f"{_options.SHARED['--config']['help']} (default: %(default)s, which goes on from the "
    _options.add(parser, "--config", default="finetune", help=f"{recipe}embedded model)")
    _options.add(parser, "--data", "--resume")
    parser.set_defaults(overrides=[])


def main(args: argparse.Namespace) -> int:
    """Run the verb.

    Args:
        args (`argparse.Namespace`):
            Its options.

    Returns:
        `int`: The exit status.
    """
    prepare("accelerate", "peft", "trl")
    from emo_llama.evaluation.report import as_text
    from emo_llama.evaluation.split import SCORER
    from emo_llama.training.recipe import parse_recipe
    from emo_llama.training.tune import train

    words = ["--config", args.config, *args.overrides]
    if args.data is not None:
        words += ["--data", args.data]
    recipe, sft, peft = parse_recipe(words)
    for name in sft.report_to or ():
        if name in REPORTERS:
            require(name, extra="train")
    done = train(recipe, sft, peft, resume=args.resume)
    if done.new_labels:
        _output.data(
            "before: not scored, since the model that training began with does not know the "
            f"labels {', '.join(done.new_labels)}\n"
        )
    for name, report in (("before", done.before), ("after", done.after)):
        if report is not None:
            facts = {"model": name, "data": recipe.data, "split": "validation", "scorer": SCORER}
            _output.data(as_text(report | facts) + "\n")
    _output.data(f"finished model: {done.folder}")
    return 0


def prepare(*packages: str) -> None:
    """Makes sure that training can begin, and leaves the terminal to its one bar.

    Args:
        packages (`str`): Of the extra `train`, those that are needed.

    Raises:
        MissingDependencyError: One is missing; the message is the command to type.
    """
    for name in packages:
        require(name, extra="train")
    import datasets
    from transformers.utils import logging

    logging.disable_progress_bar()  # "Loading weights", "Writing model shards"
    datasets.disable_progress_bars()  # "Generating split"
    # TRL itself sets the old name, and every recipe has to.
    warnings.filterwarnings("ignore", message="`gradient_checkpointing", category=FutureWarning)
