"""Writes a built data set: a Parquet folder with a README that `load_dataset` and the Hub read.

Everything is written beside the final place and renamed when it is complete, so that a folder of
the final name is always whole. What a run that was cut off has finished stays there, and `resume`
goes on behind it.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from emo_llama.dataset_builders.affectnet import AffectNet
from emo_llama.dataset_builders.base import CONFIGS, ExpressionBuilder
from emo_llama.dataset_builders.card import Counts, dataset_card
from emo_llama.dataset_builders.crops import Cropper
from emo_llama.dataset_builders.dfew import Dfew
from emo_llama.dataset_builders.ferplus import FerPlus
from emo_llama.dataset_builders.ferv39k import Ferv39k
from emo_llama.dataset_builders.folder import Folder
from emo_llama.dataset_builders.mafw import Mafw
from emo_llama.dataset_builders.options import BuildOptions
from emo_llama.dataset_builders.rafdb import RafDb
from emo_llama.dataset_builders.schema import Annotator
from emo_llama.dataset_builders.sharding import Shard, built_entries, write_split
from emo_llama.errors import DataFormatError, EmoLlamaError, UsageError
from emo_llama.files import only_run, write_text

__all__ = ["BUILDERS", "BuildOptions", "Built", "build_folder", "make_builder"]

BUILDERS: dict[str, type[ExpressionBuilder]] = {
    builder.NAME: builder for builder in (FerPlus, RafDb, AffectNet, Dfew, Ferv39k, Mafw, Folder)
}
"""The data sets that can be built, by name."""

REPORT = "report.json"


@dataclass(frozen=True, slots=True)
class Built:
    """What a build did.

    Args:
        counts (`dict[str, dict[str, Counter[str]]]`):
            For each configuration and split: what became of the items, and the labels written.
        labels (`tuple[str, ...]`):
            The label set, in order.
        problems (`list[dict[str, str]]`):
            Items that could not be used, each with `split`, `item`, `reason`, `message`.
        renamed (`dict[str, str]`, *optional*):
            Labels of the user's own, and the project's names in their place.
    """

    counts: Counts
    labels: tuple[str, ...]
    problems: list[dict[str, str]]
    renamed: dict[str, str] = field(default_factory=dict)

    def notes(self) -> list[str]:
        """`list[str]`: What the user should know of a build that went well; a sentence each."""
        return [
            f"the label {given!r} is built as {label!r}, this project's name of it"
            for given, label in self.renamed.items()
        ]


def make_builder(
    name: str,
    config: str,
    root: str | Path,
    options: BuildOptions | None = None,
    annotator: Annotator | None = None,
    cache_dir: str | Path | None = None,
    cropper: Cropper | None = None,
) -> ExpressionBuilder:
    """The builder of a data set.

    Args:
        name (`str`): Name in `BUILDERS`.
        config (`str`): `"category"` or `"conversation"`.
        root (`str` or `Path`): Folder of the official files.
        options (`BuildOptions`, *optional*): Choices.
        annotator (`Annotator`, *optional*): Needed for conversations.
        cache_dir (`str` or `Path`, *optional*): Where `datasets` may keep files.
        cropper (`Cropper`, *optional*): Finds the faces, where the options ask for them.

    Returns:
        `ExpressionBuilder`: Ready to give entries and rows.

    Raises:
        UsageError: The data set or one of the choices is not known.
    """
    if name not in BUILDERS:
        raise UsageError(f"{name}: no data set of that name; known are {', '.join(BUILDERS)}")
    return BUILDERS[name](
        cache_dir=None if cache_dir is None else str(cache_dir),
        dataset_name=name,
        config_name=config,
        config_id=f"{name}-{config}",  # must not depend on the annotator
        data_dir=str(root),
        annotator=annotator,
        cropper=cropper,
        **asdict(options or BuildOptions()),
    )


def build_folder(
    name: str,
    root: str | Path,
    out: str | Path,
    annotator: Annotator,
    options: BuildOptions | None = None,
    *,
    cropper: Cropper | None = None,
    num_proc: int = 1,
    resume: bool = False,
) -> Built:
    """Build a data set's instruction data into a new folder.

    Args:
        name (`str`):
            Name in `BUILDERS`.
        root (`str` or `Path`):
            Folder of the data set's official files.
        out (`str` or `Path`):
            The folder to write; it must not exist, or be empty.
        annotator (`Annotator`):
            Writes the conversations.
        options (`BuildOptions`, *optional*):
            Choices that change what is built.
        cropper (`Cropper`, *optional*):
            Finds the faces where the options ask for them, as [`~emo_llama.cropping.FaceCropper`].
        num_proc (`int`, *optional*, defaults to 1):
            Processes.
        resume (`bool`, *optional*, defaults to `False`):
            Go on with what a run that was cut off has left beside `out`.

    Returns:
        `Built`: Counts and problems.

    Raises:
        UsageError: A choice is not known, `out` holds something already, an unfinished build of
            other choices lies beside it, or another build is writing it.
        InputNotFoundError: A file of the data set is missing.
        DataFormatError: A file of the data set is damaged, or nothing in it could be used.
    """
    out, options = Path(out), options or BuildOptions()
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UsageError(f"{out}: exists already; remove it or name another folder to write")
    choices = {"name": name, **asdict(options), **annotator.provenance()}
    with only_run(out), _beside(out, choices, resume) as work:
        whole, counts, shards = work / "folder", {}, {}
        for config in CONFIGS:
            builder = make_builder(name, config, root, options, annotator, work / "cache", cropper)
            splits = builder.configured_splits()
            if config == CONFIGS[1]:
                _prepare(builder, annotator, whole / CONFIGS[0])
            shards[config] = {
                split: write_split(builder, split, whole / config, num_proc) for split in splits
            }
            counts[config] = {split: _total(parts) for split, parts in shards[config].items()}
        if not sum(count["written"] for count in counts[CONFIGS[0]].values()):
            raise DataFormatError(_nothing(name, shards))
        annotator.counts = _sum(s.annotated for s in shards[CONFIGS[1]].get("train", []))
        problems = _problems(shards)
        told = _worth_telling(options)
        card = dataset_card(builder, counts, annotator, told, _digest(shards))
        (whole / "README.md").write_text(card, encoding="utf-8")
        _write_report(whole / REPORT, choices, counts, shards, problems, builder.renamed)
        for note in whole.glob("*/*.json"):
            note.unlink()
        whole.replace(out)
    return Built(counts, builder.labels, problems, builder.renamed)


def _prepare(builder: ExpressionBuilder, annotator: Annotator, built: Path) -> None:
    """Let the annotator see all training records before the rows are built."""
    for split in builder.configured_splits():
        annotator.prepare(builder.records(built_entries(builder, split, built), Counter()))


@contextmanager
def _beside(out: Path, choices: dict[str, Any], resume: bool) -> Iterator[Path]:
    """A working folder on the same file system as `out`; it stays where a build was cut off.

    An error of the data or of the user's takes it away only if no shard was finished.
    """
    work = out.with_name(f".{out.name}.unfinished")
    settings = work / "choices.json"
    if settings.is_file():
        if not resume:
            raise UsageError(
                f"{work}: an earlier build was cut off. Go on by --resume, or remove that folder."
            )
        if (known := json.loads(settings.read_text(encoding="utf-8"))) != choices:
            differs = sorted(k for k in {*known, *choices} if known.get(k) != choices.get(k))
            raise UsageError(
                f"{work}: an earlier build was begun with another {', '.join(differs)}. Use the "
                "same choices, or remove that folder."
            )
    try:
        work.mkdir(parents=True, exist_ok=True)
        write_text(settings, json.dumps(choices))
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error}); name another folder") from error
    try:
        yield work
    except EmoLlamaError:
        if not any(work.glob("folder/*/*.json")):
            shutil.rmtree(work)
        raise
    shutil.rmtree(work)


def _total(shards: list[Shard]) -> Counter[str]:
    return _sum(shard.counts for shard in shards)


def _digest(shards: dict[str, dict[str, list[Shard]]]) -> str:
    """One checksum of everything that was written."""
    whole = hashlib.sha256()
    for splits in shards.values():
        for parts in splits.values():
            whole.update("".join(shard.sha256 for shard in parts).encode())
    return whole.hexdigest()


def _sum(counts: Any) -> Counter[str]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return total


def _problems(shards: dict[str, dict[str, list[Shard]]]) -> list[dict[str, str]]:
    """Every item that could not be used; one that both configurations met is told once."""
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for splits in shards.values():
        for split, parts in splits.items():
            for problem in (problem for shard in parts for problem in shard.problems):
                found.setdefault((split, *problem.values()), {"split": split, **problem})
    return list(found.values())


def _nothing(name: str, shards: dict[str, dict[str, list[Shard]]]) -> str:
    """Why nothing was built, with the first reasons."""
    reasons = [f"{p['item']}: {p['message']}" for p in _problems(shards)[:3]]
    found = "; ".join(reasons) or "the tables name no item"
    return f"{name}: not one item could be used ({found}). Check the root and the files below it."


def _worth_telling(options: BuildOptions) -> dict[str, Any]:
    """Choices that differ from the defaults, and whether repeats stay."""
    usual = asdict(BuildOptions())
    chosen = {k: v for k, v in asdict(options).items() if v != usual[k] and k != "rule"}
    return {"keep_repeats": options.keep_repeats} | chosen


def _write_report(
    path: Path,
    choices: dict[str, Any],
    counts: Counts,
    shards: dict[str, dict[str, list[Shard]]],
    problems: list[dict[str, str]],
    renamed: dict[str, str],
) -> None:
    """Provenance, counts, checksums and problems."""
    report = {
        "builder": f"emo-llama {version('emo-llama')}",
        "choices": choices,
        "pictures_may_be_shared": BUILDERS[choices["name"]].PICTURES_MAY_BE_SHARED,
        "counts": counts,
        "sha256": {
            f"{config}/{shard.file}": shard.sha256
            for config, splits in shards.items()
            for parts in splits.values()
            for shard in parts
            if shard.file
        },
        "renamed": renamed,
        "problems": problems,
    }
    path.write_text(json.dumps(report, indent=1), encoding="utf-8")
