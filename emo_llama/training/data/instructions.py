"""The instruction data of a tuning: which rows an epoch shows, and of which labels they speak.

Reads a folder that `emo-llama data build` wrote, or builds one from a folder of pictures first.
"""

import logging
from pathlib import Path

from datasets import Dataset, concatenate_datasets, get_dataset_config_names, load_dataset
from datasets.exceptions import DataFilesNotFoundError

from emo_llama.annotate.landmarks import usual_source
from emo_llama.annotate.template import TemplateAnnotator
from emo_llama.cropping import FaceCropper
from emo_llama.dataset_builders.base import CONFIGS
from emo_llama.dataset_builders.build import REPORT, BuildOptions, build_folder
from emo_llama.errors import DataFormatError, InputNotFoundError, UsageError

__all__ = ["built_instructions", "label_set", "splits", "training_rows"]

logger = logging.getLogger(__name__)

SHOWN_PROBLEMS = 5


def built_instructions(data: Path, work_dir: Path) -> Path:
    """The instruction data of a folder, built first where it holds pictures.

    Args:
        data (`Path`): What `emo-llama data build` wrote, or a folder as its `folder` takes one.
        work_dir (`Path`): Where the data are built; what is there already is used.

    Returns:
        `Path`: The built folder.

    Raises:
        InputNotFoundError: There is no such folder, or nothing in it is labelled.
        DataFormatError: Not one picture could be used.
    """
    if (data / REPORT).is_file():
        return data
    if not data.is_dir():
        raise InputNotFoundError(
            f"{data}: no such folder. Name one that `emo-llama data build` wrote, or one with a "
            "sub-folder of pictures for each class."
        )
    out = work_dir / "data"
    if not (out / REPORT).is_file():
        annotator = TemplateAnnotator(usual_source())
        options = BuildOptions(faces="auto")
        done = build_folder(
            "folder", data, out, annotator, options, cropper=FaceCropper(), resume=True
        )
        for problem in done.problems[:SHOWN_PROBLEMS]:
            logger.warning("%s: %s", problem["item"], problem["message"])
        if len(done.problems) > SHOWN_PROBLEMS:
            more = len(done.problems) - SHOWN_PROBLEMS
            logger.warning("and %d more that could not be used; see %s", more, out / REPORT)
    return out


def splits(data: Path) -> list[str]:
    """The splits of built instruction data.

    Args:
        data (`Path`): The built folder.

    Returns:
        `list[str]`: Their names.

    Raises:
        DataFormatError: The folder cannot be read.
    """
    try:
        return list(load_dataset(str(data), CONFIGS[0], streaming=True))
    except (ValueError, FileNotFoundError, DataFilesNotFoundError) as error:
        raise DataFormatError(
            f"{data}: expected the configuration {CONFIGS[0]} of built instruction data ({error}). "
            "Build it again: emo-llama data build"
        ) from error


def label_set(data: Path) -> list[str]:
    """The labels that built instruction data speak of.

    Args:
        data (`Path`): The built folder.

    Returns:
        `list[str]`: In the order of the options.

    Raises:
        UsageError: There is no training split, or it holds no pictures or frames.
    """
    if "train" not in splits(data):
        raise UsageError(f"{data}: no split train. Build it from a folder that has one.")
    row = next(iter(load_dataset(str(data), CONFIGS[0], split="train", streaming=True)))
    if "images" not in row:
        raise UsageError(
            f"{data}: holds no pictures. Name the folder before `data strip`, or build again."
        )
    if "videos" in row:
        raise UsageError(f"{data}: holds whole clips. For training build with --clips frames.")
    return row["labels"]


def training_rows(
    data: Path, conversation_share: float, seed: int, split: str = "train"
) -> Dataset:
    """The rows that are shown in one epoch, mixed.

    Args:
        data (`Path`): The built folder.
        conversation_share (`float`): Conversation rows that are shown, as a share of all.
        seed (`int`): Of the order.
        split (`str`, *optional*, defaults to `"train"`):
            The split; conversations are of the training split only.

    Returns:
        `datasets.Dataset`: `images`, `messages` and `class`, the index of the row's label.
    """
    labels = label_set(data)
    parts = []
    is_training = split == "train"
    for config in get_dataset_config_names(str(data)) if is_training else CONFIGS[:1]:
        rows = load_dataset(str(data), config, split=split)
        classes = [labels.index(label) for label in rows["label"]]
        rows = rows.select_columns(["images", "messages"]).add_column("class", classes)
        if config != CONFIGS[0]:
            count = round(conversation_share * len(rows))
            rows = rows.shuffle(seed=seed).select(range(count))
        parts.append(rows)
    return concatenate_datasets(parts).shuffle(seed=seed)
