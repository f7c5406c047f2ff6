"""Asks the model questions about pictures and reads its answers.

Writes the prompt of one question about one picture, prepares it for a batch of pictures, and
generates. Everything that reaches the model at inference, label scoring too, is prepared here.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from PIL import Image

from emo_llama.boxes import Box
from emo_llama.errors import UsageError
from emo_llama.modeling import (
    EmoLlamaEncodings,
    EmoLlamaForConditionalGeneration,
    EmoLlamaProcessor,
)
from emo_llama.prompts import (
    answer_opening,
    clarity_sentence,
    conversation_question,
    opens_conversation,
    restate_clarity,
    with_prefix,
)

Turns = Sequence[tuple[str, str]]
"""Questions and their answers, in order."""

Key = TypeVar("Key", bound=Hashable)

MAX_CHARACTERS = 4_000  # of a question


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
        encodings: EmoLlamaEncodings,
        question: str,
        opening: str = "",
        batch_size: int = 32,
        prefixes: Sequence[str] | None = None,
        history: Sequence[Turns] | None = None,
    ) -> list[str]:
        """Answer one question about each of many pictures.

        Args:
            encodings ([`~emo_llama.modeling.EmoLlamaEncodings`]):
                A row a picture.
            question (`str`):
                The question.
            opening (`str`, *optional*, defaults to `""`):
                What each answer begins with.
            batch_size (`int`, *optional*, defaults to 32):
                Pictures in one pass.
            prefixes (`Sequence[str]`, *optional*):
                A sentence for each picture that stands before the first question, or an empty one.
            history (`Sequence[Sequence[tuple[str, str]]]`, *optional*):
                For each picture the questions and answers before.

        Returns:
            `list[str]`: The answers, with their opening.
        """
        answers = [""] * encodings.num_frames
        before = [tuple(turns) for turns in history or [()] * len(answers)]
        keys = list(zip(prefixes or [""] * len(answers), before, strict=True))
        for (prefix, turns), rows in alike(keys):
            prompt, kept = self._open_prompt(question, opening, prefix, turns)
            for start in range(0, len(rows), batch_size):
                part = rows[start : start + batch_size]
                inputs = prepare_inputs(self.processor, prompt, encodings.select(part))
                texts = self._generate(inputs, kept)
                for i, text in zip(part, texts, strict=True):
                    answers[i] = text
        return answers

    def _open_prompt(
        self, question: str, opening: str, prefix: str, turns: Turns
    ) -> tuple[str, int]:
        """The prompt with the opening of the answer, and how many tokens the opening has."""
        prompt = render_prompt(self.processor, question, history=turns, prefix=prefix)
        if not opening:
            return prompt, 0
        # As the template writes an answer, which may begin with a space or not.
        whole = render_prompt(self.processor, question, opening, history=turns, prefix=prefix)
        opened = whole[: whole.rindex(opening) + len(opening)]
        return opened, self._num_tokens(opened) - self._num_tokens(prompt)

    def answer_about_faces(
        self,
        encodings: EmoLlamaEncodings,
        shares: Sequence[Mapping[str, float]],
        question: str,
        prefixes: Sequence[str] | None = None,
        history: Turns | None = None,
    ) -> list[str]:
        """Answer somebody's question about each face, as training asks such questions.

        A question that does not ask for the expression itself is asked behind the description of
        the face: models have learned it as a second turn. What an answer says of how clear the
        expression is follows the probabilities, as in [`~Answerer.describe`].

        Args:
            encodings ([`~emo_llama.modeling.EmoLlamaEncodings`]):
                A row a face.
            shares (`Sequence[Mapping[str, float]]`):
                The probability of each label, for each picture.
            question (`str`):
                The question.
            prefixes (`Sequence[str]`, *optional*):
                As in [`~Answerer.answer`].
            history (`Sequence[tuple[str, str]]`, *optional*):
                Questions and answers before, in place of the description.

        Returns:
            `list[str]`: The answers.
        """
        turns: list[Turns] | None = None
        if history is not None:
            turns = [history] * len(shares)
        elif not opens_conversation(question):
            described = self.describe(encodings, shares, prefixes)
            turns = [[(conversation_question(), text)] for text in described]
        texts = self.answer(encodings, question, prefixes=prefixes, history=turns)
        return [
            restate_clarity(text, clarity_sentence(share, likeliest(share)))
            for text, share in zip(texts, shares, strict=True)
        ]

    def describe(
        self,
        encodings: EmoLlamaEncodings,
        shares: Sequence[Mapping[str, float]],
        prefixes: Sequence[str] | None = None,
    ) -> list[str]:
        """Say in a sentence or two what each face shows.

        The text begins with the likeliest label, so that it cannot contradict it. Its closing
        sentence, on how clear the expression is, is not the language model's: it states the spread
        of the probabilities, in the words that the training data have for the spread of votes.

        Args:
            encodings ([`~emo_llama.modeling.EmoLlamaEncodings`]):
                A row a face.
            shares (`Sequence[Mapping[str, float]]`):
                The probability of each label, for each picture.
            prefixes (`Sequence[str]`, *optional*):
                As in [`~Answerer.answer`].

        Returns:
            `list[str]`: The sentences.
        """
        texts = [""] * len(shares)
        labels = [likeliest(share) for share in shares]
        for label in sorted(set(labels)):  # one prompt a label: all rows have the same length
            rows = [i for i, other in enumerate(labels) if other == label]
            found = self.answer(
                encodings.select(rows),
                conversation_question(),
                answer_opening(label),
                prefixes=None if prefixes is None else [prefixes[i] for i in rows],
            )
            for i, text in zip(rows, found, strict=True):
                texts[i] = restate_clarity(text, clarity_sentence(shares[i], label), append=True)
        return texts

    def answer_clip(
        self, encodings: EmoLlamaEncodings, question: str, history: Turns | None = None
    ) -> str:
        """Answer a question about one video.

        Args:
            encodings ([`~emo_llama.modeling.EmoLlamaEncodings`]):
                A row for each of its sampled frames.
            question (`str`):
                The question.
            history (`Sequence[tuple[str, str]]`, *optional*):
                Questions and answers before; the model's own description by default, where the
                question does not ask for the expression itself.

        Returns:
            `str`: The answer.
        """
        if history is None and not opens_conversation(question):
            first = conversation_question("video")
            history = [(first, self.answer_clip(encodings, first))]
        prompt = render_prompt(self.processor, question, kind="video", history=history or ())
        inputs = self.processor(
            videos=[encodings],
            text=[prompt],
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


def likeliest(shares: Mapping[str, float]) -> str:
    """The label with the largest share.

    Args:
        shares (`Mapping[str, float]`):
            Shares by label.

    Returns:
        `str`: The label; the first of several.
    """
    return max(shares, key=shares.__getitem__)


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
