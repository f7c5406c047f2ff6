"""`emo-llama data`: list the data sets, and build instruction data from one."""

import argparse
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from emo_llama.cli import _output

if TYPE_CHECKING:
    from emo_llama.annotate.landmarks import LandmarkSource

EXAMPLES = """examples:
  emo-llama data list
  emo-llama data build ferplus --root fer2013/ --out built/ferplus
  emo-llama data build ferplus --root fer2013/ --out built/ferplus-argmax --rule argmax
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options.

    Args:
        parser (`argparse.ArgumentParser`):
            The verb's parser.
    """
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="the data sets that can be built, and what each needs")
    build = actions.add_parser("build", help="write a Parquet folder that load_dataset reads")
    build.add_argument("name", metavar="NAME", help="a data set that `data list` names")
    build.add_argument("--root", required=True, metavar="DIR", help="folder of its official files")
    build.add_argument("--out", required=True, metavar="DIR", help="the new folder to write")
    build.add_argument(
        "--rule",
        choices=("majority", "argmax"),
        default="majority",
        help="how a label follows from the votes (default: %(default)s)",
    )
    build.add_argument(
        "--keep-repeats",
        action="store_true",
        help="keep training rows whose very picture is in the validation or test split too",
    )
    build.add_argument(
        "--annotator",
        choices=("template",),
        default="template",
        help="what writes the conversations (default: %(default)s, from votes and landmarks)",
    )
    build.add_argument(
        "--landmarks",
        metavar="mesh|none|FILE.npz",
        help="where the template finds the parts of a face: mediapipe's mesh (default where it is "
        "installed), nowhere, or a file with the arrays row_index (N,), found (N,) and landmarks "
        "(N, 68, 2)",
    )


def main(args: argparse.Namespace) -> int:
    """Run the verb.

    Args:
        args (`argparse.Namespace`):
            Its options.

    Returns:
        `int`: The exit status.
    """
    import datasets

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    return _list() if args.action == "list" else _build(args)


def _list() -> int:
    """Print one line a data set."""
    from emo_llama.dataset_builders.build import BUILDERS
    from emo_llama.labels import LABEL_SETS

    for name, builder in BUILDERS.items():
        _output.data(f"{name}: {builder.SUMMARY}")
        _output.data(f"  needs   {builder.NEEDS}")
        _output.data(f"  labels  {', '.join(LABEL_SETS[name])}")
    return 0


def _build(args: argparse.Namespace) -> int:
    """Build, and print what was written."""
    from emo_llama.annotate.template import TemplateAnnotator
    from emo_llama.dataset_builders.build import BuildOptions, build_folder

    annotator = TemplateAnnotator(_landmarks(args.landmarks))
    options = BuildOptions(rule=args.rule, keep_repeats=args.keep_repeats)
    counts = build_folder(args.name, args.root, args.out, annotator, options)
    for config, splits in counts.items():
        for split, count in splits.items():
            labelled = count["read"] - count["without a label"]
            _output.data(
                f"{config} {split}: {count['read']:,} rows read, {labelled:,} with a label under "
                f"the rule {args.rule}, {count['repeats dropped']:,} repeats of held-out pictures "
                f"dropped, {count['written']:,} written"
            )
    _output.data(f"written to {args.out}")
    return 0


def _landmarks(choice: str | None) -> "LandmarkSource | None":
    """The source of landmarks that the option names."""
    from emo_llama.annotate.landmarks import from_file, from_mesh

    if choice is None and find_spec("mediapipe") is None:
        _output.message(
            "mediapipe is not installed: the conversations will be written from votes alone "
            '(for landmarks: pip install "emo-llama[faces]")'
        )
        return None
    if choice == "none":
        return None
    return from_mesh if choice in (None, "mesh") else from_file(choice)
