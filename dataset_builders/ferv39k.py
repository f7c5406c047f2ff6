"""FERV39k: clips of 22 kinds of scenes, seven expressions, one official split.

Reads `All_scenes/{train,test}_All.csv`, whose lines are "scene/class/clip class", and takes each
clip from its folder of frames below `2_ClipsforFaceCrop`. No official copy was at hand: it accepts
fields between blanks or commas, a header or none, and video files in the place of the folders.
Loaders number the classes in different orders, so where a table gives an id, the class is taken
from the path. The tables of single scenes are not read.
"""

from collections.abc import Iterator
from pathlib import Path

from emo_llama.dataset_builders.clip_builder import ClipBuilder, ListedClip, clip_stem, table_lines
from emo_llama.dataset_builders.synthetic_clips import write_frames
from emo_llama.errors import DataFormatError
from emo_llama.labels import FERV39K

__all__ = ["CLASS_FOLDERS", "Ferv39k"]

CLASS_FOLDERS = dict(
    zip(("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"), FERV39K, strict=True)
)
"""The folders of the classes, and what these are called here."""

CLIPS = "2_ClipsforFaceCrop"
SCENES = ("Action", "DailyLife", "Speech")
"""Some of the 22, for the synthetic copy."""


class Ferv39k(ClipBuilder):
    """Builds instruction data from FERV39k; `data_dir` holds the folder of clips and the tables."""

    NAME = "ferv39k"
    SUMMARY = "Clips of 22 kinds of scenes with one of seven expressions each (FERV39k)."
    SIZE = "38,935 clips"
    NEEDS = f"{CLIPS}/ and 4_setups/All_scenes/ (or All_scenes/) with train_All.csv, test_All.csv"
    OBTAIN = (
        "sign the agreement at github.com/wangyanckxx/FERV39k, unpack the archives that its "
        "authors send into one folder, and name that folder"
    )
    HOMEPAGE = "https://github.com/wangyanckxx/FERV39k"
    LICENCE = (
        "Given out under a signed agreement, for research that is not commercial. Nothing of it "
        "may be passed on: do not publish this folder, give others the command that builds it."
    )
    LABELS = FERV39K
    TABLES = (
        "4_setups/All_scenes/{split}_All.csv",
        "All_scenes/{split}_All.csv",
        "{split}_All.csv",
    )
    VIDEOS = (CLIPS, f"{CLIPS}/{CLIPS}")
    FRAMES = VIDEOS
    FIRST_ID = 0

    def read_table(self, path: Path) -> Iterator[ListedClip]:
        """Every clip of one split; its path is its key, its scene the subject."""
        for line, fields in table_lines(path, self.OBTAIN):
            name = next((field for field in fields[:-1] if "/" in field or "\\" in field), "")
            if not name and line == 1:
                continue  # a header
            key = clip_stem(name.replace("\\", "/")).removeprefix(f"{CLIPS}/")
            if key.count("/") < 2:
                raise DataFormatError(
                    f"{path}, line {line}: expected scene/class/clip and the class, found "
                    f"{' '.join(fields)!r}. {self.OBTAIN}."
                )
            yield ListedClip(key, fields[-1], (key,), subject=key.split("/")[0])

    def label(self, clip: ListedClip) -> str | None:
        """The class that the table names; the class of the path where it gives a number."""
        label = super().label(clip)
        if label and clip.label.isdecimal():
            return CLASS_FOLDERS.get(clip.key.split("/")[1])
        return label

    @classmethod
    def write_synthetic(cls, root: Path, per_class: int = 2) -> None:
        """The tables of all scenes, and a folder of frames for each clip.

        Args:
            root (`Path`): Folder to write.
            per_class (`int`, *optional*, defaults to 2): Clips of each class and split.
        """
        number = 0
        for split in ("train", "test"):
            lines = []
            for copy in range(per_class):
                scene = SCENES[copy % len(SCENES)]
                for folder, label in CLASS_FOLDERS.items():
                    number += 1
                    name = f"{scene}/{folder}/{number:04d}"
                    write_frames(root / CLIPS / name, label, number, "{}.jpg")
                    lines.append(f"{name} {folder}\n")
            path = root / cls.TABLES[0].format(split=split)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(lines), encoding="utf-8")
