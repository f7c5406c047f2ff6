"""Built data without its pictures, and the way back.

Most data sets forbid to hand their pictures on, while questions and answers are the writer's own.
[`strip_pictures`] takes the pictures out of a built folder; whoever holds the data set puts them
back with [`join_pictures`], by the id of each row.
"""

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
from datasets import Features
from datasets.arrow_writer import ParquetWriter
from datasets.exceptions import DatasetGenerationError
from huggingface_hub import DatasetCard

from emo_llama.dataset_builders.base import Item
from emo_llama.dataset_builders.build import REPORT, BuildOptions, make_builder
from emo_llama.dataset_builders.crops import Cropper
from emo_llama.dataset_builders.schema import CLIP_FEATURES, FEATURES
from emo_llama.errors import DataFormatError, EmoLlamaError, InputNotFoundError
from emo_llama.files import complete_folder

__all__ = ["join_pictures", "strip_pictures"]

MEDIA = ("images", "videos")
BATCH_ROWS = 512


def strip_pictures(folder: str | Path, out: str | Path) -> None:
    """Copy a built folder without pictures and clips.

    Args:
        folder (`str` or `Path`):
            A folder that `emo-llama data build` wrote.
        out (`str` or `Path`):
            The folder to write; it must not exist.

    Raises:
        InputNotFoundError: `folder` was not built.
        UsageError: `out` exists.
    """
    folder, out = Path(folder), Path(out)
    report = _report(folder)
    with complete_folder(out) as partial:
        for shard in sorted(folder.glob("*/*.parquet")):
            target = partial / shard.relative_to(folder)
            target.parent.mkdir(exist_ok=True)
            _strip_shard(shard, target)
        report.pop("sha256", None)
        (partial / REPORT).write_text(json.dumps(report, indent=1), encoding="utf-8")
        card = DatasetCard((folder / "README.md").read_text(encoding="utf-8"))
        for config in card.data.get("configs"):
            config["description"] = f"without pictures, of {config['description']}"
        card.text += _HOW_TO_JOIN
        card.save(partial / "README.md")


_HOW_TO_JOIN = """
## Pictures

This copy holds no pictures. Whoever holds the data set puts them back:

```python
from emo_llama.dataset_builders.stripping import join_pictures

rows = join_pictures("this folder", "folder of the official files", "category", "train")
```
"""


def join_pictures(
    folder: str | Path,
    root: str | Path,
    config: str = "category",
    split: str = "train",
    cropper: Cropper | None = None,
) -> datasets.Dataset:
    """Put the pictures of one's own copy of a data set back to their annotations.

    Args:
        folder (`str` or `Path`):
            A folder that [`strip_pictures`] wrote, or the same from the Hub.
        root (`str` or `Path`):
            Folder of the data set's official files.
        config (`str`, *optional*, defaults to `"category"`):
            `"category"` or `"conversation"`.
        split (`str`, *optional*, defaults to `"train"`):
            The split.
        cropper (`Cropper`, *optional*):
            Needed where the folder was built with `--faces detect` or `auto`.

    Returns:
        `datasets.Dataset`: The rows in the columns of a built folder, in the official order.

    Raises:
        InputNotFoundError: `folder` was not built, or a file of the data set is missing.
        DataFormatError: An annotated item is not in the data set below `root`.
    """
    folder = Path(folder)
    choices = _report(folder)["choices"]
    features = CLIP_FEATURES if choices["clips"] == "bytes" else FEATURES
    settings = {
        "folder": str(folder),
        "root": str(root),
        "config": config,
        "split": split,
        "cropper": cropper,
        "made": (folder / REPORT).stat().st_mtime_ns,  # of another copy: not out of the cache
    }
    try:
        return datasets.Dataset.from_generator(_joined, features=features, gen_kwargs=settings)
    except DatasetGenerationError as error:
        if isinstance(error.__cause__, EmoLlamaError):
            raise error.__cause__ from None
        raise


def _joined(
    folder: str, root: str, config: str, split: str, cropper: Cropper | None, made: int
) -> Iterator[dict[str, Any]]:
    """Annotations with the pictures of the items that they are about."""
    choices = _report(Path(folder))["choices"]
    names = [option.name for option in fields(BuildOptions)]
    options = BuildOptions(**{name: choices[name] for name in names if name in choices})
    rows = datasets.load_dataset(folder, config, split=split)
    places = {name: place for place, name in enumerate(rows["id"])}
    builder = make_builder(choices["name"], "category", root, options, cropper=cropper)
    for index, item in builder.entries(split):
        if not isinstance(item, Item):
            continue
        place = places.pop(f"{builder.NAME}-{item.key}", None)
        if place is not None:
            record = builder.load(item, index)
            yield rows[place] | _media(record.images, record.video)
    if places:
        raise DataFormatError(
            f"{root}: {len(places):,} annotated items are not there, the first is "
            f"{next(iter(places))}. Name the folder of the complete data set."
        )


def _media(images: tuple[bytes, ...], video: bytes) -> dict[str, Any]:
    if video:
        return {"images": [], "videos": [{"bytes": video, "path": None}]}
    return {"images": [{"bytes": image, "path": None} for image in images]}


def _strip_shard(shard: Path, target: Path) -> None:
    """Copy one Parquet file without the columns that hold media."""
    kept = Features({name: kind for name, kind in FEATURES.items() if name not in MEDIA})
    writer = ParquetWriter(features=kept, path=str(target))
    for batch in pq.ParquetFile(shard).iter_batches(batch_size=BATCH_ROWS, columns=list(kept)):
        writer.write_batch(batch.to_pydict())
    writer.finalize()


def _report(folder: Path) -> dict[str, Any]:
    path = folder / REPORT
    if not path.is_file():
        raise InputNotFoundError(
            f"{folder}: expected a folder that `emo-llama data build` wrote, with {REPORT} in it. "
            "Name one, or build it."
        )
    return json.loads(path.read_text(encoding="utf-8"))
