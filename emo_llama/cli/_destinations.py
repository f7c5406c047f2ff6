"""Where results go: checks `--out`, `--format`, `--overlay` and `--page` before the work."""

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from emo_llama.errors import UsageError

FORMATS = ("text", "json", "jsonl", "csv", "parquet")
ENDINGS = {".txt": "text"} | {f".{name}": name for name in FORMATS[1:]}
OVERLAY_ENDING = ".overlay.jpg"
MAX_STEM = 200  # bytes of a picture's name that its overlay repeats; file systems take 255


def checked_format(args: argparse.Namespace) -> str:
    """Choose the format, after checking the options that depend on it.

    Args:
        args (`argparse.Namespace`):
            The options of the verb.

    Returns:
        `str`: One of `FORMATS`.

    Raises:
        UsageError: Options that do not go together.
    """
    format = args.format or "text"
    if args.out is not None:
        format = _format_of(args.out, args.format)
    elif format == "parquet":
        raise UsageError("Parquet goes to a file: add --out FILE.")
    if args.resume and (args.out is None or format == "text"):
        raise UsageError(
            "--resume continues a file of records: add --out FILE with a name that ends in .jsonl, "
            ".json, .csv or .parquet, or name the --format."
        )
    return format


def _format_of(out: Path, format: str | None) -> str:
    """The format of a file by its ending, which `--format` must not contradict."""
    ending = out.suffix.lower()
    known = ", ".join(ENDINGS)
    if ending and ending not in ENDINGS:
        raise UsageError(
            f"--out {out}: a file of records ends in {known}; {ending} is none of them. Name "
            "another file."
        )
    meant = ENDINGS.get(ending) or format or "text"
    if format not in (None, meant):
        right = next(end for end, name in ENDINGS.items() if name == format)
        raise UsageError(
            f"--out {out} --format {format}: the ending says {meant}. Leave out --format, or "
            f"name a file that ends in {right}."
        )
    return meant


@contextmanager
def claimed(
    out: Path | None,
    overlay: Path | None,
    inputs: Sequence[str | os.PathLike],
    option: str = "--out",
) -> Iterator[None]:
    """Makes sure that the results can be written, and by this run alone.

    Args:
        out (`Path`, *optional*):
            The file of results.
        overlay (`Path`, *optional*):
            The folder of annotated pictures; made where it does not exist.
        inputs (`Sequence[str | PathLike]`):
            What is read, which must not be written over.
        option (`str`, *optional*, defaults to `"--out"`):
            What names the file of results.

    Raises:
        UsageError: Something cannot be written, is an input, or another run writes it.
    """
    from contextlib import ExitStack

    from emo_llama.files import only_run

    with ExitStack() as stack:
        if out is not None:
            _check_out(out, inputs, option)
            stack.enter_context(only_run(out, option))
        if overlay is not None:
            _make_folder(overlay)
            stack.enter_context(only_run(overlay / "overlays", "--overlay"))
        yield


def _check_out(out: Path, inputs: Sequence[str | os.PathLike], option: str) -> None:
    """Refuse a file that cannot be meant."""
    if out.is_dir():
        raise UsageError(f"{option} expects a file, {out} is a folder. Name a file in it.")
    if not out.parent.is_dir():
        raise UsageError(f"{option} {out}: {out.parent} is no folder. Make it first.")
    if not out.exists():
        return
    if not out.is_file():
        raise UsageError(
            f"{option} expects a file, {out} is a device or a pipe. Name another file."
        )
    if any(os.path.exists(path) and os.path.samefile(path, out) for path in inputs):
        raise UsageError(
            f"{option} {out}: this is an input, which would be lost. Name another file."
        )


def _make_folder(overlay: Path) -> None:
    try:
        overlay.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--overlay {overlay}: no folder can be made here ({error.strerror or error}). Name "
            "another one."
        ) from error


def overlay_paths(folder: Path, inputs: Sequence[Path]) -> dict[Path, Path]:
    """Name the annotated picture of each input, no two the same and none over an input.

    Args:
        folder (`Path`):
            Where they go.
        inputs (`Sequence[Path]`):
            What is read.

    Returns:
        `dict[Path, Path]`: Files by input.
    """
    here = folder.resolve()
    # Some file systems take Face.jpg and face.jpg for one.
    names_here = (path for path in inputs if path.name.casefold().endswith(OVERLAY_ENDING))
    taken = {path.name.casefold() for path in names_here if path.parent.resolve() == here}
    numbers: dict[str, int] = {}
    names = {}
    for path in inputs:
        stem = path.stem
        while len(os.fsencode(stem)) > MAX_STEM:
            stem = stem[:-1]
        number = numbers.get(stem.casefold(), 1)
        name = f"{stem}{OVERLAY_ENDING}" if number == 1 else f"{stem}-{number}{OVERLAY_ENDING}"
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}{OVERLAY_ENDING}"
        numbers[stem.casefold()] = number + 1
        taken.add(name.casefold())
        names[path] = folder / name
    return names
