"""Asks the model questions about pictures and reads its answers.

Writes the prompt of one question about one picture, prepares it for a batch of pictures, and
generates. Everything that reaches the model at inference, label scoring too, is prepared here.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from PIL import Image

from emo_llama.boxes import Box
from emo_llama.modeling import EmoLlamaForConditionalGeneration, EmoLlamaProcessor
from emo_llama.prompts import answer_opening, conversation_question, led


class Answerer:
    """Answers questions about faces, greedily: the same picture always gets the same answer.

    Args:
        model ([`~emo_llama.modeling.EmoLlamaForConditionalGeneration`]):
            The model, in evaluation mode.
        processor ([`~emo_llama.modeling.EmoLlamaProcessor`]):
            Its processor.
        max_new_tokens (`int`, *optional*, defaults to 64):
            The longest answer, tokens.
    """

    def __init__(
        self,
        model: EmoLlamaForConditionalGeneration,
        processor: EmoLlamaProcessor,
        max_new_tokens: int = 64,
    ) -> None:
        self.model = model
        self.processor = processor
        self.max_new_tokens = max_new_tokens

    def answer(
        self,
        images: Sequence[Image.Image],
        boxes: Sequence[Box | None] | None,
        question: str,
        opening: str = "",
        batch_size: int = 32,
        leads: Sequence[str] | None = None,
    ) -> list[str]:
        """Answer one question about each of many pictures.

        Args:
            images (`Sequence[PIL.Image.Image]`):
                Pictures, RGB.
            boxes (`Sequence[tuple[float, float, float, float] | None]`, *optional*):
                The face of each picture, xyxy pixels, or `None` where there is none. Without it
                each whole picture is the face.
            question (`str`):
                The question.
            opening (`str`, *optional*, defaults to `""`):
                What each answer begins with.
            batch_size (`int`, *optional*, defaults to 32):
                Pictures in one pass.
            leads (`Sequence[str]`, *optional*):
                A sentence for each picture that stands before the question, or an empty one.

        Returns:
            `list[str]`: The answers, with their opening.
        """
        answers = [""] * len(images)
        for lead, rows in same_lead(leads, len(images)):
            for start in range(0, len(rows), batch_size):
                part = rows[start : start + batch_size]
                given = None if boxes is None else [boxes[i] for i in part]
                asked = led(question, lead)
                texts = self._answer_batch([images[i] for i in part], given, asked, opening)
                for i, text in zip(part, texts, strict=True):
                    answers[i] = text
        return answers

    def _answer_batch(
        self,
        images: Sequence[Image.Image],
        boxes: Sequence[Box | None] | None,
        question: str,
        opening: str,
    ) -> list[str]:
        """Answers to one question about each picture of a batch."""
        prompt = render_prompt(self.processor, question)
        opened = prompt
        if opening:  # as the template writes an answer, which may begin with a space or not
            whole = render_prompt(self.processor, question, opening)
            opened = whole[: whole.rindex(opening) + len(opening)]
        kept = self._num_tokens(opened) - self._num_tokens(prompt)
        inputs = prepare_inputs(self.processor, opened, images, boxes)
        return self._generate(inputs, kept)

    def describe(
        self,
        images: Sequence[Image.Image],
        boxes: Sequence[Box | None],
        labels: Sequence[str],
        leads: Sequence[str] | None = None,
    ) -> list[str]:
        """Say in a sentence or two what each face shows.

        The sentence begins with the given label, so that it cannot contradict it.

        Args:
            images (`Sequence[PIL.Image.Image]`):
                Pictures, RGB.
            boxes (`Sequence[tuple[float, float, float, float] | None]`):
                The face of each picture, xyxy pixels.
            labels (`Sequence[str]`):
                The expression of each.
            leads (`Sequence[str]`, *optional*):
                As in [`~Answerer.answer`].

        Returns:
            `list[str]`: The sentences.
        """
        texts = [""] * len(images)
        for label in sorted(set(labels)):  # one prompt a label: all rows have the same length
            rows = [i for i, other in enumerate(labels) if other == label]
            found = self.answer(
                [images[i] for i in rows],
                [boxes[i] for i in rows],
                conversation_question(),
                answer_opening(label),
                leads=None if leads is None else [leads[i] for i in rows],
            )
            for i, text in zip(rows, found, strict=True):
                texts[i] = text
        return texts

    def answer_clip(
        self, frames: Sequence[Image.Image], boxes: Sequence[Box | None], question: str
    ) -> str:
        """Answer a question about one video.

        Args:
            frames (`Sequence[PIL.Image.Image]`):
                Its sampled frames, RGB.
            boxes (`Sequence[tuple[float, float, float, float] | None]`):
                The face of each frame, xyxy pixels, or `None` where there is none.
            question (`str`):
                The question.

        Returns:
            `str`: The answer.
        """
        inputs = self.processor(
            videos=[list(frames)],
            text=[render_prompt(self.processor, question, kind="video")],
            video_face_boxes=[list(boxes)],
            add_special_tokens=False,
            return_tensors="pt",
        )
        return self._generate(inputs)[0]

    @torch.inference_mode()
    def _generate(self, inputs: Any, kept: int = 0) -> list[str]:
        """Generate and decode what is new, and the `kept` tokens of the prompt before it."""
        inputs = inputs.to(self.model.device)
        ids = self.model.generate(**inputs, max_new_tokens=self.max_new_tokens, do_sample=False)
        new = ids[:, inputs["input_ids"].shape[1] - kept :]
        return [text.strip() for text in self.processor.batch_decode(new, skip_special_tokens=True)]

    def _num_tokens(self, text: str) -> int:
        return len(self.processor.tokenizer(text, add_special_tokens=False)["input_ids"])


def same_lead(leads: Sequence[str] | None, count: int) -> Iterator[tuple[str, list[int]]]:
    """Groups pictures whose prompts are the same, so that no row of a batch is padded.

    Args:
        leads (`Sequence[str]`, *optional*):
            What stands before the question of each picture; nothing, by default.
        count (`int`):
            Pictures.

    Yields:
        `tuple[str, list[int]]`: A lead and the pictures that have it.
    """
    groups: dict[str, list[int]] = {}
    for index in range(count):
        groups.setdefault(leads[index] if leads is not None else "", []).append(index)
    yield from groups.items()


def render_prompt(
    processor: EmoLlamaProcessor, question: str, answer: str | None = None, kind: str = "image"
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

    Returns:
        `str`: The text, with one placeholder.
    """
    # Whoever asks must not be able to add a second picture that is not there.
    for token in (processor.image_token, processor.video_token):
        question = question.replace(token, "")
    content = [{"type": kind}, {"type": "text", "text": question}]
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if answer is not None:
        messages.append({"role": "assistant", "content": answer})
    return processor.apply_chat_template(
        messages, add_generation_prompt=answer is None, tokenize=False
    )


def prepare_inputs(
    processor: EmoLlamaProcessor,
    prompt: str,
    images: Sequence[Image.Image],
    boxes: Sequence[Box | None] | None,
) -> Any:
    """Prepare one prompt for many pictures.

    Args:
        processor ([`~emo_llama.modeling.EmoLlamaProcessor`]):
            The processor.
        prompt (`str`):
            A prompt with one image placeholder.
        images (`Sequence[PIL.Image.Image]`):
            The pictures.
        boxes (`Sequence[tuple[float, float, float, float] | None]`, *optional*):
            The face of each picture; without it each whole picture is the face.

    Returns:
        `BatchFeature`: Tensors for the model. All rows have the same length, so none is padded.
    """
    return processor(
        images=list(images),
        text=[prompt] * len(images),
        face_boxes=None if boxes is None else list(boxes),
        add_special_tokens=False,  # the template writes them
        return_tensors="pt",
    )
