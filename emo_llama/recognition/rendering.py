"""Writes the turns of a conversation as the model's prompt, and prepares it for many pictures.

Everything that reaches the model at inference, label scoring too, is prepared here.
"""

from collections.abc import Hashable, Iterator, Sequence
from typing import Any, TypeVar

from PIL import Image

from emo_llama.boxes import Box
from emo_llama.errors import UsageError
from emo_llama.modeling import EmoLlamaEncodings, EmoLlamaProcessor
from emo_llama.prompts import with_prefix

__all__ = ["Turns", "alike", "plain_text", "prepare_inputs", "render_prompt"]

Turns = Sequence[tuple[str, str]]
"""Questions and their answers, in order."""

Key = TypeVar("Key", bound=Hashable)

MAX_CHARACTERS = 4_000  # of a question


def render_prompt(
    processor: EmoLlamaProcessor,
    question: str,
    answer: str | None = None,
    kind: str = "image",
    history: Turns = (),
    prefix: str = "",
) -> str:
    """Write a question about one picture as the model's prompt.

    Args:
        processor ([`~emo_llama.modeling.EmoLlamaProcessor`]):
            Gives the chat template.
        question (`str`):
            The question.
        answer (`str`, *optional*):
            The answer to append with its end token. Without it the prompt ends where the answer
            begins.
        kind (`str`, *optional*, defaults to `"image"`):
            `"image"` or `"video"`.
        history (`Sequence[tuple[str, str]]`, *optional*):
            Questions and answers before.
        prefix (`str`, *optional*, defaults to `""`):
            A sentence before the first question.

    Returns:
        `str`: The text, with one placeholder.
    """
    questions = [*(asked for asked, _ in history), question]
    answers = [*(said for _, said in history), *([] if answer is None else [answer])]
    messages: list[dict[str, Any]] = []
    for turn, asked in enumerate(questions):
        text = plain_text(processor, asked if turn else with_prefix(asked, prefix))
        picture = [] if turn else [{"type": kind}]
        messages.append({"role": "user", "content": [*picture, {"type": "text", "text": text}]})
        if turn < len(answers):
            said = plain_text(processor, answers[turn])
            messages.append({"role": "assistant", "content": said})
    return processor.apply_chat_template(
        messages, add_generation_prompt=answer is None, tokenize=False
    )


def plain_text(processor: EmoLlamaProcessor, text: str) -> str:
    """What somebody typed, without placeholders: nobody can add a picture that is not there.

    Args:
        processor ([`~emo_llama.modeling.EmoLlamaProcessor`]):
            Owns the placeholders.
        text (`str`):
            A question, or an answer of an earlier turn.

    Returns:
        `str`: The text; what is no Unicode, as bytes of another encoding on the command line, is
        replaced by question marks.

    Raises:
        UsageError: It is too long, or the tokenizer reads a placeholder in other characters.
    """
    if len(text) > MAX_CHARACTERS:
        raise UsageError(
            f"Expected a question of up to {MAX_CHARACTERS:,} characters, got {len(text):,}."
        )
    text = text.encode(errors="replace").decode()  # lone surrogates
    tokens = (processor.image_token, processor.video_token)
    while any(token in text for token in tokens):  # one that is taken out may join two halves
        for token in tokens:
            text = text.replace(token, "")
    ids = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    if {processor.image_token_id, processor.video_token_id} & set(ids):
        raise UsageError(f"The question holds a placeholder of the model, {tokens}. Leave it out.")
    return text


def prepare_inputs(
    processor: EmoLlamaProcessor,
    prompt: str,
    images: EmoLlamaEncodings | Sequence[Image.Image],
    boxes: Sequence[Box | None] | None = None,
) -> Any:
    """Prepare one prompt for many pictures.

    Args:
        processor ([`~emo_llama.modeling.EmoLlamaProcessor`]):
            The processor.
        prompt (`str`):
            A prompt with one image placeholder.
        images ([`~emo_llama.modeling.EmoLlamaEncodings`] or `Sequence[PIL.Image.Image]`):
            The pictures, as a rule encoded.
        boxes (`Sequence[tuple[float, float, float, float] | None]`, *optional*):
            The face of each picture that is not encoded; without it the whole picture is the face.

    Returns:
        `BatchFeature`: Tensors for the model. All rows have the same length, so none is padded.
    """
    pictures = images if isinstance(images, EmoLlamaEncodings) else list(images)
    count = pictures.num_frames if isinstance(pictures, EmoLlamaEncodings) else len(pictures)
    return processor(
        images=pictures,
        text=[prompt] * count,
        face_boxes=None if boxes is None else list(boxes),
        add_special_tokens=False,  # the template writes them
        return_tensors="pt",
    )


def alike(keys: Sequence[Key]) -> Iterator[tuple[Key, list[int]]]:
    """Groups pictures whose prompts are the same, so that no row of a batch is padded.

    Args:
        keys (`Sequence[Hashable]`):
            What decides the prompt of each picture.

    Yields:
        `tuple[Hashable, list[int]]`: A key and the pictures that have it.
    """
    groups: dict[Key, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    yield from groups.items()
