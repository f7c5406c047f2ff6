"""An answer while it is being written: pieces of text as soon as they will not change any more.

The model writes in a thread of its own, which ends at the next token once nobody reads on. What
the answer is, is decided where it is asked for; here only, how much of it is certain.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Event
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from emo_llama.prompts import restate_clarity, settled

__all__ = ["AnswerStream", "stream_answer"]


class AnswerStream(BaseStreamer, StoppingCriteria):
    """Hands on the text of one answer while transformers generates it, and can end that.

    Args:
        send (`Callable[[str], None]`):
            Takes each piece.
    """

    def __init__(self, send: Callable[[str], None]) -> None:
        self._send = send
        self._stopped = Event()
        self._sent = ""
        self._ids: list[int] = []
        self._is_prompt = True
        self._read: Callable[[list[int]], str] = str
        self._sentence = ""

    def options(self, read: Callable[[list[int]], str], sentence: str) -> dict[str, Any]:
        """The arguments of `generate` that send the answer.

        Args:
            read (`Callable[[list[int]], str]`):
                Gives the text of token ids.
            sentence (`str`):
                What the answer is to say of how clear the expression is.

        Returns:
            `dict[str, Any]`: Streamer and stopping criteria.
        """
        self._read, self._sentence = read, sentence
        return {"streamer": self, **self.silent_options()}

    def silent_options(self) -> dict[str, Any]:
        """The arguments of `generate` for text before the answer, of which nothing is sent."""
        return {"stopping_criteria": StoppingCriteriaList([self])}

    def put(self, value: torch.Tensor) -> None:
        """Take the next token, (1,), or first of all the prompt, (1, T)."""
        if self._is_prompt:
            self._is_prompt = False
            return
        self._ids += value.tolist()
        self.send(restate_clarity(settled(self._read(self._ids)), self._sentence))

    def end(self) -> None:
        """Nothing: the whole answer follows."""

    def send(self, text: str) -> None:
        """Send what is new.

        Args:
            text (`str`):
                The answer so far.
        """
        if len(text) > len(self._sent):
            self._send(text[len(self._sent) :])
            self._sent = text

    def stop(self) -> None:
        """End the answer at the next token."""
        self._stopped.set()

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Whether to end here, (B,): transformers asks behind every token."""
        return torch.full((len(input_ids),), self._stopped.is_set(), device=input_ids.device)


def stream_answer(ask: Callable[[AnswerStream], str]) -> Iterator[str]:
    """Run what answers in a thread, and give its answer piece by piece.

    Args:
        ask (`Callable[[AnswerStream], str]`):
            Answers, through the stream that it gets, and returns the whole answer.

    Yields:
        `str`: The next piece; together they are the answer. Whoever stops reading ends the answer
        at the next token.

    Raises:
        EmoLlamaError: What `ask` raised.
    """
    pieces: SimpleQueue[str | None] = SimpleQueue()
    stream = AnswerStream(pieces.put)
    pool = ThreadPoolExecutor(1, "answer")
    answer = pool.submit(lambda: stream.send(ask(stream)))
    answer.add_done_callback(lambda _: pieces.put(None))
    pool.shutdown(wait=False)  # its thread ends behind the one job
    try:
        while (piece := pieces.get()) is not None:
            yield piece
        answer.result()
    finally:
        stream.stop()
