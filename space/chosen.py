"""What a visitor has chosen to talk about: it goes from the tabs Photo and Clip to the tab Chat."""

from dataclasses import dataclass

from PIL import Image

from emo_llama.faces import Detection
from emo_llama.records import Face

__all__ = ["Chosen"]


@dataclass(frozen=True, eq=False)  # two looks at one face are two choices
class Chosen:
    """One face of a picture, or one clip; nothing at first.

    It lives in the session of one visitor and nowhere else.

    Attributes:
        image (`PIL.Image.Image`, *optional*):
            The picture, RGB, as displayed.
        detection ([`~emo_llama.faces.Detection`], *optional*):
            The face in it; without, the whole picture is the face.
        face ([`~emo_llama.records.Face`], *optional*):
            What was recognised in that face; in a clip in the person that is seen most.
        video (`str`, *optional*):
            The path of the clip, in place of a picture.
    """

    image: Image.Image | None = None
    detection: Detection | None = None
    face: Face | None = None
    video: str | None = None

    def __hash__(self) -> int:
        """By it gradio tells whether something else was chosen."""
        return hash((id(self.image), id(self.face), self.video))
