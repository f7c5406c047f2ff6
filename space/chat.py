"""The tab of a conversation about one face or one clip: chosen here, or in the tabs before it.

What is said so far lives in the session of one visitor; the page shows it as plain text.
"""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import gradio as gr
from PIL import Image

from emo_llama import EmotionRecognizer
from emo_llama.errors import UsageError
from emo_llama.faces import Detection
from emo_llama.media import read_image, read_video
from emo_llama.prompts import FOLLOW_UPS, conversation_question
from emo_llama.space.chosen import Chosen
from emo_llama.space.gpu import on_gpu
from emo_llama.space.view import Seen, data_uri, hint, verdict

__all__ = ["build_chat"]

Turns = tuple[tuple[str, str], ...]

EMPTY = "Nothing is talked about yet. Give a picture or a clip here, or press Talk about it there."
NOTHING = (
    "There is nothing to talk about yet. Give a picture or a clip first, or choose an example."
)
SILENT = "There is no question yet. Type one, or choose one of those below."
MOST_FACES = 30
MOST_TURNS = 100

CAN = """**It can say** how a face looks, what mouth, eyes and brows show, and how clear that is.
Every question is answered with that.
**It cannot say** who somebody is, how old, what they think or feel, or why; and it compares no
pictures."""
SHORT = """
It was trained on conversations of {} questions: of what was said before, it reads how it described
the face{}."""

SCRIPT = """
element.addEventListener('click', (event) => {
  const face = event.target.closest('[data-face]')?.dataset.face;
  if (face !== undefined) trigger('select', { index: Number(face) });
});
"""


class _Chat:
    """What the tab does with a model; gradio calls its methods."""

    def __init__(self, recognizer: EmotionRecognizer) -> None:
        self.recognizer = recognizer

    def look(self, path: str | None) -> Iterator[tuple[Any, ...]]:
        """Find the faces of a picture, and begin to talk about the largest."""
        if path is None:
            yield *nothing(), None
            return
        image = read_image(path)
        faces = Seen(image, tuple(self.recognizer.find_faces(image)[:MOST_FACES])).reduced()
        about = Chosen(faces.image, faces.found[0] if faces.found else None)
        yield from ((*step, faces) for step in self.open(about, faces_panel(faces, 0)))

    def choose(self, faces: Seen | None, event: gr.EventData) -> Iterator[tuple[Any, ...]]:
        """Begin to talk about another face; what comes from a browser may be any number."""
        index = event._data.get("index")
        if faces is None or type(index) is not int or not 0 <= index < len(faces.found):
            raise gr.Error(NOTHING)
        about = Chosen(faces.image, faces.found[index])
        yield from self.open(about, faces_panel(faces, index))

    def play(self, path: str | None) -> Iterator[tuple[Any, ...]]:
        """Begin to talk about a clip."""
        if path is None:
            yield *nothing(), None
            return
        about = Chosen(video=path)
        yield from ((*step, None) for step in self.open(about, chosen_panel(about)))

    def take(self, chosen: Chosen) -> tuple[Any, ...]:
        """Go on with what was chosen in another tab, and with what was said of it there."""
        if chosen.image is None and chosen.video is None:
            return *nothing(), None
        text = chosen.face.text if chosen.face else None
        turns: Turns = ((first_question(chosen), text),) if text else ()
        return chosen_panel(chosen), chosen, turns, messages(turns), None

    def open(self, about: Chosen, panel: str) -> Iterator[tuple[Any, ...]]:
        """Say how a face or clip looks, as the first turn."""
        for turns, shown in self.turn(first_question(about), about, ()):
            yield panel, about, turns, shown

    def talk(self, question: str, about: Chosen, turns: Turns) -> Iterator[tuple[Any, ...]]:
        """Answer a question behind those before."""
        if about.image is None and about.video is None:
            raise gr.Error(NOTHING)
        if not question.strip():
            raise gr.Error(SILENT)
        for known, shown in self.turn(question.strip(), about, turns[-MOST_TURNS:]):
            yield "", known, shown

    def turn(
        self, question: str, about: Chosen, turns: Turns
    ) -> Iterator[tuple[Turns, list[dict[str, Any]]]]:
        """One question and the answer as it grows."""
        text = ""
        yield turns, messages((*turns, (question, "…")))
        for piece in self.stream(about, question, turns):
            text += piece
            known = (*turns, (question, text))
            yield known, messages(known)
        yield (*turns, (question, text)), messages((*turns, (question, text)))

    def stream(self, about: Chosen, question: str, turns: Sequence[tuple[str, str]]) -> Any:
        """The pieces of an answer about what is chosen."""
        source: Any = about.video or about.image
        crop = about.detection.crop if about.detection else None
        return self.recognizer.stream(source, question, turns or None, crop)

    def chosen_face(self, path: str, index: int) -> Chosen:
        """One of the faces of a picture, or the whole picture where there is none."""
        image = read_image(path)
        found = self.recognizer.find_faces(image)
        if not 0 <= index < max(len(found), 1):
            raise UsageError(f"Expected one of the {len(found)} faces, from 0, got {index}.")
        return Chosen(image, found[index] if found else None)

    def answer(
        self,
        question: str,
        picture: str | None = None,
        clip: str | None = None,
        face: float = 0,
        history: Any = None,
    ) -> Iterator[str]:
        """Answer a question about one face of a picture, or about a clip, word by word.

        Args:
            question: The question.
            picture: The picture; leave it out for a clip.
            clip: The clip; leave it out for a picture.
            face: Which face of the picture, from 0, as `/photo` lists them.
            history: Questions and answers before, as a list of pairs.

        Returns:
            The answer, longer each time.
        """
        turns = checked_turns(history)
        if not question.strip():
            raise gr.Error(SILENT)
        about = Chosen(video=clip)
        if clip is None:
            if picture is None:
                raise gr.Error(NOTHING)
            about = self.chosen_face(picture, int(face))
        text = ""
        for piece in self.stream(about, question, turns):
            text += piece
            yield text


def checked_turns(history: Any) -> list[tuple[str, str]]:
    """The turns that a client sends.

    Args:
        history (`Any`): Whatever came as JSON.

    Returns:
        `list[tuple[str, str]]`: Questions and answers.

    Raises:
        UsageError: It is something else, or too long.
    """
    pairs = [] if history is None else history
    is_list = isinstance(pairs, list) and all(
        isinstance(pair, list) and [type(text) for text in pair] == [str, str] for pair in pairs
    )
    if not is_list or len(pairs) > MOST_TURNS:
        raise UsageError(
            f"Expected a history of up to {MOST_TURNS} pairs of a question and an answer, as "
            '[["What do the eyes show?", "The eyes are narrow."]].'
        )
    return [(question, answer) for question, answer in pairs]


def messages(turns: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """A conversation as the page shows it.

    Args:
        turns (`Sequence[tuple[str, str]]`): Questions and answers.

    Returns:
        `list[dict]`: Two messages a turn.
    """
    roles = ("user", "assistant")
    return [
        {"role": role, "content": escape(text, quote=False)}  # gradio takes it for HTML
        for turn in turns
        for role, text in zip(roles, turn, strict=True)
    ]


def first_question(about: Chosen) -> str:
    """What a conversation begins with.

    Args:
        about ([`Chosen`]): A face or a clip.

    Returns:
        `str`: The question.
    """
    return conversation_question("video" if about.video else "image")


def nothing() -> tuple[Any, ...]:
    """What the tab shows and knows at first.

    Returns:
        `tuple`: The panel, what is talked about, the turns, and their messages.
    """
    return hint(EMPTY), Chosen(), (), []


def chosen_panel(chosen: Chosen) -> str:
    """What is talked about, where that was chosen elsewhere or is a clip.

    Args:
        chosen ([`Chosen`]): A face or a clip.

    Returns:
        `str`: HTML.
    """
    if chosen.video:
        frame = next(read_video(chosen.video, max_frames=1))
        return _panel([(frame.image, "The clip", True)], "You talk about this clip.")
    said = "You talk about this face"
    if chosen.face:
        face = chosen.face
        said += f": {verdict(face.label, face.confidence, face.abstained)}"
    return _panel([(_cut(chosen.image, chosen.detection), "The face", True)], f"{said}.")


def faces_panel(faces: Seen, index: int) -> str:
    """The faces of a picture, of which one is talked about.

    Args:
        faces ([`~space.view.Seen`]): The picture and its faces.
        index (`int`): Which one.

    Returns:
        `str`: HTML.
    """
    image, found = faces.image, faces.found
    if not found:
        said = "No face was found: you talk about the whole picture, as if it were one."
        return _panel([(image.copy(), "The picture", True)], said)
    crops = [
        (_cut(image, detection), f"Face {place + 1}", place == index)
        for place, detection in enumerate(found)
    ]
    said = "You talk about this face." if len(found) == 1 else "Press the face to talk about."
    return _panel(crops, said)


def _cut(image: Image.Image | None, detection: Detection | None) -> Image.Image:
    assert image is not None  # as whoever chooses a face gives it; for the type checker
    return image.copy() if detection is None else image.crop(detection.crop)


def _panel(pictures: Sequence[tuple[Image.Image, str, bool]], said: str) -> str:
    """Pictures in a row, each a button where there are several."""
    items = []
    for place, (picture, name, is_pressed) in enumerate(pictures):
        picture.thumbnail((128, 128))
        image = f'<img src="{data_uri(picture)}" alt="{escape(name)}">'
        if len(pictures) > 1:
            pressed = str(is_pressed).lower()
            image = (
                f'<button type="button" class="chat-face" data-face="{place}" '
                f'aria-pressed="{pressed}">{image}</button>'
            )
        items.append(f"<li>{image}</li>")
    return (
        f'<section class="chat-about"><ul class="chat-faces">{"".join(items)}</ul>'
        f'<p role="status">{said}</p></section>'
    )


def build_chat(recognizer: EmotionRecognizer, chosen: gr.State) -> None:
    """Add the tab to the open page.

    Args:
        recognizer ([`EmotionRecognizer`]): The model.
        chosen (`gradio.State` of [`Chosen`]): What was chosen in the tabs before.
    """
    tab = _Chat(recognizer)
    about, turns, faces = gr.State(Chosen()), gr.State(()), gr.State(None)
    with gr.Row(elem_classes="face-columns"):
        with gr.Column(scale=4, min_width=300):
            panel, picture, clip = _subject()
        with gr.Column(scale=7, min_width=300):
            chat, question, send, stop, examples = _conversation(recognizer)
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    shown = [panel, about, turns, chat]
    asked, answered = [question, about, turns], [question, turns, chat]
    running: list[Any] = [
        picture.input(on_gpu(tab.look), picture, [*shown, faces], **private),
        clip.input(on_gpu(tab.play), clip, [*shown, faces], **private),
        panel.select(on_gpu(tab.choose), faces, shown, **private),
        question.submit(on_gpu(tab.talk), asked, answered, **private),
        send.click(on_gpu(tab.talk), asked, answered, **private),
        examples.load_input_event.then(on_gpu(tab.talk), asked, answered, **private),
    ]
    chosen.change(tab.take, chosen, [*shown, faces], **private)
    chat.clear(lambda: (), None, turns, **private)
    for event in running:  # whoever stops gets this as well: what was said until then
        event.failure(messages, turns, chat, queue=False, **private)
    stop.click(None, cancels=running, queue=False, api_visibility="private")
    with gr.Row(visible=False):
        face, history = gr.Number(0, label="Face"), gr.JSON(None, label="History")
        words = gr.Textbox(label="Question")
        reply = gr.Textbox(label="Answer")
        given = [words, picture, clip, face, history]
        gr.Button().click(on_gpu(tab.answer), given, reply, api_name="chat")


def _subject() -> tuple[gr.HTML, gr.Image, gr.Video]:
    """What is talked about, and places to give it."""
    panel = gr.HTML(
        hint(EMPTY),
        elem_id="chat-about",
        js_on_load=SCRIPT,
        apply_default_css=False,
        min_height=120,
    )
    with gr.Tabs():
        with gr.Tab("Picture", elem_id="chat-picture-tab"):
            picture = gr.Image(
                type="filepath",
                image_mode=None,  # the package itself reads the file
                sources=["upload", "webcam", "clipboard"],
                label="Picture",
                height=240,
                buttons=[],
                elem_id="chat-picture",
                alt_text="The picture that you talk about",
            )
        with gr.Tab("Clip", elem_id="chat-clip-tab"):
            clip = gr.Video(
                sources=["upload", "webcam"], label="Clip", height=240, elem_id="chat-clip"
            )
    return panel, picture, clip


def _conversation(
    recognizer: EmotionRecognizer,
) -> tuple[gr.Chatbot, gr.Textbox, gr.Button, gr.Button, Any]:
    """What is said, the next question, and what can be asked."""
    chat = gr.Chatbot(
        label="Conversation",
        height=400,
        render_markdown=False,  # what somebody typed stays what it is
        feedback_options=None,
        buttons=["copy"],
        allow_file_downloads=False,
        placeholder="What is said appears here.",
        elem_id="chat-said",
    )
    question = gr.Textbox(
        label="Question", placeholder=FOLLOW_UPS["eyes"], max_lines=3, elem_id="chat-question"
    )
    with gr.Row():
        send = gr.Button("Send", variant="primary", elem_id="chat-send")
        stop = gr.Button("Stop", elem_id="chat-stop")
    examples: Any = gr.Examples(
        [[text] for text in (*FOLLOW_UPS.values(), conversation_question())],
        question,
        label="Questions that it can answer",
        elem_id="chat-examples",
        api_visibility="private",
    )
    longest = recognizer.model.config.max_turns
    short = ""
    if longest is not None:
        rest = f", and the last {longest - 2} turns" if longest > 2 else " and nothing after that"
        short = SHORT.format(longest, rest)
    gr.Markdown(CAN + short, elem_id="chat-hint")
    return chat, question, send, stop, examples
