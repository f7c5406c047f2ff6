"""Writes the rows of a builder as Parquet shards, in several processes, and goes on after a kill.

A shard is a fixed run of items. Beside each lies a small JSON file that says what became of its
items; it is written last, so a shard that has one is whole and is never written again.
"""

import hashlib
import itertools
import json
import multiprocessing
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pyarrow.parquet as pq
from datasets.arrow_writer import ParquetWriter
from tqdm import tqdm

from emo_llama.dataset_builders.base import (
    CONFIGS,
    KEPT_WHOLE,
    Entry,
    ExpressionBuilder,
    Item,
    LeftOut,
)
from emo_llama.files import write_text

__all__ = ["Shard", "built_entries", "write_split"]

WRITER_ROWS = 64
"""Rows that are held before they are written; bounds the memory, since a row holds pictures."""


@dataclass(frozen=True, slots=True)
class Shard:
    """What one shard holds.

    Args:
        file (`str`): Name of the Parquet file; empty where no row was written.
        sha256 (`str`): Of the file.
        counts (`dict[str, int]`): What became of its items.
        annotated (`dict[str, int]`): What its annotator counted.
        problems (`list[dict]`): Items that could not be used.
    """

    file: str
    sha256: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    annotated: dict[str, int] = field(default_factory=dict)
    problems: list[dict[str, str]] = field(default_factory=list)


def write_split(
    builder: ExpressionBuilder, split: str, folder: Path, num_proc: int = 1
) -> list[Shard]:
    """Write every shard of a split that is not there yet.

    Args:
        builder (`ExpressionBuilder`):
            The builder.
        split (`str`):
            The split.
        folder (`Path`):
            Where the shards go.
        num_proc (`int`, *optional*, defaults to 1):
            Processes that read media and write shards.

    Returns:
        `list[Shard]`: The shards in order, those of an earlier run included.

    Raises:
        DataFormatError: A table of the data set is damaged; the shards so far stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tqdm(desc=f"{builder.config.name} {split}", unit=" items", disable=None) as bar:
        if num_proc == 1:
            for chunk, path in _unwritten(builder, split, folder, bar):
                _write_shard(builder, split, chunk, path)
                bar.update(len(chunk))
        else:
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(num_proc, mp_context=context) as pool:
                _write_in_pool(pool, num_proc, builder, split, folder, bar)
    notes = sorted(folder.glob(f"{builder.NAME}-{split}-*.json"))
    return [_read_note(note) for note in notes]


def built_entries(builder: ExpressionBuilder, split: str, folder: Path) -> Iterator[Entry]:
    """The items of a split with the pictures that were built of them.

    Args:
        builder (`ExpressionBuilder`): The builder.
        split (`str`): The split.
        folder (`Path`): The finished shards of its first configuration.

    Yields:
        `tuple[int, Item or LeftOut]`: As the builder's `entries`, in their order.
    """
    for chunk, path in _runs(builder, split, folder):
        yield from _with_pictures(builder, chunk, path)


def _runs(
    builder: ExpressionBuilder, split: str, folder: Path
) -> Iterator[tuple[list[Entry], Path]]:
    """Runs of items, each with the path of its shard."""
    entries = builder.entries(split)
    for number in itertools.count():
        chunk = list(itertools.islice(entries, builder.SHARD_ITEMS))
        if not chunk:
            return
        yield chunk, folder / f"{builder.NAME}-{split}-{number:05d}.parquet"


def _unwritten(
    builder: ExpressionBuilder, split: str, folder: Path, bar: tqdm
) -> Iterator[tuple[list[Entry], Path]]:
    """Runs of items of which the shard is missing."""
    for chunk, path in _runs(builder, split, folder):
        if path.with_suffix(".json").is_file():
            bar.update(len(chunk))
        else:
            yield chunk, path


def _with_pictures(builder: ExpressionBuilder, chunk: list[Entry], path: Path) -> Iterator[Entry]:
    """The items of a finished shard with what it holds of them, read row by row."""
    shard = _read_note(path)
    faults = {problem["item"]: LeftOut(**problem) for problem in shard.problems}
    rows = _pictures(path) if shard.file else iter(())
    name, images = next(rows, ("", ()))
    for index, item in chunk:
        if isinstance(item, Item) and name == f"{builder.NAME}-{item.key}":
            yield index, replace(item, images=images)
            name, images = next(rows, ("", ()))
        elif isinstance(item, Item):
            yield index, faults.get(item.key, LeftOut("unreadable files", item.key))
        else:
            yield index, item


def _pictures(path: Path) -> Iterator[tuple[str, tuple[bytes, ...]]]:
    """Id and encoded pictures of each row of a shard."""
    for batch in pq.ParquetFile(path).iter_batches(WRITER_ROWS, columns=["id", "images"]):
        for row in batch.to_pylist():
            yield row["id"], tuple(image["bytes"] for image in row["images"])


def _read_note(path: Path) -> Shard:
    """What the note beside a shard says of it."""
    return Shard(**json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))


def _write_in_pool(
    pool: Executor, limit: int, builder: ExpressionBuilder, split: str, folder: Path, bar: tqdm
) -> None:
    """Keep every process busy, and no more runs of items in memory than that takes."""
    running: dict[Future[None], int] = {}
    for chunk, path in _unwritten(builder, split, folder, bar):
        running[pool.submit(_write_shard, builder, split, chunk, path)] = len(chunk)
        if len(running) > limit:
            _collect(running, bar)
    while running:
        _collect(running, bar)


def _collect(running: dict[Future[None], int], bar: tqdm) -> None:
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        bar.update(running.pop(future))
        future.result()


def _write_shard(builder: ExpressionBuilder, split: str, chunk: list[Entry], path: Path) -> None:
    """Write one shard and, last, the note of what is in it."""
    counts, problems = Counter[str](), list[LeftOut]()
    annotator = builder.config.annotator
    if annotator is not None:
        annotator.counts = Counter()
    partial = path.with_suffix(".part")
    writer = ParquetWriter(
        features=builder.info.features, path=str(partial), writer_batch_size=WRITER_ROWS
    )
    entries: Iterable[Entry] = chunk
    if builder.config.name != CONFIGS[0]:  # its pictures are read, and faces found, only once
        first = path.parent.with_name(CONFIGS[0]) / path.name
        entries = _with_pictures(builder, chunk, first)
        kept = _read_note(first).counts
        counts.update({name: kept[name] for name in (KEPT_WHOLE,) if name in kept})
    for _, row in builder.rows(split, entries, counts, problems):
        writer.write(row)
    if counts["written"]:
        writer.finalize()
        partial.replace(path)
    else:
        writer.close()
        partial.unlink(missing_ok=True)
    shard = Shard(
        path.name if counts["written"] else "",
        _sha256(path) if counts["written"] else "",
        dict(counts),
        {} if annotator is None else dict(annotator.counts),
        [asdict(problem) for problem in problems],
    )
    write_text(path.with_suffix(".json"), json.dumps(asdict(shard)))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
