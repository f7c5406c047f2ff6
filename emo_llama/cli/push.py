"""`emo-llama push`: a model, a data set, a metric or a Space to the Hub."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from emo_llama.cli import _options, _output
from emo_llama.errors import UsageError

if TYPE_CHECKING:
    from emo_llama.hub.push import Request, Stage
    from emo_llama.hub.staging import LocalFile

EXAMPLES = """examples:
  emo-llama push model team/emo-llama --dry-run
  emo-llama push model team/emo-llama --model runs/tiny --private
  emo-llama push dataset team/expressions --data built/ferplus
  emo-llama push metric team/facial_expression
  emo-llama push space team/emo-llama --model team/emo-llama
"""
KINDS = {
    "model": "what `emo-llama export` writes: weights, configuration, processor, code, card",
    "dataset": "what `emo-llama data build` wrote; pictures stay here unless they may leave",
    "metric": "the metric of `emo-llama eval`, for evaluate.load(REPO)",
    "space": "the Space that `emo-llama space` starts",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options.

    Args:
        parser (`argparse.ArgumentParser`):
            The verb's parser.
    """
    parser.epilog = EXAMPLES
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    added = {}
    for name, text in KINDS.items():
        added[name] = kinds.add_parser(name, help=text, allow_abbrev=False)
        _add_common(added[name])
    _options.add(added["model"], "--model")
    _options.add(added["dataset"], "--data", required=True, help="a folder that `data build` wrote")
    added["dataset"].add_argument(
        "--with-pictures",
        action="store_true",
        help="send the pictures too: they are yours, and the persons in them have agreed "
        "(refused for data sets whose licence forbids it)",
    )
    _options.add(
        added["space"],
        "--model",
        help="the Hub repository of the model that it shows (default: the embedded model)",
    )
    added["space"].add_argument(
        "--wheel",
        type=Path,
        metavar="FILE",
        help="a wheel of emo-llama to send and install there, where the package index has none; "
        "the Space must be public",
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    """Options of every kind."""
    parser.add_argument("repo", metavar="REPO", help="the repository, as NAMESPACE/NAME")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the files with sizes and sha256, and the card; ask nothing of the network",
    )
    parser.add_argument(
        "--private", action="store_true", help="make the repository private, where it is new"
    )
    parser.add_argument(
        "--revision", metavar="BRANCH", help="the branch, new or not (default: main)"
    )
    parser.add_argument(
        "--create-pr", action="store_true", help="open a pull request instead of a commit"
    )
    parser.add_argument("--message", metavar="TEXT", help="what the commit says")


def main(args: argparse.Namespace) -> int:
    """Run the verb.

    Args:
        args (`argparse.Namespace`):
            Its options.

    Returns:
        `int`: 0.
    """
    from huggingface_hub.utils import disable_progress_bars, logging

    from emo_llama.hub.push import Request, prepared, push

    logging.set_verbosity_error()  # its warnings hold signed addresses
    if not sys.stderr.isatty():
        disable_progress_bars()
    if args.private and getattr(args, "wheel", None) is not None:
        raise UsageError(
            "--wheel is installed by its address, which nobody can read in a private Space. Leave "
            "out --private, or install emo-llama from the package index."
        )
    request = Request(
        args.kind, args.repo, args.private, args.revision, args.create_pr, args.message
    )
    with prepared(request, _stage(args)) as files:
        if args.dry_run:
            _show(request, files)
            return 0
        done = push(request, files, _output.message)
    for path in done.dropped:
        _output.message(f"removed {path}, which is no longer part of it")
    if done.sent or done.dropped:
        _output.message(
            f"{len(done.sent)} files sent, {done.unchanged} were there already; all "
            f"{len(files)} read back and equal"
        )
    else:
        _output.message("nothing has changed: all files are there already, and nothing was sent")
    _output.data(done.url)
    return 0


def _stage(args: argparse.Namespace) -> "Stage":
    """What writes the files of this kind."""
    from emo_llama.hub import staging

    stages: dict[str, Stage] = {
        "model": lambda folder, repo: staging.stage_model(folder, repo, args.model),
        "dataset": lambda folder, repo: staging.stage_dataset(
            folder, repo, Path(args.data), args.with_pictures
        ),
        "metric": staging.stage_metric,
        "space": lambda folder, repo: staging.stage_space(folder, repo, args.model, args.wheel),
    }
    return stages[args.kind]


def _show(request: "Request", files: "Mapping[str, LocalFile]") -> None:
    """Print what would be sent."""
    for path, file in files.items():
        _output.data(f"{file.sha256}  {file.size:>12,}  {path}")
    _output.data("")
    _output.data(files["README.md"].path.read_text(encoding="utf-8").rstrip())
    size = sum(file.size for file in files.values()) / 1e6
    _output.message(
        f"{len(files)} files, {size:.1f} MB, would go to {request.repo}; nothing was sent"
    )
