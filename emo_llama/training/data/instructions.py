"""The instruction data of a tuning: which rows an epoch shows, and of which labels they speak.

Reads a folder that `emo-llama data build` wrote, or builds one from a folder of pictures first.
"""

import json
import logging
from pathlib import Path

from datasets import Dataset, concatenate_datasets, get_dataset_config_names, load_dataset
from datasets.exceptions import DatasetsError

from emo_llama.annotate.landmarks import usual_source
from emo_llama.annotate.template import TemplateAnnotator
from emo_llama.cropping import FaceCropper
from emo_llama.dataset_builders.base import CONFIGS
from emo_llama.dataset_builders.build import REPORT, BuildOptions, build_folder
from emo_llama.errors import DataFormatError, InputNotFoundError, UsageError

__all__ = ["InstructionData", "built_instructions"]

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
        for note in done.notes():
            logger.warning(note)
        for problem in done.problems[:SHOWN_PROBLEMS]:
            logger.warning("%s: %s", problem["item"], problem["message"])
        if len(done.problems) > SHOWN_PROBLEMS:
            more = len(done.problems) - SHOWN_PROBLEMS
            logger.warning("and %d more that could not be used; see %s", more, out / REPORT)
    return out


class InstructionData:
    """Built instruction data, opened once for a whole run.

    Args:
        path (`Path`):
            A folder that `emo-llama data build` wrote.

    Attributes:
        path (`Path`): The folder.
        labels (`list[str]`): The label set, in the order of the options.
        splits (`list[str]`): The splits of the category rows.

    Raises:
        DataFormatError: The folder cannot be read.
        UsageError: There is no training split, or it holds no pictures or frames.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._check_clips()
        try:
            configs = get_dataset_config_names(str(path))
            self._configs = {name: load_dataset(str(path), name) for name in configs}
            category = self._configs[CONFIGS[0]]
        except (KeyError, ValueError, OSError, DatasetsError) as error:
            raise DataFormatError(
                f"{path}: expected the configuration {CONFIGS[0]} of built instruction data "
                f"({error}). Build it again: emo-llama data build"
            ) from error
        self.splits = list(category)
        if "train" not in category:
            raise UsageError(f"{path}: no split train. Build it from a folder that has one.")
        if "images" not in category["train"].column_names:
            raise UsageError(
                f"{path}: holds no pictures. Name the folder before `data strip`, or build again."
            )
        self.labels: list[str] = category["train"].select_columns("labels")[0]["labels"]

    def category(self, split: str) -> Dataset:
        """The category rows of a split, as they were built.

        Args:
            split (`str`): Out of `splits`.

        Returns:
            `datasets.Dataset`: All columns.
        """
        return self._configs[CONFIGS[0]][split]

    def longest_conversation(self) -> int:
        """How many questions the longest conversation of the training split has.

        Returns:
            `int`: One at least.
        """
        found = [splits["train"]["messages"] for splits in self._configs.values()]
        return max(len(messages) // 2 for rows in found for messages in rows)

    def rows(self, conversation_share: float, seed: int, split: str = "train") -> Dataset:
        """The rows that are shown in one epoch, mixed.

        Args:
            conversation_share (`float`): Conversation rows that are shown, as a share of all.
            seed (`int`): Of the order.
            split (`str`, *optional*, defaults to `"train"`):
                The split; conversations are of the training split only.

        Returns:
            `datasets.Dataset`: `images`, `messages` and `class`, the index of the row's label.
        """
        parts = []
        for name, splits in self._configs.items():
            if name != CONFIGS[0] and split != "train":
                continue
            rows = splits[split]
            classes = [self.labels.index(label) for label in rows["label"]]
            rows = rows.select_columns(["images", "messages"]).add_column("class", classes)
            if name != CONFIGS[0]:
                count = round(conversation_share * len(rows))
                rows = rows.shuffle(seed=seed).select(range(count))
            parts.append(rows)
        return concatenate_datasets(parts).shuffle(seed=seed)

    def _check_clips(self) -> None:
        """Whole clips are refused before `datasets` copies them into its cache."""
        report = self.path / REPORT
        known = json.loads(report.read_text(encoding="utf-8")) if report.is_file() else {}
        if "sha256" in known and known["choices"]["clips"] == "bytes":
            raise UsageError(
                f"{self.path}: holds whole clips. For training build with --clips frames."
            )
