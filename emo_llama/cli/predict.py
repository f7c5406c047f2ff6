"""`emo-llama predict`: images, videos and folders in, one record each out."""

import argparse
import io
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emo_llama.cli import _output
from emo_llama.errors import UsageError

if TYPE_CHECKING:
    from emo_llama.recognition.recognizer import EmotionRecognizer
    from emo_llama.records import Face, Result
    from emo_llama.writing import RecordFile

FORMATS = ("text", "json", "jsonl", "csv", "parquet")
EXAMPLES = """examples:
  emo-llama predict photo.jpg
  emo-llama predict clip.mp4 --format json
  emo-llama predict photos/ --out results.parquet --resume --workers 4
  emo-llama predict photo.jpg --question "What does the mouth show?" --overlay drawn/
"""
JOBS_AT_ONCE = 64  # inputs handed to the workers before their results are written


@dataclass(frozen=True)
class Job:
    """How each input is worked on; travels to the worker processes.

    Attributes:
        model (`str`, *optional*):
            Folder or Hub repository; the embedded model by default.
        device (`str`, *optional*):
            Where the model runs.
        faces (`str`):
            `"detect"` or `"none"`.
        question (`str`, *optional*):
            Asked about each face.
        describe (`bool`):
            Whether each face gets a sentence.
        abstain_below (`float`):
            Probability below which a label is not trusted.
        draw (`bool`):
            Whether landmarks and a picture are wanted.
    """

    model: str | None
    device: str | None
    faces: str
    question: str | None
    describe: bool
    abstain_below: float
    draw: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb.

    Args:
        parser (`argparse.ArgumentParser`):
            The verb's parser.
    """
    parser.epilog = EXAMPLES
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", type=Path, help="image, video, or folder of both"
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="text for people, or records (default: by the name of --out, else text)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write here instead of to stdout")
    parser.add_argument("--overlay", type=Path, metavar="DIR", help="write annotated pictures here")
    parser.add_argument("--question", metavar="TEXT", help="ask this about each face")
    parser.add_argument(
        "--no-text", action="store_true", help="labels and probabilities only; several times faster"
    )
    parser.add_argument(
        "--faces",
        choices=("detect", "none"),
        default="detect",
        help="find the faces, or take each whole image for one (default: %(default)s)",
    )
    parser.add_argument(
        "--model", metavar="M", help="folder or Hub repository (default: the embedded model)"
    )
    parser.add_argument("--device", help="cpu, cuda, mps (default: cuda where there is one)")
    parser.add_argument(
        "--abstain-below",
        type=float,
        default=0.0,
        metavar="P",
        help="mark faces whose best label is less probable than this (default: %(default)s)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="keep the good records that --out already holds"
    )
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes (default: %(default)s)"
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
    format = _checked_format(args)
    from emo_llama.media import find_media

    paths, left_out = find_media(args.paths)
    if left_out:
        counts = ", ".join(f"{count} {kind}" for kind, count in left_out.most_common(12))
        _output.message(f"left out of the folders: {counts}")
    if args.overlay:
        args.overlay.mkdir(parents=True, exist_ok=True)
    job = Job(
        model=args.model,
        device=args.device,
        faces=args.faces,
        question=args.question,
        describe=not args.no_text,
        abstain_below=args.abstain_below,
        draw=args.overlay is not None,
    )
    recognizer = _load(job)
    with ExitStack() as stack:
        sink = _sink(stack, format, args, recognizer.labels)
        names = _overlay_names(paths)
        left = [path for path in paths if str(path) not in sink.done]
        if len(left) < len(paths):
            _output.message(f"{len(paths) - len(left)} of {len(paths)} inputs were done before.")
        failures = 0
        results = _results(recognizer, job, left, args.workers)
        pairs = zip(left, results, strict=True)
        for path, result in _output.progress(pairs, len(left), "predict"):
            failures += result.error is not None
            drawn = args.overlay / names[path] if args.overlay and result.faces else None
            if drawn is not None:
                _draw(result, drawn)
            sink.add(result, drawn)
        sink.finish()
    if failures:
        _output.message(f"{failures} of {len(left)} inputs could not be read.")
    return 1 if failures else 0


def _checked_format(args: argparse.Namespace) -> str:
    """The output format, after checking the options that depend on it."""
    suffix = args.out.suffix.lower().lstrip(".") if args.out else ""
    format = args.format or (suffix if suffix in FORMATS else "text")
    if format == "parquet" and args.out is None:
        raise UsageError("Parquet goes to a file: add --out FILE.")
    if args.resume and (args.out is None or format == "text"):
        raise UsageError(
            "--resume continues a file of records: add --out FILE with a name that ends in .jsonl, "
            ".json, .csv or .parquet, or name the --format."
        )
    if args.workers < 1:
        raise UsageError(f"--workers expects a number from 1, got {args.workers}.")
    if not 0.0 <= args.abstain_below <= 1.0:
        raise UsageError(f"--abstain-below expects a probability, got {args.abstain_below}.")
    if args.out is not None and args.out.is_dir():
        raise UsageError(f"--out expects a file, {args.out} is a folder.")
    return format


def _load(job: Job) -> "EmotionRecognizer":
    """Load the recognizer, with transformers' own messages left out."""
    from transformers.utils import logging

    from emo_llama.recognition.recognizer import EmotionRecognizer

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    detector = "none" if job.faces == "none" else "auto"
    return EmotionRecognizer.from_pretrained(
        job.model, detector=detector, device=job.device, abstain_below=job.abstain_below
    )


def _recognize(recognizer: "EmotionRecognizer", job: Job, path: Path) -> "Result":
    return recognizer.recognize(path, job.question, job.describe, landmarks=job.draw)


def _results(
    recognizer: "EmotionRecognizer", job: Job, paths: list[Path], workers: int
) -> Iterator["Result"]:
    """The results in the order of the paths, made here or by worker processes."""
    if workers == 1 or len(paths) < 2:
        yield from (_recognize(recognizer, job, path) for path in paths)
        return
    from multiprocessing import get_context

    threads = max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(
        min(workers, len(paths)), get_context("spawn"), _start_worker, (job, threads)
    ) as pool:
        waiting = iter(paths)
        while batch := list(islice(waiting, JOBS_AT_ONCE)):
            yield from pool.map(_work, batch)


_worker: dict[str, Any] = {}  # what a worker process loaded once; empty in the main process


def _start_worker(job: Job, threads: int) -> None:
    """Load one recognizer a process."""
    import torch

    torch.set_num_threads(threads)
    _worker.update(recognizer=_load(job), job=job)


def _work(path: Path) -> "Result":
    return _recognize(_worker["recognizer"], _worker["job"], path)


def _overlay_names(paths: list[Path]) -> dict[Path, str]:
    """A name for the annotated picture of each input, no two the same."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in paths:
        name, number = f"{path.stem}.overlay.jpg", 2
        while name in taken:
            name, number = f"{path.stem}-{number}.overlay.jpg", number + 1
        taken.add(name)
        names[path] = name
    return names


def _draw(result: "Result", target: Path) -> None:
    """Write the annotated picture; never a half of it under its final name."""
    from emo_llama.media import read_image
    from emo_llama.overlay import draw_contact_sheet, draw_overlay

    if result.kind == "video":
        picture = draw_contact_sheet(result)
    else:
        picture = draw_overlay(read_image(str(result.path)), result.faces)
    scratch = target.with_suffix(".tmp")
    picture.save(scratch, format="JPEG", quality=92)
    scratch.replace(target)


class _Terminal:
    """Shows results on stdout, or writes text to a file."""

    done: frozenset[str] = frozenset()

    def __init__(self, format: str, out: Path | None) -> None:
        self.format = format
        self.out = out
        self.kept: list[Any] = []

    def add(self, result: "Result", drawn: Path | None) -> None:
        """Show one result, or keep it where the format needs all."""
        if result.error is not None:
            _output.message(result.error["message"])
        if self.format == "text":
            self._add_text(result, drawn)
            return
        if drawn is not None:
            _output.message(f"picture: {drawn}")
        if self.format == "jsonl":
            _output.data(json.dumps(result.to_dict(), ensure_ascii=False))
        else:
            self.kept.append(result.to_dict())

    def _add_text(self, result: "Result", drawn: Path | None) -> None:
        if result.error is not None:
            return
        if self.out is None:
            _output.data(_text(result, drawn))
        else:
            self.kept.append(_text(result, drawn))

    def finish(self) -> None:
        """Show what was kept."""
        from emo_llama.writing import write_csv_rows

        if self.out is not None:
            scratch = self.out.with_name(self.out.name + ".tmp")
            scratch.write_text("\n".join(self.kept) + "\n", encoding="utf-8")
            scratch.replace(self.out)
        elif self.format == "json":
            _output.data(json.dumps(self.kept, ensure_ascii=False, indent=2))
        elif self.format == "csv":
            stream = io.StringIO(newline="")
            write_csv_rows(stream, self.kept)
            _output.data(stream.getvalue().rstrip("\r\n"))


class _File:
    """Writes results to a file of records."""

    def __init__(self, file: "RecordFile") -> None:
        self.file = file
        self.done = file.done

    def add(self, result: "Result", drawn: Path | None) -> None:
        """Write one result."""
        if result.error is not None:
            _output.message(result.error["message"])
        self.file.add(result.to_dict())

    def finish(self) -> None:
        """Give the file its final name."""
        self.file.finish()
        _output.message(f"wrote {self.file.path}")


def _sink(
    stack: ExitStack, format: str, args: argparse.Namespace, labels: tuple[str, ...]
) -> _Terminal | _File:
    """Where the results go."""
    if args.out is None or format == "text":
        return _Terminal(format, args.out)
    from emo_llama.writing import RecordFile

    file = RecordFile(args.out, format, labels, resume=args.resume)
    stack.callback(file.close)
    return _File(file)


def _text(result: "Result", drawn: Path | None) -> str:
    """One result for people."""
    lines = [str(result.path)]
    if not result.faces:
        lines.append("  no face found")
    for face in result.faces:
        lines += _face_lines(face)
    if drawn is not None:
        lines.append(f"  picture: {drawn}")
    return "\n".join("".join(c if c.isprintable() else " " for c in line) for line in lines)


def _face_lines(face: "Face") -> list[str]:
    """The expression, its probabilities and the sentence of one face."""
    place = " ".join(f"{value:.0f}" for value in face.box)
    who = "" if face.track is None else f"person {face.track}, {len(face.frames or [])} frames: "
    unsure = " (unsure)" if face.abstained else ""
    ranked = sorted(face.probabilities.items(), key=lambda item: -item[1])
    lines = [
        f"  {who}{face.label}{unsure}  {face.confidence:.1%}  box {place}",
        "    " + "  ".join(f"{label} {p:.1%}" for label, p in ranked),
    ]
    return lines + ([f"    {face.text}"] if face.text else [])
