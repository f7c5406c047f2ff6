"""Writes a built data set: a Parquet folder with a README that `load_dataset` and the Hub read.

Everything is written beside the final place and renamed when it is complete, so that a folder of
the final name is always whole.
"""

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import datasets
import yaml
from datasets.exceptions import DatasetGenerationError

from emo_llama.dataset_builders.ferplus import FerPlus
from emo_llama.dataset_builders.schema import Annotator
from emo_llama.errors import EmoLlamaError, UsageError
from emo_llama.labels import LABEL_SETS

__all__ = ["BUILDERS", "CONFIGS", "BuildOptions", "build_folder"]

BUILDERS: dict[str, type[datasets.GeneratorBasedBuilder]] = {"ferplus": FerPlus}
"""The data sets that can be built, by name."""

CONFIGS = ("category", "conversation")
"""Configurations of every built data set; the first is the default."""

Counts = Mapping[str, Mapping[str, Counter[str]]]


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """Choices that change what is built.

    Args:
        rule (`str`, *optional*, defaults to `"majority"`):
            How a label follows from the votes: `"majority"` or `"argmax"`.
        keep_repeats (`bool`, *optional*, defaults to `False`):
            Whether training rows stay whose very picture is held out too.
    """

    rule: str = "majority"
    keep_repeats: bool = False


def build_folder(
    name: str,
    root: str | Path,
    out: str | Path,
    annotator: Annotator,
    options: BuildOptions | None = None,
) -> Counts:
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

    Returns:
        `dict[str, dict[str, Counter[str]]]`: For each configuration and split, how many rows were
        read, left out and written, in all and by label.

    Raises:
        UsageError: The data set is not known, or `out` holds something already.
        InputNotFoundError: A file of the data set is missing.
        DataFormatError: A file of the data set is damaged.
    """
    out, options = Path(out), options or BuildOptions()
    if name not in BUILDERS:
        raise UsageError(f"{name}: no data set of that name; known are {', '.join(BUILDERS)}")
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UsageError(f"{out}: exists already; remove it or name another folder to write")
    with _beside(out) as work:
        whole = work / "folder"
        counts, info = {}, datasets.DatasetInfo()
        for config in CONFIGS:
            builder = _builder(name, config, work, Path(root), annotator, options)
            _prepare(builder, whole / config, work / "prepared" / config)
            counts[config], info = builder.counts, builder.info
        card = _front_matter(name, counts) + _card(name, info, options, annotator, counts)
        (whole / "README.md").write_text(card, encoding="utf-8")
        whole.replace(out)
    return counts


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A working folder on the same file system as `out`, gone afterwards."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        work = tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent)
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error}); name another folder") from error
    with work as path:
        yield Path(path)


def _builder(
    name: str, config: str, work: Path, root: Path, annotator: Annotator, options: BuildOptions
) -> datasets.GeneratorBasedBuilder:
    """A builder that caches nothing outside `work`; its id must not depend on the annotator."""
    return BUILDERS[name](
        cache_dir=str(work / "cache"),
        dataset_name=name,
        config_name=config,
        config_id=f"{name}-{config}",
        data_dir=str(root),
        rule=options.rule,
        keep_repeats=options.keep_repeats,
        annotator=annotator,
    )


def _prepare(builder: datasets.GeneratorBasedBuilder, target: Path, work: Path) -> None:
    """Write the Parquet files of one configuration, and nothing else, into `target`."""
    try:
        builder.download_and_prepare(str(work), file_format="parquet")
    except DatasetGenerationError as error:
        if isinstance(error.__cause__, EmoLlamaError):
            raise error.__cause__ from None
        raise
    target.mkdir(parents=True)
    for file in sorted(work.glob("*.parquet")):
        shutil.move(file, target / file.name)


def _front_matter(name: str, counts: Counts) -> str:
    """The YAML head from which `load_dataset` and the Hub learn the configurations."""
    configs = [
        {
            "config_name": config,
            **({"default": True} if config == CONFIGS[0] else {}),
            "data_files": [
                {"split": split, "path": f"{config}/{name}-{split}*.parquet"} for split in splits
            ],
        }
        for config, splits in counts.items()
    ]
    rows = sum(split["written"] for split in counts[CONFIGS[0]].values())
    sizes = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M")
    size = sizes[sum(rows >= bound for bound in (1_000, 10_000, 100_000))]
    head = {
        "pretty_name": f"EMO-LLaMA instructions from {name}",
        "language": ["en"],
        "license": "other",
        "task_categories": ["image-text-to-text", "image-classification"],
        "tags": ["facial-expression-recognition", "instruction-tuning"],
        "size_categories": [size],
        "configs": configs,
    }
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n"


def _card(
    name: str,
    info: datasets.DatasetInfo,
    options: BuildOptions,
    annotator: Annotator,
    counts: Counts,
) -> str:
    """The text below the head: what this is, how it was made, its statistics and its licence."""
    repeats = "kept" if options.keep_repeats else "left out"
    return f"""
# Instruction data from {name}

{info.description} Written by `emo-llama data build {name}`. Source: {info.homepage}

- Label rule: `{options.rule}`. Rows without a label under the rule are left out.
- Training rows whose very picture is in the validation or test split: {repeats}.
- `category`: a question with the options in braces, answered by the bare label. Training varies the
  wording in every second row; validation and test always ask in the first wording.
- `conversation`: the training rows again, with one or two turns about what the face shows.
  {annotator.summary()}

```python
from datasets import load_dataset

rows = load_dataset("this folder", "category", split="train")
```

## Rows

{_statistics(name, counts[CONFIGS[0]])}

Columns: `id`; `images`; `messages` (role, content); `label`; `labels` (the label set, in order);
`votes` (how many annotators chose each label, then unknown and not-a-face); `rule`; `source`.

## Licence and limits

{info.license}

Labels are what annotators saw in a face, not what the person felt. Votes disagree on many faces.
"""


def _statistics(name: str, splits: Mapping[str, Counter[str]]) -> str:
    """A Markdown table of the counts of every split."""
    lines = ["read", "without a label", "repeats dropped", "written", *LABEL_SETS[name]]
    table = [f"| | {' | '.join(splits)} |", "|---" * (len(splits) + 1) + "|"]
    for line in lines:
        table.append(f"| {line} | {' | '.join(f'{c[line]:,}' for c in splits.values())} |")
    return "\n".join(table)
