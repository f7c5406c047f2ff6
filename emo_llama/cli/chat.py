"""`emo-llama chat`: a conversation about one image or clip, here or through a pipe."""

import argparse
import os
from typing import TYPE_CHECKING, Any

from emo_llama.cli import _options, _output
from emo_llama.errors import EmoLlamaError, UsageError
from emo_llama.escaping import escape, printable

if TYPE_CHECKING:
    from emo_llama.boxes import Box
    from emo_llama.recognition.recognizer import EmotionRecognizer

EXAMPLES = """examples:
  emo-llama chat photo.jpg
  emo-llama chat clip.mp4 --model my-model
  echo "What do the eyes show?" | emo-llama chat photo.jpg --face 1

At a terminal each line is answered as it is typed; Ctrl-C stops an answer, Ctrl-D ends. From a pipe
each line of input becomes one line of output.
"""
PROMPT = "> "


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb.

    Args:
        parser (`argparse.ArgumentParser`):
            The verb's parser.
    """
    parser.epilog = EXAMPLES
    parser.add_argument("path", metavar="PATH", help="image or video")
    parser.add_argument(
        "--face",
        type=int,
        default=0,
        metavar="N",
        help="which face of an image, from 0, in the order of predict (default: the largest)",
    )
    _options.add(parser, "--faces", "--model", "--device", "--attributes")


def main(args: argparse.Namespace) -> int:
    """Talk until the input ends.

    Args:
        args (`argparse.Namespace`):
            The options of this verb.

    Returns:
        `int`: 0.

    Raises:
        UsageError: There is no such image or clip, or nothing to see in it.
    """
    _options.refuse_address(args.path)
    if os.path.isdir(args.path):
        raise UsageError(
            f"{args.path}: a folder. Name one image or clip; predict takes whole folders."
        )
    try:
        source, kind = _read(args.path)
    except EmoLlamaError as error:
        raise UsageError(str(error)) from error
    recognizer = _load(args)
    crop = _crop(recognizer, source, args.face) if kind == "image" else None
    _talk(recognizer, source, kind, crop)
    return 0


def _read(path: str) -> tuple[Any, str]:
    """The opened image, or the path of a clip that can be decoded; before any model is loaded."""
    from emo_llama.media import media_kind, read_image, read_video

    kind = media_kind(path)
    if kind == "image":
        return read_image(path), kind
    next(read_video(path, max_frames=1))
    return path, kind


def _load(args: argparse.Namespace) -> "EmotionRecognizer":
    """The recognizer, with transformers' own messages left out."""
    from transformers.utils import logging

    from emo_llama.recognition.recognizer import EmotionRecognizer

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return EmotionRecognizer.from_pretrained(
        args.model,
        detector="none" if args.faces == "none" else "auto",
        device=args.device,
        attributes=args.attributes,
    )


def _crop(recognizer: "EmotionRecognizer", image: Any, index: int) -> "Box | None":
    """Where the face is that is meant; nowhere, where the whole picture is looked at."""
    found = recognizer.find_faces(image)
    if not 0 <= index < max(len(found), 1):
        raise UsageError(
            f"--face expects one of the {len(found)} faces, from 0, got {index}. See where they "
            "are: emo-llama predict"
        )
    if not found:
        _output.message("No face was found; the whole picture is looked at.")
    return found[index].crop if found else None


def _talk(recognizer: "EmotionRecognizer", source: Any, kind: str, crop: "Box | None") -> None:
    """Describe, then answer line by line, each behind all turns before it."""
    from emo_llama.prompts import FOLLOW_UPS, conversation_question

    is_terminal = _output.is_terminal()
    turns: list[tuple[str, str]] = []

    def answer(question: str, is_shown: bool = True) -> None:
        text = ""
        for piece in recognizer.stream(source, question, list(turns) or None, crop):
            text += piece
            if is_shown:
                _output.piece(printable(piece))
        turns.append((question, text))

    if is_terminal:
        _output.message(f"Ask about what you see, as: {FOLLOW_UPS['eyes']} Ctrl-D ends.")
    _answer_one(answer, conversation_question(kind), is_terminal, is_terminal)
    while (line := _output.ask(PROMPT if is_terminal else "")) is not None:
        if line.strip():
            _answer_one(answer, line.strip(), True, is_terminal)
        elif not is_terminal:
            _output.data("")  # the nth line answers the nth


def _answer_one(answer: Any, question: str, is_shown: bool, is_terminal: bool) -> None:
    """One answer; at a terminal neither Ctrl-C nor a bad question ends the conversation."""
    try:
        if question != escape(question):
            raise UsageError("Expected a question in UTF-8, got other bytes. Type it again.")
        answer(question, is_shown)
    except KeyboardInterrupt:
        if not is_terminal:
            raise
    except UsageError as error:
        if not is_terminal:
            raise
        _output.message(str(error))
    if is_shown:
        _output.data("")
