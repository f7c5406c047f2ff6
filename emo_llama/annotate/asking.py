"""Asks an endpoint at a bounded pace, and again when it did not answer.

Waits grow with each attempt and are drawn at random, so that threads which failed together do not
come back together. What an endpoint asks for in `Retry-After` holds for all threads.
"""

import random
import threading
import time
from dataclasses import dataclass

from emo_llama.annotate.clients import Busy, Client
from emo_llama.annotate.request import Picture
from emo_llama.errors import EndpointError

__all__ = ["Asker", "Pace", "Stopped", "Unanswered"]

LONGEST_PAUSE = 600.0
"""Seconds; an endpoint that asks for more, such as one whose daily quota is used up, ends a run."""


class Unanswered(Exception):
    """No answer came after all attempts."""


class Stopped(Exception):
    """The run ends, so nothing more is asked."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast to ask, and how patiently.

    Args:
        requests_per_minute (`float`, *optional*, defaults to 0.0):
            Upper limit over all threads; 0: none.
        retries (`int`, *optional*, defaults to 6):
            How often to ask again when no answer came.
        first_wait (`float`, *optional*, defaults to 1.0):
            Before the first of them, seconds; it doubles from one to the next.
        longest_wait (`float`, *optional*, defaults to 60.0):
            Where the doubling ends, seconds.
    """

    requests_per_minute: float = 0.0
    retries: int = 6
    first_wait: float = 1.0
    longest_wait: float = 60.0


class Asker:
    """A client with a pace, shared by all threads of a run.

    Args:
        client (`Client`):
            The endpoint.
        pace (`Pace`):
            How fast and how patiently.
        stop (`threading.Event`):
            Set it to end every wait.
    """

    def __init__(self, client: Client, pace: Pace, stop: threading.Event) -> None:
        self._client = client
        self._pace = pace
        self._stop = stop
        self._lock = threading.Lock()
        self._free_at = 0.0  # time.monotonic() from which the next request may go out

    def ask(self, prompt: str, picture: Picture) -> str:
        """The reply to a prompt about a picture.

        Args:
            prompt (`str`):
                The request.
            picture (`tuple[bytes, str]`):
                Encoded picture and media type.

        Returns:
            `str`: Text of the reply.

        Raises:
            Unanswered: No answer came after all attempts.
            Stopped: The run ends.
            Refused: The model, its filter or the endpoint declines this one request.
            Malformed: The reply was cut off.
            EndpointError: Nothing more will be answered.
        """
        for attempt in range(self._pace.retries + 1):
            self._wait_for_turn()
            try:
                return self._client.ask(prompt, *picture)
            except Busy as busy:
                reason = str(busy)
                if attempt < self._pace.retries:
                    self._hold(busy, attempt)
        raise Unanswered(f"{reason}, {attempt + 1} times")

    def _wait_for_turn(self) -> None:
        """Take the next free place in the order of requests, and wait for it."""
        rate = self._pace.requests_per_minute
        with self._lock:
            start = max(time.monotonic(), self._free_at)
            self._free_at = start + (60.0 / rate if rate else 0.0)
        self._wait(start - time.monotonic())

    def _hold(self, busy: Busy, attempt: int) -> None:
        """Wait before the next attempt, and let the other threads wait where it is asked for."""
        if busy.retry_after > LONGEST_PAUSE:
            raise EndpointError(
                f"{busy}: the endpoint asks to wait {busy.retry_after:,.0f} s. Start the same "
                "command again then; nothing that was answered is asked twice."
            )
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic() + busy.retry_after)
        longest = min(self._pace.longest_wait, self._pace.first_wait * 2**attempt)
        self._wait(busy.retry_after + longest * random.uniform(0.5, 1.0))

    def _wait(self, seconds: float) -> None:
        if self._stop.wait(max(0.0, seconds)):
            raise Stopped
