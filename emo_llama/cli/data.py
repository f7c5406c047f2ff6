"""`emo-llama data`: list the data sets, build instruction data, look at it, share it."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from emo_llama.cli import _annotators, _options, _output
from emo_llama.errors import UsageError

if TYPE_CHECKING:
    from emo_llama.annotate.endpoint import EndpointAnnotator
    from emo_llama.cropping import FaceCropper
    from emo_llama.dataset_builders.build import BuildOptions, Built

EXAMPLES = """examples:
  emo-llama data list
  emo-llama data build ferplus --root fer2013/ --out built/ferplus
  emo-llama data build folder --root my-pictures/ --out built/mine
  emo-llama data build dfew --root DFEW/ --out built/dfew-2 --fold 2 --num-proc 4
  emo-llama data synthetic rafdb --out drawn/rafdb
  emo-llama data build folder --root mine/ --out built/mine --annotator openai --model M --dry-run
  emo-llama data strip built/ferplus --out annotations/ferplus
  emo-llama data show built/ferplus --count 20
"""
SHOWN_PROBLEMS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options.

    Args:
        parser (`argparse.ArgumentParser`):
            The verb's parser.
    """
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="the data sets that can be built, and how to get each")
    build = actions.add_parser("build", help="write a Parquet folder that load_dataset reads")
    build.add_argument("name", metavar="NAME", help="a data set that `data list` names")
    build.add_argument("--root", required=True, metavar="DIR", help="folder of its official files")
    _options.add(build, "--out", "--resume")
    build.add_argument("--num-proc", type=int, default=1, metavar="N", help="processes")
    _add_choices(build)
    _annotators.add_options(build)
    synthetic = actions.add_parser(
        "synthetic", help="write a small copy of a data set's layout with drawn faces"
    )
    synthetic.add_argument("name", metavar="NAME", help="a data set that `data list` names")
    _options.add(synthetic, "--out")
    synthetic.add_argument(
        "--per-class", type=int, default=2, metavar="N", help="items of each class and split"
    )
    strip = actions.add_parser("strip", help="copy a built folder without its pictures")
    strip.add_argument("folder", metavar="BUILT", help="a folder that `data build` wrote")
    _options.add(strip, "--out")
    show = actions.add_parser("show", help="print conversations beside what was measured")
    show.add_argument("folder", metavar="BUILT", help="a folder that `data build` wrote")
    show.add_argument("--count", type=int, default=20, metavar="N", help="how many (default: 20)")


def _add_choices(build: argparse.ArgumentParser) -> None:
    """Options that change which rows are built."""
    build.add_argument(
        "--rule",
        choices=("majority", "argmax"),
        default="",
        help="how a label follows from the votes, where the set has votes (default: majority)",
    )
    build.add_argument(
        "--keep-repeats",
        action="store_true",
        help="keep training rows whose very picture is in the validation or test split too",
    )
    build.add_argument("--fold", type=int, default=1, metavar="N", help="official fold, from 1")
    build.add_argument(
        "--clips",
        choices=("frames", "bytes"),
        default="frames",
        help="clips as sampled frames or as their files (default: %(default)s)",
    )
    build.add_argument(
        "--num-frames", type=int, default=8, metavar="N", help="frames of a clip (default: 8)"
    )
    build.add_argument(
        "--num-classes", type=int, default=0, metavar="N", help="7 or 8, for AffectNet (default: 8)"
    )
    build.add_argument(
        "--faces",
        choices=("detect", "auto", "none"),
        help="crop each picture to its largest face and leave out what shows none, keep that whole "
        "(auto), or keep all as it is (default: auto for folder, none for the data sets)",
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
    actions = {
        "list": _list,
        "build": _build,
        "synthetic": _synthetic,
        "strip": _strip,
        "show": _show,
    }
    return actions[args.action](args)


def _list(args: argparse.Namespace) -> int:
    """Print what is known of each data set."""
    from emo_llama.dataset_builders.build import BUILDERS

    for name, builder in BUILDERS.items():
        labels = ", ".join(builder.LABELS) or "as the folder names them"
        _output.data(f"{name}: {builder.SUMMARY}")
        _output.data(f"  kind     {builder.KIND}, {builder.SIZE}")
        _output.data(f"  classes  {len(builder.LABELS) or 'any'}: {labels}")
        _output.data(f"  needs    {builder.NEEDS}")
        _output.data(f"  get it   {builder.OBTAIN}")
        _output.data(f"  licence  {builder.LICENCE}")
    return 0


def _build(args: argparse.Namespace) -> int:
    """Build, and print what was written."""
    from emo_llama.annotate.endpoint import EndpointAnnotator
    from emo_llama.dataset_builders.build import build_folder

    options, cropper = _choices(args)
    if args.num_proc < 1:
        raise UsageError(f"--num-proc {args.num_proc}: expected 1 or more")
    annotator = _annotators.make_annotator(args)
    if args.dry_run and isinstance(annotator, EndpointAnnotator):
        return _estimate(args, annotator)
    done = build_folder(
        args.name,
        args.root,
        args.out,
        annotator,
        options,
        cropper=cropper,
        num_proc=args.num_proc,
        resume=args.resume,
    )
    _tell(done, args.out)
    unanswered = []
    if isinstance(annotator, EndpointAnnotator):
        unanswered = _annotators.tell(annotator)
    return 1 if done.problems or unanswered else 0


def _choices(args: argparse.Namespace) -> "tuple[BuildOptions, FaceCropper | None]":
    """What the options say, and who finds the faces where they are asked for."""
    from emo_llama.cropping import FaceCropper
    from emo_llama.dataset_builders.build import BUILDERS, BuildOptions

    usual = BUILDERS[args.name].USUAL_FACES if args.name in BUILDERS else "none"
    options = BuildOptions(
        rule=args.rule,
        keep_repeats=args.keep_repeats,
        fold=args.fold,
        clips=args.clips,
        num_frames=args.num_frames,
        num_classes=args.num_classes,
        faces=args.faces or usual,
    )
    return options, None if options.faces == "none" else FaceCropper()


def _estimate(args: argparse.Namespace, annotator: "EndpointAnnotator") -> int:
    """Print what the conversations would cost; nothing is asked and nothing written."""
    from collections import Counter

    from emo_llama.annotate.prices import read_prices
    from emo_llama.dataset_builders.build import make_builder

    options, cropper = _choices(args)
    builder = make_builder(
        args.name, "conversation", args.root, options, annotator, cropper=cropper
    )
    prices = read_prices(args.prices) if args.prices else None
    for split in builder.configured_splits():
        records = builder.records(builder.entries(split), Counter())
        _output.data(str(annotator.estimate(records, prices)))
    return 0


def _tell(done: "Built", out: str) -> None:
    """Print the counts, and the first of what could not be used."""
    for config, splits in done.counts.items():
        for split, count in splits.items():
            others = [
                f"{number:,} {reason}"
                for reason, number in count.items()
                if reason not in ("read", "written", *done.labels)
            ]
            parts = [f"{count['read']:,} read", *others, f"{count['written']:,} written"]
            _output.data(f"{config} {split}: {', '.join(parts)}")
    for note in done.notes():
        _output.message(note)
    for problem in done.problems[:SHOWN_PROBLEMS]:
        _output.message(f"{problem['split']} {problem['item']}: {problem['message']}")
    if len(done.problems) > SHOWN_PROBLEMS:
        more = len(done.problems) - SHOWN_PROBLEMS
        _output.message(f"and {more:,} more that could not be used; see {out}/report.json")
    _output.data(f"written to {out}")


def _synthetic(args: argparse.Namespace) -> int:
    """Write a drawn copy of a layout."""
    from emo_llama.dataset_builders.build import BUILDERS

    if args.name not in BUILDERS:
        known = ", ".join(BUILDERS)
        raise UsageError(f"{args.name}: no data set of that name; known are {known}")
    out = args.out
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UsageError(f"{out}: exists already; remove it or name another folder to write")
    BUILDERS[args.name].write_synthetic(out, args.per_class)
    _output.data(f"drawn faces in the layout of {args.name} written to {out}")
    return 0


def _strip(args: argparse.Namespace) -> int:
    """Copy a built folder without its pictures."""
    from emo_llama.dataset_builders.stripping import strip_pictures

    strip_pictures(args.folder, args.out)
    _output.data(f"written to {args.out}: no pictures; join_pictures puts a user's own back")
    return 0


def _show(args: argparse.Namespace) -> int:
    """Print conversations beside votes and geometry, and mark what neither backs."""
    from emo_llama.annotate.show import shown

    failed = 0
    for text, unbacked in shown(Path(args.folder), args.count):
        _output.data(text + "\n")
        failed += len(unbacked)
    if failed:
        _output.message(f"{failed:,} sentences do not follow from what was measured")
    return 1 if failed else 0
