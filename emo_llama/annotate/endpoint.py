"""Lets a vision-language model behind an endpoint write the conversations, and keeps its answers.

All records are asked about before the rows are built, several at a time, and every answer goes into
a file at once; building then only looks answers up. A run that was cut off, however, goes on where
it ended. The words are decided in `request`, what is accepted in `checks`, the pace in `asking`.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from emo_llama.annotate.answers import Answer, AnswerFile
from emo_llama.annotate.asking import Asker, Pace, Unanswered
from emo_llama.annotate.checks import Malformed, Refused, read_caption, read_turns
from emo_llama.annotate.clients import make_client
from emo_llama.annotate.prices import (
    ANSWER_TOKENS,
    CAPTION_TOKENS,
    PRICES,
    Estimate,
    Price,
    prompt_tokens,
)
from emo_llama.annotate.request import (
    CAPTION_PROMPT,
    PROMPT_VERSION,
    Picture,
    answer_key,
    caption_frames,
    caption_picture,
    centre_frame,
    conversation_prompt,
    encoded,
    needs_caption,
)
from emo_llama.dataset_builders.schema import ExpressionRecord, Message
from emo_llama.errors import EndpointError, MediaError, UsageError

__all__ = ["EndpointAnnotator", "EndpointOptions", "Report"]

Checked = TypeVar("Checked")


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """Which endpoint is asked, and how.

    Args:
        provider (`str`):
            `"openai"` (any endpoint that speaks its protocol) or `"gemini"`.
        model (`str`):
            Name of the model.
        base_url (`str`, *optional*, defaults to `""`):
            Where the endpoint is, if not the provider's own.
        workers (`int`, *optional*, defaults to 8):
            Requests under way at a time.
        tries (`int`, *optional*, defaults to 3):
            How often an item is asked about until its answer can be used.
        timeout (`float`, *optional*, defaults to 120.0):
            How long to wait for a reply, seconds.
        retry_failed (`bool`, *optional*, defaults to `False`):
            Whether to ask again what was refused or could not be used in an earlier run.
        give_up_after (`int`, *optional*, defaults to 50):
            Items in a row without a conversation that end a run, since an endpoint that is down, or
            refuses everything, must not be asked for days; 0: never.
        pace (`Pace`, *optional*):
            How fast to ask, and how patiently where no answer comes.
    """

    provider: str
    model: str
    base_url: str = ""
    workers: int = 8
    tries: int = 3
    timeout: float = 120.0
    retry_failed: bool = False
    give_up_after: int = 50
    pace: Pace = field(default_factory=Pace)


@dataclass(slots=True)
class Report:
    """What became of the items of a run: `items` is the sum of the five other numbers.

    Args:
        items (`int`, *optional*, defaults to 0):
            Records.
        cached (`int`, *optional*, defaults to 0):
            Had an answer already, of whatever kind.
        written (`int`, *optional*, defaults to 0):
            Got a conversation.
        refused (`int`, *optional*, defaults to 0):
            The model, its filter or the endpoint declined.
        malformed (`int`, *optional*, defaults to 0):
            No reply could be used.
        failed (`int`, *optional*, defaults to 0):
            No reply came; these are asked about again by the next run.
        problems (`list[Answer]`, *optional*):
            The items that were refused, malformed or failed, each with its reason.
        in_a_row (`int`, *optional*, defaults to 0):
            Items without a conversation since the last that got one.
    """

    items: int = 0
    cached: int = 0
    written: int = 0
    refused: int = 0
    malformed: int = 0
    failed: int = 0
    problems: list[Answer] = field(default_factory=list)
    in_a_row: int = 0

    def add(self, answer: Answer) -> None:
        """Count what became of an item."""
        setattr(self, answer.status, getattr(self, answer.status) + 1)
        if answer.status == "written":
            self.in_a_row = 0
        else:
            self.in_a_row += 1
            self.problems.append(answer)

    def __str__(self) -> str:
        return (
            f"{self.items:,} items: {self.cached:,} answered before, {self.written:,} written, "
            f"{self.refused:,} refused, {self.malformed:,} malformed, {self.failed:,} failed"
        )


class EndpointAnnotator:
    """Conversations by a model behind an endpoint; one of the annotators of a build.

    Args:
        options (`EndpointOptions`):
            Which endpoint is asked, and how.
        answers (`str` or `Path`):
            The file that keeps the answers; one that exists is gone on with.

    Raises:
        UsageError: A number of the options is below 1.

    Example:

    ```python
    >>> from emo_llama.annotate.endpoint import EndpointAnnotator, EndpointOptions
    >>> from emo_llama.dataset_builders.schema import ExpressionRecord

    >>> annotator = EndpointAnnotator(EndpointOptions("openai", "gpt-4o"), "answers.jsonl")
    >>> record = ExpressionRecord("drawn", 0, (b"a picture",), "happiness", ("happiness",))
    >>> annotator(record) is None  # nothing was asked yet
    True
    ```
    """

    def __init__(self, options: EndpointOptions, answers: str | Path) -> None:
        if min(options.workers, options.tries) < 1:
            raise UsageError(
                f"workers {options.workers}, tries {options.tries}: expected at least 1 of each"
            )
        self.options = options
        self.answers = AnswerFile(answers)
        self.counts: Counter[str] = Counter()
        self.report = Report()

    def prepare(self, records: Iterable[ExpressionRecord]) -> None:
        """Asks about every record that has no answer; as [`~EndpointAnnotator.ask_all`]."""
        self.ask_all(records)

    def ask_all(self, records: Iterable[ExpressionRecord]) -> Report:
        """Ask about every record that has no answer.

        Args:
            records (`Iterable[ExpressionRecord]`):
                Read one by one; a few for each worker are held at a time.

        Returns:
            `Report`: What became of them; `report` holds it too, while the run goes on.

        Raises:
            UsageError: The endpoint is not known, its key is not set, or the file of answers cannot
                be written.
            MissingDependencyError: The SDK is not installed.
            EndpointError: Nothing more will be answered; what was answered is kept.
        """
        report = self.report = Report()
        running: dict[str, Future[Answer]] = {}
        with (
            self.answers.writing() as keep,
            tqdm(desc="asking", unit=" items", disable=None) as bar,
            _Crew(self.options, self.answers, keep) as crew,
        ):
            for record in records:
                key = self._key(record)
                while key in running:  # the same picture again: its answer serves both
                    self._collect(running, bar)
                report.items += 1
                if self._is_answered(key):
                    report.cached += 1
                    bar.update()
                    continue
                running[key] = crew.submit(record, key)
                if len(running) >= 2 * self.options.workers:
                    self._collect(running, bar)
            while running:
                self._collect(running, bar)
        return report

    def __call__(self, record: ExpressionRecord) -> list[Message] | None:
        """The turns that were written about the record; `None` where there is no usable answer."""
        answer = self.answers.get(self._key(record))
        self.counts[answer.status if answer else "unanswered"] += 1
        if answer is None or answer.status != "written":
            return None
        roles = ("user", "assistant")
        texts = [text for turn in answer.turns for text in turn]
        return [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]

    def estimate(
        self, records: Iterable[ExpressionRecord], prices: dict[str, Price] | None = None
    ) -> Estimate:
        """What asking about the records would take.

        Args:
            records (`Iterable[ExpressionRecord]`):
                Read one by one.
            prices (`dict[str, Price]`, *optional*):
                As [`~emo_llama.annotate.prices.read_prices`] gives; the table there by default.

        Returns:
            `Estimate`: Requests, tokens and price; nothing is asked.
        """
        price = (PRICES if prices is None else prices).get(self.options.model)
        size = price or Price(0.0, 0.0)
        items = answered = requests = prompt = reply = 0
        for record in records:
            items += 1
            if self._is_answered(self._key(record)):
                answered += 1
                continue
            shown = [(conversation_prompt(record), encoded(centre_frame(record)), ANSWER_TOKENS)]
            if needs_caption(record):
                sheet = caption_picture(caption_frames(record))
                shown.append((CAPTION_PROMPT, sheet, CAPTION_TOKENS))
            requests += len(shown)
            reply += sum(tokens for _, _, tokens in shown)
            prompt += sum(prompt_tokens(text, picture[0], size) for text, picture, _ in shown)
        estimate = Estimate(self.options.model, items, answered, requests, prompt, reply)
        return estimate.priced(price)

    def provenance(self) -> dict[str, str]:
        """What decides the text."""
        return {
            "annotator": self.options.provider,
            "model": self.options.model,
            "prompt_version": PROMPT_VERSION,
        }

    def summary(self) -> str:
        """What was written so far and from what, one paragraph for the built folder's README."""
        counts = self.counts
        return (
            f"Conversations are written by the model `{self.options.model}` behind an endpoint of "
            f"kind `{self.options.provider}`, which was given the picture and the label, by prompt "
            f"version {PROMPT_VERSION}, not by a person. Every answer was checked by its words: it "
            "names the label and no other expression, and holds no name, diagnosis, age, gender or "
            f"ethnicity. Whether it is true of the picture was not checked. {counts['written']:,} "
            f"written; left out: {counts['refused']:,} refused by the model, "
            f"{counts['malformed']:,} malformed, {counts['unanswered']:,} without an answer."
        )

    def _collect(self, running: dict[str, Future[Answer]], bar: tqdm) -> None:
        """Count the items that are done, at least one."""
        report, limit = self.report, self.options.give_up_after
        done = wait(running.values(), return_when=FIRST_COMPLETED).done
        for key in [key for key, future in running.items() if future in done]:
            report.add(running.pop(key).result())
            bar.update()
        if limit and report.in_a_row >= limit:
            last = report.problems[-1]
            raise EndpointError(
                f"{report.in_a_row} items in a row got no conversation, the last ({last.item}) "
                f"because: {last.reason}. Put that right and start the same command again, or "
                "allow more in a row; nothing that was answered is asked twice."
            )

    def _key(self, record: ExpressionRecord) -> str:
        return answer_key("conversation", self.options.provider, self.options.model, record)

    def _is_answered(self, key: str) -> bool:
        """Whether an item is not asked about."""
        if not self.options.retry_failed:
            return key in self.answers
        answer = self.answers.get(key)
        return answer is not None and answer.status == "written"


class _Crew:
    """The threads that ask. Leaving waits for the requests under way and keeps their answers."""

    def __init__(
        self, options: EndpointOptions, answers: AnswerFile, keep: Callable[[Answer], None]
    ) -> None:
        self._options = options
        self._answers = answers
        self._keep = keep
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(options.workers)
        self._asker: Asker | None = None

    def __enter__(self) -> "_Crew":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def submit(self, record: ExpressionRecord, key: str) -> Future[Answer]:
        """Have a record asked about. The first one makes the client; answered ones need no key."""
        if self._asker is None:
            options = self._options
            client = make_client(options.provider, options.model, options.base_url, options.timeout)
            self._asker = Asker(client, options.pace, self._stop)
        return self._pool.submit(self._annotate, self._asker, record, key)

    def _annotate(self, asker: Asker, record: ExpressionRecord, key: str) -> Answer:
        """Ask about one record, and keep what came."""
        try:
            caption = self._caption(asker, record) if needs_caption(record) else record.caption
            turns = self._usable(
                asker,
                conversation_prompt(record, caption),
                encoded(centre_frame(record)),
                lambda reply: read_turns(reply, record.label, record.labels),
            )
            answer = Answer(key, record.id, "written", turns=tuple(turns))
        except Refused as error:
            answer = Answer(key, record.id, "refused", reason=str(error))
        except Malformed as error:
            answer = Answer(key, record.id, "malformed", reason=str(error), reply=error.reply)
        except (Unanswered, MediaError) as error:
            return Answer(key, record.id, "failed", reason=str(error))
        self._keep(answer)
        return answer

    def _caption(self, asker: Asker, record: ExpressionRecord) -> str:
        """What happens in a clip, asked once."""
        key = answer_key("caption", self._options.provider, self._options.model, record)
        answer = self._answers.get(key)
        if answer is None:
            sheet = caption_picture(caption_frames(record))
            caption = self._usable(asker, CAPTION_PROMPT, sheet, read_caption)
            answer = Answer(key, record.id, "written", caption=caption)
            self._keep(answer)
        return answer.caption

    def _usable(
        self, asker: Asker, prompt: str, picture: Picture, check: Callable[[str], Checked]
    ) -> Checked:
        """The first reply that passes its check; the model is told what was wrong with others."""
        request = prompt
        for _ in range(self._options.tries - 1):
            try:
                return check(asker.ask(request, picture))
            except Malformed as error:
                request = f"{prompt}\nAn earlier reply could not be used: {error}."
        return check(asker.ask(request, picture))
