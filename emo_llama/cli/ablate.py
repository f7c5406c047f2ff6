"""`emo-llama ablate`: what each part of the model is worth."""

import argparse

from emo_llama.cli import _options, _output
from emo_llama.cli.train import prepare

EXAMPLES = """examples:
  emo-llama ablate --config tiny --data DIR --out outputs/ablation
  emo-llama ablate --config my.yaml --data built/ferplus --seeds 0 --out outputs/ablation
  emo-llama ablate --config tiny --data DIR --face-info-mining both,off --out outputs/ablation
Any --key value of the recipe may follow and overrides it; --encoders MODEL takes the encoders of a
finished model. The same command again goes on where it ended.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options.

    Args:
        parser (`argparse.ArgumentParser`):
            The verb's parser.
    """
    parser.epilog = EXAMPLES
    _options.add(parser, "--config", "--data", required=True)
    _options.add(parser, "--out", help="cells, table and plot are kept here")
    parser.add_argument(
        "--face-info-mining",
        default="both,global,local,off",
        metavar="LIST",
        help="clues that reach the language model (default: %(default)s)",
    )
    parser.add_argument(
        "--attributes",
        default="off,predicted",
        metavar="LIST",
        help="age, gender and race before the question (default: %(default)s)",
    )
    parser.add_argument(
        "--tower",
        default="",
        metavar="LIST",
        help="vision tower: generic (the recipe's), face (the face network's own; only where the "
        "recipe makes its encoders), off (default: all that can be)",
    )
    parser.add_argument(
        "--seeds", default="0,1,2", metavar="LIST", help="each cell once with each (default: 0,1,2)"
    )
    parser.set_defaults(overrides=[])


def main(args: argparse.Namespace) -> int:
    """Run the verb.

    Args:
        args (`argparse.Namespace`):
            Its options.

    Returns:
        `int`: The exit status.
    """
    prepare("accelerate", "matplotlib", "peft", "scipy", "trl")
    from emo_llama.errors import UsageError
    from emo_llama.evaluation.ablation_report import as_markdown, draw_plot
    from emo_llama.files import write_text
    from emo_llama.training.ablation import AXES, Grid, ablate
    from emo_llama.training.recipe import parse_recipe

    chosen = {}
    for name, known in AXES.items():
        chosen[name] = [word for word in getattr(args, name).split(",") if word]
        if unknown := sorted(set(chosen[name]) - set(known)):
            raise UsageError(
                f"--{name.replace('_', '-')}: there is no {', '.join(unknown)}; choose from "
                f"{', '.join(known)}."
            )
    if not all(seed.isdigit() for seed in args.seeds.split(",")):
        raise UsageError(f"--seeds: expected numbers as 0,1,2, got {args.seeds!r}.")
    grid = Grid(**chosen, seeds=[int(seed) for seed in args.seeds.split(",")])
    words = ["--config", args.config, "--data", args.data, *args.overrides]
    result = ablate(*parse_recipe(words), grid, args.out, {"command": words})
    table = as_markdown(result)
    write_text(args.out / "ablation.md", table)
    draw_plot(result, args.out / "ablation.png")
    _output.data(table)
    _output.message(f"wrote {args.out}/ablation.md, ablation.json and ablation.png")
    return 0
