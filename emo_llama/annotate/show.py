"""Conversations of a built folder as text, beside what is measured on their pictures."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from datasets import load_dataset
from PIL import Image

from emo_llama.annotate.geometry import MEASURES, FaceGeometry, level
from emo_llama.annotate.landmarks import usual_source
from emo_llama.annotate.verify import NO_LABELS, unbacked
from emo_llama.dataset_builders.base import CONFIGS
from emo_llama.dataset_builders.build import REPORT
from emo_llama.errors import DataFormatError, InputNotFoundError
from emo_llama.faces import mesh_landmarks

__all__ = ["shown"]

THIRDS = {-1: "lower third", 0: "middle", 1: "upper third"}


def shown(folder: Path, count: int) -> Iterator[tuple[str, list[str]]]:
    """The first conversations of a folder, each as lines for a terminal.

    Votes are those of the row; the geometry is measured again, on the stored picture. Only what
    the template wrote is checked: of other annotators' sentences nobody knows the rules.

    Args:
        folder (`Path`): A folder that `emo-llama data build` wrote.
        count (`int`): How many conversations.

    Yields:
        `tuple[str, list[str]]`: The lines, and the sentences that nothing measured backs.

    Raises:
        InputNotFoundError: The folder was not built.
        DataFormatError: It holds no conversations with pictures.
    """
    if not (folder / REPORT).is_file():
        raise InputNotFoundError(
            f"{folder}: expected a folder that `emo-llama data build` wrote. Build one first."
        )
    report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    checked = report["choices"]["annotator"] == "template"
    try:
        rows = load_dataset(str(folder), CONFIGS[1], split="train", streaming=True)
    except ValueError as error:
        raise DataFormatError(
            f"{folder}: holds no conversations ({error}). Build again."
        ) from error
    if "images" not in (rows.column_names or ()):
        raise DataFormatError(f"{folder}: holds no pictures. Name the folder before `data strip`.")
    for row in islice(rows, count):
        names = (*row["labels"], *NO_LABELS)
        votes = dict(zip(names, row["votes"], strict=False))
        geometry = _measured(row["images"][0]) if row["images"] else None
        wrong = unbacked(row["messages"], row["label"], votes, geometry) if checked else []
        yield _text(row, votes, geometry, wrong, checked), wrong


def _measured(image: Image.Image) -> FaceGeometry | None:
    """The geometry of a picture; `None` without a mesh, or where that finds no face."""
    points = mesh_landmarks(image) if usual_source() else None
    return None if points is None else FaceGeometry.from_landmarks(points)


def _text(
    row: dict[str, Any],
    votes: dict[str, int],
    geometry: FaceGeometry | None,
    wrong: list[str],
    checked: bool,
) -> str:
    given = ", ".join(f"{name} {count}" for name, count in votes.items() if count) or "none"
    lines = [f"{row['id']}  {row['label']}", f"  votes: {given}"]
    if geometry is None:
        lines.append("  geometry: not measured")
    else:
        for name in MEASURES:
            value = getattr(geometry, name)
            lines.append(f"  {name:<18}{value:7.4f}  {THIRDS[level(name, value)]}")
        lines.append(f"  {'turn':<18}{geometry.turn:7.4f}  {'aside' if geometry.turned else ''}")
    lines += [f"  {message['role']}: {message['content']}" for message in row["messages"]]
    if checked:
        lines.append(f"  NOT MEASURED: {' | '.join(wrong)}" if wrong else "  every sentence holds")
    return "\n".join(line.rstrip() for line in lines)
