"""DFEW: clips of films, seven expressions, five official folds.

Reads `EmoLabel_DataSplit/{train,test}(single-labeled)/set_N.csv`, which number the clips, and takes
each clip from a folder of frames below `Clip` or from `Clip/original`. No official copy was at
hand: it accepts the names in the README of the archives and those met in public loaders, with clip
numbers padded to five digits or not. The folds leave out clips in which no face was found; the
votes in `annotation.xlsx` are not read.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from emo_llama.dataset_builders.clip_builder import ClipBuilder, ListedClip, clip_stem
from emo_llama.dataset_builders.synthetic_clips import in_test, write_clip, write_frames
from emo_llama.dataset_builders.tables import csv_columns
from emo_llama.errors import DataFormatError
from emo_llama.labels import DFEW

__all__ = ["Dfew"]


class Dfew(ClipBuilder):
    """Builds instruction data from DFEW; `data_dir` is the folder that holds `Clip`."""

    NAME = "dfew"
    SUMMARY = "Clips of films with one of seven expressions each, in five folds (DFEW)."
    SIZE = "16,372 clips, 11,697 of them in the folds"
    NEEDS = "EmoLabel_DataSplit/ and Clip/ (original, clip_224x224, clip_224x224_16f or jpg_256)"
    OBTAIN = (
        "sign the agreement at dfew-dataset.github.io, unpack the archives that its authors send "
        "into one folder, and name that folder"
    )
    HOMEPAGE = "https://dfew-dataset.github.io/"
    LICENCE = (
        "Given out under a signed agreement, for research and teaching that is not commercial; "
        "its authors do not own the films. Nothing of it may be passed on: do not publish this "
        "folder, give others the command that builds it."
    )
    LABELS = DFEW
    FOLDS = 5
    TABLES = (
        "EmoLabel_DataSplit/{split}(single-labeled)/set_{fold}.csv",
        "EmoLabel_DataSplit/{split}(single_labeled)/set_{fold}.csv",
        "EmoLabel_DataSplit/{split}/set_{fold}.csv",
        "label/single_{split}set_{fold}.csv",
    )
    VIDEOS = ("Clip/original", "Clip/original/*part*", "Clip/clip_224x224_avi")
    FRAMES = (
        "Clip/jpg_256",
        "Clip/clip_224x224",
        "Clip/clip_224x224/*part*",
        "Clip/clip_224x224_16f",
        "data",
    )

    def read_table(self, path: Path) -> Iterator[ListedClip]:
        """Every clip of one split; a clip's number is its key, five digits."""
        rows = csv_columns(path, ("video_name", "label"), self.OBTAIN)
        for line, (name, label) in enumerate(rows, 2):
            stem = clip_stem(name)
            if not stem or not label:
                raise DataFormatError(
                    f"{path}, line {line}: expected a clip's number and its label, found "
                    f"{name!r} and {label!r}. {self.OBTAIN}."
                )
            number = stem.lstrip("0") or "0"
            names = (number.zfill(5), number) if number.isdecimal() else (stem,)
            yield ListedClip(names[0], label, names)

    @classmethod
    def write_synthetic(cls, root: Path, per_class: int = 2) -> None:
        """All five folds, each clip as an mp4 file and as frames.

        Args:
            root (`Path`): Folder to write.
            per_class (`int`, *optional*, defaults to 2): Clips of each class and split.
        """
        clips = [
            (copy, label_id, label)
            for copy in range(2 * per_class)
            for label_id, label in enumerate(DFEW, 1)
        ]
        for number, (_, _, label) in enumerate(clips, 1):
            frames = root / "Clip" / "clip_224x224" / f"{number:05d}"
            write_clip(root / "Clip" / "original" / f"{number}.mp4", label, number)
            write_frames(frames, label, number, f"{number:05d}_{{:05d}}.jpg")
        for fold in range(1, cls.FOLDS + 1):
            for split in ("train", "test"):
                path = root / cls.TABLES[0].format(split=split, fold=fold)
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("w", newline="", encoding="utf-8") as file:
                    writer = csv.writer(file)
                    writer.writerow(["video_name", "label"])
                    for number, (copy, label_id, _) in enumerate(clips, 1):
                        if in_test(copy, per_class, fold) == (split == "test"):
                            writer.writerow([number, label_id])
