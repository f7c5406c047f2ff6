"""The tab of one clip: each person's probabilities over its time."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr

from emo_llama import EmotionRecognizer
from emo_llama.modeling.media_emo_llama import VideoFrame
from emo_llama.space.chosen import Chosen
from emo_llama.space.example_clips import write_example_clips
from emo_llama.space.gpu import on_gpu
from emo_llama.space.timeline import Watched, show_timeline, thumbnails, timeline_view
from emo_llama.space.view import hint, progress_text

__all__ = ["build_clip"]

EMPTY = "The timeline appears here. Upload a clip, record one, or choose an example."
MISSING = "There is no clip yet. Upload one, record one with the camera, or choose an example."
STOPPED = "Stopped. Press Recognize to begin again, or choose another clip."


def watch(
    recognizer: EmotionRecognizer, path: str | None, report: Callable[[VideoFrame], Any]
) -> Generator[Any, None, Watched]:
    """Recognise the people of a clip, frame by frame.

    Args:
        recognizer ([`EmotionRecognizer`]): The model.
        path (`str`, *optional*): The clip.
        report (`Callable`): Makes of a frame what is shown after it.

    Yields:
        `Any`: What is shown after each frame.

    Returns:
        [`Watched`]: Everything.

    Raises:
        gradio.Error: There is no clip, or something is wrong with it.
    """
    if path is None:
        raise gr.Error(MISSING)
    steps, times, duration = recognizer.watch(path), [], 0.0
    while True:
        try:
            frame = next(steps)
        except StopIteration as end:
            result = end.value
            break
        times.append(frame.time)
        duration = frame.duration
        yield report(frame)
    if result.error:
        raise gr.Error(result.error["message"])
    return Watched(path, result, tuple(times), duration)


def _progress(frame: VideoFrame) -> tuple[Any, ...]:
    """How far a clip is."""
    text = f"Looking at second {frame.time:.1f} of {frame.duration:.1f}"
    return progress_text(text, frame.time, frame.duration), None, None, Chosen()


class _Clip:
    """What the tab does with a model; gradio calls its methods."""

    def __init__(self, recognizer: EmotionRecognizer) -> None:
        self.recognizer = recognizer
        self.folder = TemporaryDirectory(prefix="emo-llama-examples-")
        self.examples = write_example_clips(Path(self.folder.name))

    def recognize(self, path: str | None, threshold: float) -> Iterator[tuple[Any, ...]]:
        """Show how far it is, then the timeline, and its faces as they are cut out."""
        if path is None:
            raise gr.Error(MISSING)
        yield progress_text("Opening the clip"), None, None, Chosen()
        watched = yield from watch(self.recognizer, path, _progress)
        faces: list[tuple[int, float, str]] = []
        for face in thumbnails(watched):
            faces.append(face)
            yield progress_text("Cutting out the faces"), None, None, Chosen()
        known = (watched, tuple(faces))
        people = watched.result.faces
        person = max(people, key=lambda face: len(face.frames or ()), default=None)
        yield *self.show(known, threshold), known, Chosen(video=path, face=person)

    def show(
        self, known: tuple[Watched, Any] | None, threshold: float
    ) -> tuple[str, dict[str, Any] | None]:
        """The same clip once more, with another threshold."""
        if known is None:
            return hint(EMPTY), None
        watched, faces = known
        record = replace(watched.judged(threshold), path=None).to_dict()
        return show_timeline(watched, self.recognizer.labels, threshold, faces), record

    def follow(self, path: str | None, threshold: float) -> Iterator[tuple[Any, ...]]:
        """Recognise a clip as soon as it is there; forget everything where it is taken away."""
        if path is None:
            yield hint(EMPTY), None, None, Chosen()
            return
        yield from self.recognize(path, threshold)

    def answer(self, path: str | None, threshold: float) -> Iterator[dict[str, Any] | None]:
        """Recognise the expressions of every person in a clip, as one record.

        Args:
            path: The clip.
            threshold: People whose likeliest label is less probable are marked as abstained.

        Returns:
            The record that `emo-llama predict --format json` writes.
        """
        yield None  # gradio closes what it cancels, once something has come
        watched = yield from watch(self.recognizer, path, lambda frame: None)
        yield replace(watched.judged(threshold), path=None).to_dict()


def build_clip(recognizer: EmotionRecognizer, chosen: gr.State) -> None:
    """Add the tab to the open page.

    Args:
        recognizer ([`EmotionRecognizer`]): The model.
        chosen (`gradio.State` of [`Chosen`]): Set to the clip once it was looked at.
    """
    tab = _Clip(recognizer)
    known = gr.State(None)
    with gr.Row(elem_classes="face-columns"):
        with gr.Column(scale=5, min_width=300):
            clip, run, cancel = _inputs(tab.examples)
            threshold = gr.Slider(
                *(0.0, 1.0, 0.5),
                step=0.05,
                label="Unsure below",
                info="A person or a peak whose likeliest expression is less probable gets no "
                "verdict.",
                elem_id="clip-threshold",
            )
        with gr.Column(scale=6, min_width=300):
            result = timeline_view(EMPTY)
            with gr.Accordion("The record (JSON)", open=False, elem_id="clip-record-box"):
                record = gr.JSON(label="Record", show_label=False, elem_id="clip-record")
    given, outputs = [clip, threshold], [result, record, known, chosen]
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    running: list[Any] = [
        clip.change(on_gpu(tab.follow), given, outputs, **private),
        run.click(on_gpu(tab.recognize), given, outputs, **private),
    ]
    threshold.release(tab.show, [known, threshold], [result, record], **private)
    for event in running:  # whoever cancels gets this as well
        event.failure(lambda: hint(STOPPED), None, result, queue=False, **private)
    cancel.click(None, cancels=running, queue=False, api_visibility="private")
    gr.Button(visible=False).click(on_gpu(tab.answer), given, record, api_name="clip")


def _inputs(examples: dict[str, Path]) -> tuple[gr.Video, gr.Button, gr.Button]:
    """The place of the clip, the two buttons below it, and clips to try."""
    clip = gr.Video(
        sources=["upload", "webcam"],
        label="Clip",
        height=340,
        elem_id="clip-input",
    )
    with gr.Row():
        run = gr.Button("Recognize", variant="primary", elem_id="clip-run")
        cancel = gr.Button("Cancel", elem_id="clip-cancel")
    gr.Examples(
        [[str(path)] for path in examples.values()],
        clip,
        example_labels=list(examples),
        label="Clips to try",
        elem_id="clip-examples",
        api_visibility="private",
    )
    return clip, run, cancel
