"""Asks the model questions about pictures and clips, and reads its answers.

Which turns stand before a question, and what an answer must agree with, is decided here; how they
are written for the model in `rendering`.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import torch

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
)
from emo_llama.recognition.rendering import Turns, alike, prepare_inputs, render_prompt
from emo_llama.recognition.streaming import AnswerStream


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
        **options: Any,
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
            options (`dict`, *optional*):
                Of `generate`.

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
                texts = self._generate(inputs, kept, **options)
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
        stream: AnswerStream | None = None,
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
                Questions and answers before, in place of the description; where there are more
                than the model can read, those behind the first are left out.
            stream ([`AnswerStream`], *optional*):
                Gets the answer about a single face as it is written.

        Returns:
            `list[str]`: The answers.
        """
        turns: list[Turns] | None = None
        if history is not None:
            turns = [self._recent(question, history)] * len(shares)
        elif not opens_conversation(question):
            options = stream.silent_options() if stream else {}
            described = self.describe(encodings, shares, prefixes, **options)
            turns = [[(conversation_question(), text)] for text in described]
        sentences = [clarity_sentence(share, likeliest(share)) for share in shares]
        options = stream.options(self._read, sentences[0]) if stream else {}
        texts = self.answer(encodings, question, prefixes=prefixes, history=turns, **options)
        return list(map(restate_clarity, texts, sentences))

    def describe(
        self,
        encodings: EmoLlamaEncodings,
        shares: Sequence[Mapping[str, float]],
        prefixes: Sequence[str] | None = None,
        **options: Any,
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
            options (`dict`, *optional*):
                Of `generate`.

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
                **options,
            )
            for i, text in zip(rows, found, strict=True):
                texts[i] = restate_clarity(text, clarity_sentence(shares[i], label), append=True)
        return texts

    def answer_about_clip(
        self,
        encodings: EmoLlamaEncodings,
        shares: Mapping[str, float],
        question: str,
        history: Turns | None = None,
        stream: AnswerStream | None = None,
    ) -> str:
        """Answer a question about one video.

        Args:
            encodings ([`~emo_llama.modeling.EmoLlamaEncodings`]):
                A row for each of its sampled frames.
            shares (`Mapping[str, float]`):
                The probability of each label, over the frames; what the answer says of how clear
                the expression is follows them.
            question (`str`):
                The question.
            history (`Sequence[tuple[str, str]]`, *optional*):
                Questions and answers before; the model's own description by default, where the
                question does not ask for the expression itself.
            stream ([`AnswerStream`], *optional*):
                Gets the answer as it is written.

        Returns:
            `str`: The answer.
        """
        frames = encodings.num_frames
        if history is not None:
            history = self._recent(question, history, "video", frames)
        elif not opens_conversation(question):
            first = conversation_question("video")
            options = stream.silent_options() if stream else {}
            history = [(first, self._answer_clip(encodings, first, (), **options))]
        sentence = clarity_sentence(shares, likeliest(shares))
        options = stream.options(self._read, sentence) if stream else {}
        text = self._answer_clip(encodings, question, history or (), **options)
        return restate_clarity(text, sentence)

    def _answer_clip(
        self, encodings: EmoLlamaEncodings, question: str, history: Turns, **options: Any
    ) -> str:
        """What the model itself answers about a video."""
        prompt = render_prompt(self.processor, question, kind="video", history=history)
        inputs = self.processor(
            videos=[encodings],
            text=[prompt],
            add_special_tokens=False,
            return_tensors="pt",
        )
        return self._generate(inputs, **options)[0]

    def _recent(
        self, question: str, turns: Turns, kind: str = "image", num_frames: int = 1
    ) -> Turns:
        """The turns that the model can read beside a question: the first, and the last ones.

        Behind the first stands the picture, and it describes the face. A model that has learned
        short conversations gets no longer ones: of 30 faces, all 30 second questions of the
        embedded one are answered to the point behind one turn, and 0 to 12 behind three or more.
        """
        pictures = num_frames * self.processor.num_tokens_per_frame
        longest = self.model.config.get_text_config().max_position_embeddings
        room = longest - self.max_new_tokens - pictures

        learned = self.model.config.max_turns

        def fits(left_out: int) -> bool:
            kept = [*turns[:1], *turns[1 + left_out :]]
            if learned is not None and len(kept) >= learned:
                return False
            prompt = render_prompt(self.processor, question, kind=kind, history=kept)
            return self._num_tokens(prompt) <= room

        most = max(len(turns) - 1, 0)
        return [*turns[:1], *turns[1 + bisect_left(range(most), True, key=fits) :]]

    @torch.inference_mode()
    def _generate(self, inputs: Any, kept: int = 0, **options: Any) -> list[str]:
        """Generate and decode what is new, and the `kept` tokens of the prompt before it."""
        inputs = inputs.to(self.model.device)
        options |= {"max_new_tokens": self.max_new_tokens, "do_sample": False}
        ids = self.model.generate(**inputs, **options)
        new = ids[:, inputs["input_ids"].shape[1] - kept :]
        return list(map(self._read, new))

    def _read(self, ids: Sequence[int] | torch.Tensor) -> str:
        """The text of new tokens."""
        return self.processor.decode(ids, skip_special_tokens=True).strip()

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
