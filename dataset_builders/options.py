"""The choices of a build: which rows there are, and in which form."""

from dataclasses import dataclass

__all__ = ["FACES", "BuildOptions"]

FACES = ("none", "detect", "auto")


@dataclass
class BuildOptions:
    """Choices that change what is built.

    Args:
        rule (`str`, *optional*, defaults to `""`):
            How a label follows from votes: one of the builder's `RULES`, the first where none is
            named.
        keep_repeats (`bool`, *optional*, defaults to `False`):
            Whether training rows stay whose very picture is held out too.
        fold (`int`, *optional*, defaults to 1):
            Which of the official folds, counted from 1.
        clips (`str`, *optional*, defaults to `"frames"`):
            `"frames"`: clips as sampled frames; `"bytes"`: clips as the files that they are.
        num_frames (`int`, *optional*, defaults to 8):
            Frames that stand for a clip.
        num_classes (`int`, *optional*, defaults to 0):
            Size of the label set, where a data set has several; 0: the usual one.
        faces (`str`, *optional*, defaults to `"none"`):
            `"none"`: pictures stay as they are; `"detect"`: each is cropped to its largest face,
            and left out where it shows none; `"auto"`: likewise, but kept whole where it shows
            none, as pictures that are tight crops already.
    """

    rule: str = ""
    keep_repeats: bool = False
    fold: int = 1
    clips: str = "frames"
    num_frames: int = 8
    num_classes: int = 0
    faces: str = "none"
