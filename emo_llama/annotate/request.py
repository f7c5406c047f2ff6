"""What an endpoint is asked about a record: the words, the picture, and the name of the answer.

The wording is ours. Whoever changes it, or what is shown, changes `PROMPT_VERSION` too, because
answers are kept by it. What a reply must look like is decided in `checks`.
"""

import hashlib
import io
from collections.abc import Sequence

from PIL import Image

from emo_llama.annotate.checks import WORD_LIMIT, label_words
from emo_llama.dataset_builders.schema import ExpressionRecord
from emo_llama.media import read_image

__all__ = [
    "CAPTION_PROMPT",
    "PROMPT_VERSION",
    "Picture",
    "answer_key",
    "caption_frames",
    "caption_picture",
    "centre_frame",
    "conversation_prompt",
    "encoded",
    "needs_caption",
]

Picture = tuple[bytes, str]
"""An encoded picture and its media type."""

PROMPT_VERSION = "1"

CAPTION_FRAMES = 4
CAPTION_SIDE = 512
"""Longest side of one frame in the sheet that a caption is asked for, pixels."""

CAPTION_PROMPT = (
    "These frames are of one short clip, in order from left to right and from top to bottom. Say "
    "in one or two plain sentences, 40 words at most, what the person does and how the face moves. "
    'Write "the person" and "they". Give no name, age, gender, ethnicity or diagnosis, and do not '
    "name an emotion. Reply with the sentences only."
)

CONVERSATION_PROMPT = """\
You write training data for a model that describes facial expressions. This is {shown}. Several \
people who looked at it agreed on the expression: {label}.{caption}

Write a conversation of one or two turns about it. Reply with JSON and nothing else:
{{"turns": [{{"question": "...", "answer": "..."}}, {{"question": "...", "answer": "..."}}]}}

Rules:
- The first question asks how the person looks or what the face shows. It names no expression.
- The first answer gives the evidence first: what brows, forehead, eyes and mouth visibly do. Only \
then it names the expression, with one of these words: {words}. Say only what can be seen; if the \
signs are slight, say so.
- A second turn is optional. Its question asks what the person is doing or why they look so. If \
the {kind} does not show it, the answer says that it cannot be known from the {kind}.
- Every answer has two to four short sentences and fewer than {limit} words.
- State no other expression of the person.
- Write "the person" and "they". No name and no guess who it is; no age, gender or ethnicity; \
nothing about health, and no diagnosis.
- Do not mention other people's opinions, these rules, or this request.
"""

_MEDIA_TYPES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png"}


def conversation_prompt(record: ExpressionRecord, caption: str = "") -> str:
    """The request for the conversation about a record.

    Args:
        record (`ExpressionRecord`):
            The face.
        caption (`str`, *optional*, defaults to `""`):
            What happens in the clip.

    Returns:
        `str`: About 330 tokens.
    """
    clip = record.kind == "video"
    return CONVERSATION_PROMPT.format(
        shown="the middle frame of a short clip" if clip else "a picture of a person",
        kind="clip" if clip else "picture",
        label=record.label,
        words=", ".join(label_words(record.label)),
        caption=f"\nWhat happens in the clip: {caption}" if caption else "",
        limit=WORD_LIMIT,
    )


def needs_caption(record: ExpressionRecord) -> bool:
    """Whether a caption is asked for first: for a clip of several frames that has none."""
    return record.kind == "video" and len(record.images) > 1 and not record.caption


def centre_frame(record: ExpressionRecord) -> bytes:
    """The picture that the conversation is about: the frame in the middle, or the only picture."""
    return record.images[len(record.images) // 2]


def caption_frames(record: ExpressionRecord) -> list[bytes]:
    """Up to four frames of a clip, evenly spaced."""
    count = min(CAPTION_FRAMES, len(record.images))
    return [record.images[int((i + 0.5) * len(record.images) / count)] for i in range(count)]


def encoded(data: bytes) -> Picture:
    """A picture in a format that every endpoint takes.

    Args:
        data (`bytes`):
            An encoded picture.

    Returns:
        `tuple[bytes, str]`: JPEG and PNG as they are, anything else as PNG; and the media type.

    Raises:
        MediaError: The bytes are no picture of a known format.
    """
    for start, media_type in _MEDIA_TYPES.items():
        if data.startswith(start):
            return data, media_type
    return _encode(read_image(data), "PNG"), "image/png"


def caption_picture(frames: Sequence[bytes]) -> Picture:
    """Frames on one sheet, two in a row.

    Args:
        frames (`Sequence[bytes]`):
            Encoded pictures.

    Returns:
        `tuple[bytes, str]`: The sheet as JPEG, and its media type.

    Raises:
        MediaError: A frame cannot be decoded.
    """
    images = [read_image(frame) for frame in frames]
    images[0].thumbnail((CAPTION_SIDE, CAPTION_SIDE))
    width, height = images[0].size
    sheet = Image.new("RGB", (2 * width, (len(images) + 1) // 2 * height))
    for place, image in enumerate(images):
        sheet.paste(image.resize((width, height)), (place % 2 * width, place // 2 * height))
    return _encode(sheet, "JPEG"), "image/jpeg"


def answer_key(step: str, provider: str, model: str, record: ExpressionRecord) -> str:
    """The name under which an answer is kept: whatever decides it, hashed.

    Args:
        step (`str`):
            `"conversation"` or `"caption"`.
        provider (`str`):
            Kind of endpoint.
        model (`str`):
            Name of the model.
        record (`ExpressionRecord`):
            The face.

    Returns:
        `str`: SHA-256 as 64 hexadecimal digits.
    """
    texts, images = [record.label, record.caption], [centre_frame(record)]
    if step == "caption":
        texts, images = [], caption_frames(record)
    elif needs_caption(record):
        images += caption_frames(record)
    texts = [step, provider, model, PROMPT_VERSION, record.kind, *texts]
    digest = hashlib.sha256()
    for part in [*(text.encode() for text in texts), *images]:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _encode(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()
