"""Writes the rows of a builder as Parquet shards, in several processes, and goes on after a kill.

A shard is a fixed run of items. Beside each lies a small JSON file that says what became of its
items; it is written last, so a shard that has one is whole and is never written again.
"""

import hashlib
import itertools
import json
import multiprocessing
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path

from datasets.arrow_writer import ParquetWriter
from tqdm import tqdm

from emo_llama.dataset_builders.base import Entry, ExpressionBuilder, LeftOut
from emo_llama.files import write_text

__all__ = ["Shard", "write_split"]

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
    return [Shard(**json.loads(note.read_text(encoding="utf-8"))) for note in notes]


def _unwritten(
    builder: ExpressionBuilder, split: str, folder: Path, bar: tqdm
) -> Iterator[tuple[list[Entry], Path]]:
    """Runs of items of which the shard is missing, each with the shard's path."""
    entries = builder.entries(split)
    for number in itertools.count():
        chunk = list(itertools.islice(entries, builder.SHARD_ITEMS))
        if not chunk:
            return
        path = folder / f"{builder.NAME}-{split}-{number:05d}.parquet"
        if path.with_suffix(".json").is_file():
            bar.update(len(chunk))
        else:
            yield chunk, path


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
    for _, row in builder.rows(split, chunk, counts, problems):
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
