"""The tab of one photo: every face as a box and a card, with probabilities and a sentence."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

import emo_llama
from emo_llama import EmotionRecognizer
from emo_llama.media import read_image
from emo_llama.recognition.pictures import picture_faces
from emo_llama.space.chosen import Chosen
from emo_llama.space.gpu import on_gpu
from emo_llama.space.variants import (
    has_face_info_mining,
    whole_picture,
    without_face_info_mining,
)
from emo_llama.space.view import Seen, hint, progress_text, show, view

__all__ = [
    "STOPPED",
    "EXAMPLES",
    "FIND",
    "MISSING",
    "WHOLE",
    "Photo",
    "build_photo",
    "inputs",
    "look",
    "redrawn",
]

EXAMPLES = {
    "A portrait (NASA)": Path(emo_llama.__file__).parent / "assets" / "portrait.jpg",
    "Six drawn faces": Path(__file__).parent / "examples" / "drawn.png",
}
"""Pictures to try, free of anybody's rights."""

FIND, WHOLE = "Find the faces", "The whole picture is one face"
AT_ONCE = 4
"""Faces between two looks at whether somebody has pressed Cancel."""

EMPTY = "The faces appear here. Upload a photo, take or paste one, or choose an example."
MISSING = "There is no picture yet. Upload one, take one with the camera, or choose an example."
STOPPED = "Stopped. Press the button to begin again, or choose another picture."
BESIDE = "without FIM"


def look(
    recognizer: EmotionRecognizer, path: str | None, question: str = "", describe: bool = True
) -> Iterator[Seen]:
    """Recognise the faces of a picture, some at a time.

    Args:
        recognizer ([`EmotionRecognizer`]): The model.
        path (`str`, *optional*): The picture.
        question (`str`, *optional*): Asked about each face instead of the usual one.
        describe (`bool`, *optional*, defaults to `True`): Whether to ask at all.

    Yields:
        [`Seen`]: What is known by then: first where the faces are, at last everything.

    Raises:
        gradio.Error: There is no picture.
        MediaError: Something is wrong with it.
    """
    if path is None:
        raise gr.Error(MISSING)
    image = read_image(path)
    seen = Seen(image, tuple(recognizer.find_faces(image)))
    yield seen
    asked = question.strip() or None
    for faces in picture_faces(recognizer, image, seen.found, asked, describe, True, AT_ONCE):
        seen = replace(seen, faces=(*seen.faces, *faces))
        yield seen


class Photo:
    """What the tab does with a model; gradio calls its methods.

    Args:
        recognizer ([`EmotionRecognizer`]): The model.
    """

    def __init__(self, recognizer: EmotionRecognizer) -> None:
        can_mine = has_face_info_mining(recognizer)
        self.models = {FIND: recognizer, WHOLE: whole_picture(recognizer)}
        self.plain = without_face_info_mining(recognizer) if can_mine else None

    def recognize(
        self, path: str | None, faces: str, threshold: float, landmarks: bool, beside: bool
    ) -> Iterator[tuple[Any, ...]]:
        """Show the faces of a picture as they become known."""
        yield progress_text("Looking for faces"), None, None, Chosen()
        for seen in look(self.models[faces], path):
            done, total = len(seen.faces), len(seen.found)
            if done == total:
                break
            drawn = _drawn(seen, threshold, landmarks) if done else ""
            yield progress_text("Reading faces", done, total) + drawn, None, None, Chosen()
        record, seen = seen.judged(threshold).record(), seen.reduced()
        for drawn, known in self.set_beside(seen, threshold, landmarks, beside):
            yield drawn, record, known, _chosen(seen, 0)

    def follow(self, path: str | None, *settings: Any) -> Iterator[tuple[Any, ...]]:
        """Recognise a picture as soon as it is there; forget everything where it is taken away."""
        if path is None:
            yield hint(EMPTY), None, None, Chosen()
            return
        yield from self.recognize(path, *settings)

    def set_beside(
        self, seen: Seen, threshold: float, landmarks: bool, beside: bool
    ) -> Iterator[tuple[str, Seen]]:
        """Show the faces once more, where wanted beside what is seen without the mining."""
        yield _drawn(seen, threshold, landmarks, beside), seen
        if not beside or self.plain is None:
            return
        for faces in picture_faces(
            self.plain, seen.image, seen.found[len(seen.beside) :], at_once=AT_ONCE
        ):
            seen = replace(seen, beside=(*seen.beside, *faces))
            yield _drawn(seen, threshold, landmarks, beside), seen

    def clicked(self, seen: Seen | None, event: gr.EventData) -> Chosen:
        """The face that was clicked; what comes from a browser may be anything."""
        index = event._data.get("index")
        is_number = isinstance(index, int) and not isinstance(index, bool)
        return Chosen() if seen is None or not is_number else _chosen(seen, index)

    def answer(self, path: str | None, faces: str, question: str, threshold: float) -> dict:
        """Recognise the expression of every face in a picture, as one record.

        Args:
            path: The picture.
            faces: Whether to find the faces, or to take the whole picture for one.
            question: Asked about each face instead of the usual one.
            threshold: Faces whose likeliest label is less probable are marked as abstained.

        Returns:
            The record that `emo-llama predict --format json` writes.
        """
        *_, seen = look(self.models[faces], path, question)
        return seen.judged(threshold).record()


def build_photo(recognizer: EmotionRecognizer, chosen: gr.State) -> None:
    """Add the tab to the open page.

    Args:
        recognizer ([`EmotionRecognizer`]): The model.
        chosen (`gradio.State` of [`Chosen`]): Set to the face that a visitor clicks.
    """
    tab = Photo(recognizer)
    seen = gr.State(None)
    with gr.Row(elem_classes="face-columns"):
        with gr.Column(scale=5, min_width=300):
            with gr.Column(elem_id="photo-source"):
                picture, run, cancel = inputs("photo", "Recognize", 340)
            with gr.Column(elem_id="photo-settings"):
                faces, threshold, landmarks, beside = _settings(tab.plain is not None)
        with gr.Column(scale=6, min_width=300):
            result = view("photo-result", EMPTY)
            with gr.Accordion("The record (JSON)", open=False, elem_id="photo-record-box"):
                record = gr.JSON(label="Record", show_label=False, elem_id="photo-record")
    settings = [threshold, landmarks, beside]
    given, outputs = [picture, faces, *settings], [result, record, seen, chosen]
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}
    private["show_progress_on"] = result
    # One event for all of them: of two runs at a time, the older picture could be shown last.
    running = gr.on(
        [picture.change, faces.change, beside.change, run.click],
        on_gpu(tab.follow),
        given,
        outputs,
        trigger_mode="always_last",
        **private,
    )
    shown: tuple[Any, ...] = (redrawn, [seen, *settings], [result, record])
    for event in (threshold.change, landmarks.change, running.success):  # both may change meanwhile
        event(*shown, **private)
    running.failure(lambda: hint(STOPPED), None, result, queue=False, **private)  # or cancelled
    run.click(_checked, picture, None, api_visibility="private")
    cancel.click(None, cancels=[running], queue=False, api_visibility="private")
    result.select(tab.clicked, seen, chosen, **private)
    asked = gr.Textbox("", visible=False, label="Question")
    gr.Button(visible=False).click(
        on_gpu(tab.answer), [picture, faces, asked, threshold], record, api_name="photo"
    )


def inputs(tab: str, action: str, height: int) -> tuple[gr.Image, gr.Button, gr.Button]:
    """Add a place for a picture, the two buttons below it, and pictures to try.

    Args:
        tab (`str`): The name of the tab, with which the ids of these elements begin.
        action (`str`): What the first button says.
        height (`int`): Of the picture, pixels.

    Returns:
        `tuple[gradio.Image, gradio.Button, gradio.Button]`: The picture, the button that begins,
        and the one that cancels.
    """
    picture = gr.Image(
        type="filepath",
        image_mode=None,  # the package itself reads the file
        sources=["upload", "webcam", "clipboard"],
        label="Photo",
        height=height,
        buttons=["fullscreen"],
        elem_id=f"{tab}-input",
        alt_text="The photo that you have chosen",
    )
    with gr.Row():
        run = gr.Button(action, variant="primary", elem_id=f"{tab}-run")
        cancel = gr.Button("Cancel", elem_id=f"{tab}-cancel")
    gr.Examples(
        [[str(path)] for path in EXAMPLES.values()],
        picture,
        example_labels=list(EXAMPLES),
        label="Pictures to try",
        elem_id=f"{tab}-examples",
        api_visibility="private",
    )
    return picture, run, cancel


def _settings(can_mine: bool) -> tuple[Any, ...]:
    """What is a face, when to abstain, and what to show besides."""
    faces = gr.Radio([FIND, WHOLE], value=FIND, label="Faces", elem_id="photo-faces")
    threshold = gr.Slider(
        *(0.0, 1.0, 0.5),
        step=0.05,
        label="Unsure below",
        info="A face whose likeliest expression is less probable than this gets no verdict.",
        elem_id="photo-threshold",
    )
    landmarks = gr.Checkbox(label="Show landmarks", elem_id="photo-landmarks")
    beside = gr.Checkbox(
        label="Beside it: the same face without Face Info Mining",
        info="The model then sees the picture by its vision tower alone, for which it was not "
        "trained: the difference shows what the face tokens add.",
        visible=can_mine,
        elem_id="photo-beside",
    )
    return faces, threshold, landmarks, beside


def _checked(path: str | None) -> None:
    """Say what to do where there is nothing to recognise."""
    if path is None:
        raise gr.Error(MISSING)


def _drawn(seen: Seen, threshold: float, landmarks: bool, beside: bool = False) -> str:
    """The picture and its cards as HTML."""
    judged = seen.judged(threshold)
    if not beside:
        judged = replace(judged, beside=())
    return show(judged, landmarks, BESIDE)


def redrawn(
    seen: Seen | None, threshold: float, landmarks: bool, beside: bool
) -> tuple[str, dict[str, Any] | None]:
    """Show and record the same faces in another way.

    Args:
        seen ([`Seen`], *optional*): What was recognised.
        threshold (`float`): Below this probability there is no verdict.
        landmarks (`bool`): Whether to dot them.
        beside (`bool`): Whether to show what is seen without the mining.

    Returns:
        `tuple[str, dict[str, Any] | None]`: HTML, and the record.
    """
    if seen is None:  # the model is at work, or there is no picture
        return gr.skip()
    return _drawn(seen, threshold, landmarks, beside), seen.judged(threshold).record()


def _chosen(seen: Seen, index: int) -> Chosen:
    """One of the faces, or nothing."""
    if not 0 <= index < len(seen.faces):
        return Chosen()
    return Chosen(seen.image, seen.found[index], seen.faces[index])
