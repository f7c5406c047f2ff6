"""`emo-llama predict`: images, videos and folders in, one record each out."""

import argparse
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from emo_llama.cli import _options, _output
from emo_llama.cli._destinations import (
    FORMATS,
    OVERLAY_ENDING,
    checked_format,
    claimed,
    overlay_paths,
)
from emo_llama.cli._sinks import RecordSink, Sink, Terminal, TextFile
from emo_llama.cli._workers import Done, Job, load, results
from emo_llama.errors import UsageError
from emo_llama.escaping import escape

EXAMPLES = """examples:
  emo-llama predict photo.jpg
  emo-llama predict clip.mp4 --format json
  emo-llama predict photos/ --out results.parquet --resume --workers 4
  emo-llama predict photo.jpg --question "What does the mouth show?" --overlay drawn/
"""
MAX_WORKERS = 256  # each loads the model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb.

    Args:
        parser (`argparse.ArgumentParser`):
            The verb's parser.
    """
    parser.epilog = EXAMPLES
    parser.add_argument(
        # Not as `Path`, which makes "." of nothing and eats a slash of an address.
        "paths",
        nargs="+",
        metavar="PATH",
        help="image, video, or folder of both",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="text for people, or records (default: by the name of --out, else text)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write here instead of to stdout")
    parser.add_argument("--overlay", type=Path, metavar="DIR", help="write annotated pictures here")
    _options.add(parser, "--resume")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes (default: %(default)s)"
    )
    _add_questions(parser)


def _add_questions(parser: argparse.ArgumentParser) -> None:
    """Options that decide what a record holds."""
    parser.add_argument("--question", metavar="TEXT", help="ask this about each face")
    parser.add_argument(
        "--no-text", action="store_true", help="labels and probabilities only; several times faster"
    )
    _options.add(parser, "--faces", "--model", "--device", "--attributes", "--prior")
    parser.add_argument(
        "--abstain-below",
        type=float,
        default=0.0,
        metavar="P",
        help="mark faces whose best label is less probable than this (default: %(default)s)",
    )


def main(args: argparse.Namespace) -> int:
    """Run the verb.

    Args:
        args (`argparse.Namespace`):
            Its options.

    Returns:
        `int`: 0, or 1 where an input failed.

    Raises:
        UsageError: Options that do not go together.
    """
    format = checked_format(args)
    _check_values(args)
    paths = _find(args.paths)
    job = Job(
        model=args.model,
        device=args.device,
        faces=args.faces,
        question=args.question,
        describe=not args.no_text,
        abstain_below=args.abstain_below,
        attributes=args.attributes,
        prior=args.prior,
        draw=args.overlay is not None,
    )
    with ExitStack() as stack:
        stack.enter_context(claimed(args.out, args.overlay, paths))
        told = _tell_missing(paths)
        recognizer = load(job)
        sink = _sink(stack, format, args, recognizer.labels, job)
        left = [path for path in paths if escape(str(path)) not in sink.done]
        if len(left) < len(paths):
            _output.message(f"{len(paths) - len(left)} of {len(paths)} inputs were done before.")
        targets = overlay_paths(args.overlay, paths) if args.overlay else {}
        pairs = zip(left, results(recognizer, job, left, args.workers), strict=True)
        failures = 0
        for path, done in _output.progress(pairs, len(left), "predict"):
            failures += _take(done, targets.get(path), sink, path in told)
        sink.finish()
    if failures:
        _output.message(f"{failures} of {len(left)} inputs could not be read or drawn.")
    return 1 if failures else 0


def _check_values(args: argparse.Namespace) -> None:
    """Refuse values that cannot be meant."""
    if not 1 <= args.workers <= MAX_WORKERS:
        raise UsageError(f"--workers expects a number from 1 to {MAX_WORKERS}, got {args.workers}.")
    if not 0.0 <= args.abstain_below <= 1.0:
        raise UsageError(f"--abstain-below expects a probability, got {args.abstain_below}.")
    if args.question is not None and args.question != escape(args.question):
        raise UsageError("--question: expected text in UTF-8, got other bytes.")
    for path in args.paths:
        _options.refuse_address(path)


def _find(names: Sequence[str]) -> list[Path]:
    """The inputs; pictures that an earlier run has drawn are none, unless they are named."""
    from emo_llama.media import find_media

    paths, left_out = find_media(names)
    if left_out:
        counts = ", ".join(f"{count} {kind}" for kind, count in left_out.most_common(12))
        _output.message(f"left out of the folders: {counts}")
    named = set(map(Path, names))
    kept = [p for p in paths if p in named or not p.name.endswith(OVERLAY_ENDING)]
    if len(kept) < len(paths):
        _output.message(
            f"{len(paths) - len(kept)} annotated pictures (*{OVERLAY_ENDING}) are left out."
        )
    return kept


def _tell_missing(paths: Sequence[Path]) -> set[Path]:
    """Name what does not exist, before the model is loaded."""
    missing = {path for path in paths if not os.path.lexists(path)}
    for path in paths:
        if path in missing:
            _output.message(f"{path}: no such file. Check the spelling of the path.")
    return missing


def _take(done: Done, target: Path | None, sink: Sink, told: bool) -> bool:
    """Write what came out of one input; the picture first, or a resumed run would lack it.

    Returns:
        `bool`: Whether something of it failed.
    """
    trouble = done.result.error["message"] if done.result.error else done.trouble
    if trouble and not told:
        _output.message(trouble)
    drawn = target if done.picture is not None else None
    if drawn is not None and done.picture is not None:
        from emo_llama.writing import replace_file

        replace_file(drawn, done.picture)
    sink.add(done.result, drawn)
    return bool(trouble)


def _sink(
    stack: ExitStack, format: str, args: argparse.Namespace, labels: Sequence[str], job: Job
) -> Sink:
    """Where the results go."""
    if args.out is None:
        return Terminal(format, labels)
    if format == "text":
        return TextFile(args.out)
    from emo_llama.writing import RecordFile

    file = RecordFile(args.out, format, labels, args.resume, job.settings())
    stack.callback(file.close)
    return RecordSink(file)
