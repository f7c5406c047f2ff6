"""`emo-llama leaderboard`: evaluation reports beside published numbers."""

import argparse
import json
from pathlib import Path

from emo_llama.cli import _output
from emo_llama.escaping import escape
from emo_llama.evaluation.leaderboard import TITLES, as_markdown, as_text, read_report, rows_of

EXAMPLES = """examples:
  emo-llama leaderboard
  emo-llama leaderboard mine.json --format markdown
  emo-llama leaderboard mine.json theirs.json --data ferplus
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options.

    Args:
        parser (`argparse.ArgumentParser`):
            The verb's parser.
    """
    parser.epilog = EXAMPLES
    parser.add_argument(
        "reports",
        nargs="*",
        type=Path,
        metavar="REPORT",
        help="what `emo-llama eval --format json` printed, or the validation.json of a trained "
        "model (default: that of the embedded model)",
    )
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        choices=TITLES,
        metavar="NAME",
        help=f"one of {', '.join(TITLES)} (default: those of the reports; can be given more "
        "than once)",
    )
    parser.add_argument(
        "--format",
        choices=("text", "json", "markdown"),
        default="text",
        help="what goes to stdout (default: %(default)s)",
    )


def main(args: argparse.Namespace) -> int:
    """Run the verb.

    Args:
        args (`argparse.Namespace`):
            Its options.

    Returns:
        `int`: The exit status.
    """
    from emo_llama.loading import EMBEDDED_MODEL

    if args.reports:
        own = [read_report(path) for path in args.reports]
        # paths need not be valid text
        own = [row._replace(model=escape(row.model), source=escape(row.source)) for row in own]
        rows = rows_of(own, args.data)
    else:
        shipped = read_report(EMBEDDED_MODEL / "validation.json")
        rows = rows_of([shipped._replace(dataset="ferplus")], args.data or TITLES)
    if args.format == "json":
        text = json.dumps([row._asdict() for row in rows], indent=2, ensure_ascii=True)
    else:
        text = (as_text if args.format == "text" else as_markdown)(rows)
    _output.data(text)
    return 0
