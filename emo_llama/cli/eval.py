"""`emo-llama eval`: the official metrics of one built split."""

import argparse
import json
import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from emo_llama.cli import _options, _output

SHOWN = 10
LOG_SECONDS = 30

EXAMPLES = """examples:
  emo-llama eval --data built/ferplus
  emo-llama eval --data built/ferplus --split test --model my-model --format json
  emo-llama eval --data built/ferplus --page report.html
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options.

    Args:
        parser (`argparse.ArgumentParser`):
            The verb's parser.
    """
    parser.epilog = EXAMPLES
    parser.add_argument(
        "--data", required=True, metavar="DIR", help="a folder that `emo-llama data build` wrote"
    )
    parser.add_argument(
        "--split", default="validation", metavar="S", help="the split (default: %(default)s)"
    )
    _options.add(parser, "--model", "--device", "--attributes", "--prior")
    parser.add_argument(
        "--batch-size",
        type=int,
        default=64,
        metavar="N",
        help="pictures at once (default: %(default)s)",
    )
    parser.add_argument(
        "--format",
        choices=("text", "json"),
        default="text",
        help="what goes to stdout (default: %(default)s)",
    )
    parser.add_argument("--page", type=Path, metavar="FILE", help="write an HTML page as well")


def main(args: argparse.Namespace) -> int:
    """Run the verb.

    Args:
        args (`argparse.Namespace`):
            Its options.

    Returns:
        `int`: The exit status.
    """
    from emo_llama.cli._destinations import claimed

    inputs = [path for path in Path(args.data).rglob("*") if path.is_file()]
    with claimed(args.page, None, inputs, "--page"):
        return _evaluate(args)


def _evaluate(args: argparse.Namespace) -> int:
    """Score, with the page's name claimed; gives the exit status."""
    from transformers.utils import logging

    from emo_llama.evaluation.report import as_page, as_text, versions
    from emo_llama.evaluation.split import SCORER, evaluate_split, read_split
    from emo_llama.files import write_text
    from emo_llama.recognition.recognizer import EmotionRecognizer

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    rows = read_split(args.data, args.split)
    recognizer = EmotionRecognizer.from_pretrained(
        args.model,
        detector="none",
        device=args.device,
        attributes=args.attributes,
        prior=args.prior,
    )
    report = evaluate_split(recognizer, _with_bar(rows, args), args.batch_size) | {
        "model": args.model or "emo-llama-tiny (embedded)",
        "data": args.data,
        "dataset": _build_report(args.data).get("choices", {}).get("name"),
        "split": args.split,
        "prior": args.prior,
        "scorer": SCORER,
        "command": shlex.join(["emo-llama", *sys.argv[1:]]),
        "versions": versions(),
    }
    for row in report["unread"][:SHOWN]:
        _output.message(f"{row['id']}: not scored, {row['message']}")
    if len(report["unread"]) > SHOWN:
        _output.message(f"and {len(report['unread']) - SHOWN:,} more; --format json names all")
    if args.page:
        write_text(args.page, as_page(report))
        _output.message(f"wrote {args.page}")
    _output.data(json.dumps(report, indent=2) if args.format == "json" else as_text(report))
    return 1 if report["unread"] else 0


def _with_bar(rows: Iterable[dict[str, Any]], args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The rows, counted on stderr; where that is no terminal, a line now and then."""
    from tqdm import tqdm

    known = _build_report(args.data)
    total = known.get("counts", {}).get("category", {}).get(args.split, {}).get("written")
    pause = 0.1 if sys.stderr.isatty() else LOG_SECONDS
    yield from tqdm(rows, total=total, desc="eval", unit=" rows", mininterval=pause)


def _build_report(folder: str) -> dict[str, Any]:
    """What `emo-llama data build` noted of a folder; empty where it notes nothing."""
    from emo_llama.dataset_builders.build import REPORT

    path = Path(folder) / REPORT
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
