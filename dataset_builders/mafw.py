"""MAFW: clips of films and shows, eleven expressions, five official folds, and a short text.

Reads `Train & Test Set/single/no_caption/set_N/{train,test}.txt` ("clip.mp4 label") and, where it
is there, the table of the same name below `with_caption`, whose English text becomes the caption;
neutral clips have none. No official copy was at hand: it accepts labels as names, as the ids 1 to
11 or abbreviated, folders of frames, and texts in UTF-8, GB18030 or Windows-1252. Compound labels
and the Excel tables are not read.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from emo_llama.dataset_builders.clip_builder import ClipBuilder, ListedClip, clip_stem, table_lines
from emo_llama.dataset_builders.synthetic_clips import in_test, write_clip
from emo_llama.labels import MAFW

__all__ = ["ABBREVIATIONS", "Mafw", "read_captions"]

ABBREVIATIONS = dict(
    zip(("AN", "DI", "FE", "HA", "NE", "SA", "SU", "CO", "AX", "HL", "DS"), MAFW, strict=True)
)
"""As results on MAFW are tabled; whether any copy of the tables has them could not be checked."""


class Mafw(ClipBuilder):
    """Builds instruction data from MAFW; `data_dir` holds `data` and `Train & Test Set`."""

    NAME = "mafw"
    SUMMARY = "Clips of films and shows, eleven expressions, most with a short text (MAFW)."
    SIZE = "10,045 clips, 9,172 of them with one label"
    NEEDS = "data/clips/ and Train & Test Set/single/ (no_caption, and with_caption for the texts)"
    OBTAIN = (
        "sign the agreement at mafw-database.github.io/MAFW, unpack the archives that its authors "
        "send into one folder, and name that folder"
    )
    HOMEPAGE = "https://mafw-database.github.io/MAFW/"
    LICENCE = (
        "Given out under a signed agreement, to researchers of universities, for research that is "
        "not commercial. Neither clips nor what is derived from them may be passed on: do not "
        "publish this folder, give others the command that builds it."
    )
    LABELS = MAFW
    FOLDS = 5
    TABLES = (
        "Train & Test Set/single/no_caption/set_{fold}/{split}.txt",
        "train_test_set/Train & Test Set/single/no_caption/set_{fold}/{split}.txt",
        "single/no_caption/set_{fold}/{split}.txt",
        "label/no_caption/set_{fold}/{split}.txt",
    )
    VIDEOS = ("data/clips", "clips")
    FRAMES = ("data/frames", "frames")

    def read_table(self, path: Path) -> Iterator[ListedClip]:
        """Every clip of one split; its file name without the suffix is its key."""
        single = path.parents[2]
        captions = read_captions(single / "with_caption" / path.parent.name / path.name)
        for _, fields in table_lines(path, self.OBTAIN):
            key = clip_stem(fields[0])
            yield ListedClip(key, fields[1], (key,), caption=captions.get(key, ""))

    def label(self, clip: ListedClip) -> str | None:
        """The label by its id, name or abbreviation."""
        return ABBREVIATIONS.get(clip.label.upper()) or super().label(clip)

    @classmethod
    def write_synthetic(cls, root: Path, per_class: int = 2) -> None:
        """All five folds with and without texts, and an mp4 file for each clip.

        Args:
            root (`Path`): Folder to write.
            per_class (`int`, *optional*, defaults to 2): Clips of each class and split.
        """
        clips = [(copy, label) for copy in range(2 * per_class) for label in MAFW]
        for number, (_, label) in enumerate(clips, 1):
            write_clip(root / "data" / "clips" / f"{number:05d}.mp4", label, number)
        for fold in range(1, cls.FOLDS + 1):
            for split in ("train", "test"):
                chosen = [
                    (number, label)
                    for number, (copy, label) in enumerate(clips, 1)
                    if in_test(copy, per_class, fold) == (split == "test")
                ]
                path = root / cls.TABLES[0].format(split=split, fold=fold)
                _write_tables(path, chosen)


def read_captions(path: Path) -> dict[str, str]:
    """The English texts of a table "clip, label, Chinese text, English text", between tabs.

    Args:
        path (`Path`): The table; it need not be there.

    Returns:
        `dict[str, str]`: Texts by the name of the clip, without its suffix. Lines of another form,
        and texts in no Latin script, are stepped over: a clip without a text is no fault.
    """
    captions = {}
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        # Tabs are found before decoding, since the two texts of a line may differ in encoding.
        fields = [_decoded(field) for field in line.split(b"\t")]
        if len(fields) == 1:
            fields = fields[0].split(maxsplit=2)
        texts = [" ".join(text.split()) for text in fields[2:] if _is_latin(text)]
        if texts:
            captions[clip_stem(fields[0].strip())] = texts[-1]
    return captions


def _decoded(field: bytes) -> str:
    """Text in the first encoding that fits; GB2312 writes its signs in pairs of high bytes."""
    try:
        return field.decode("utf-8-sig")
    except UnicodeDecodeError:
        paired = all(len(run) % 2 == 0 for run in re.findall(rb"[\x80-\xff]+", field))
        return field.decode("gb18030" if paired else "cp1252", errors="replace")


def _is_latin(text: str) -> bool:
    """Whether most of a text are Latin letters."""
    return 2 * sum(sign.isascii() and sign.isalpha() for sign in text) > len(text)


def _write_tables(path: Path, clips: list[tuple[int, str]]) -> None:
    """One table of the synthetic copy, and the one with texts beside it."""
    texts = path.parents[2] / "with_caption" / path.parent.name / path.name
    for file in (path, texts):
        file.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{n:05d}.mp4 {label}\n" for n, label in clips), encoding="utf-8")
    lines = [
        f"{n:05d}.mp4\t{label}\t一张画出来的脸。\tA drawn face changes from neutral to {label}.\n"
        for n, label in clips
        if label != "neutral"
    ]
    texts.write_text("".join(lines), encoding="gb18030")
