"""Calls to the Hub: who is logged in, what is tried again, and what an error means to a person.

The token comes from the Hub's own login and goes to the client alone. No message holds it, nor the
signed part of an address.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from httpx2 import TransportError
from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)

from emo_llama.errors import EmoLlamaError, HubError, UsageError

__all__ = ["WAITS", "is_transient", "log_in", "patiently", "told"]

T = TypeVar("T")
WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds between tries, as the client itself waits."""

TRANSIENT = (408, 429, 500, 502, 503, 504)  # as the client has it
LOGIN = "Log in by `hf auth login` with a token that may write, or set HF_TOKEN to one"
_SIGNED = re.compile(r"\?[^\s'\")]+")
MAX_REASON = 300  # characters of a message that is not this project's

# A gateway's page in place of JSON, and a download that found nobody, are a Hub that is away.
TRIED_AGAIN = (HfHubHTTPError, TransportError, LocalEntryNotFoundError, json.JSONDecodeError)


def log_in() -> tuple[HfApi, str]:
    """The client of whoever is logged in.

    Returns:
        `tuple[HfApi, str]`: The client, and the token that no message may hold.

    Raises:
        UsageError: Nobody is, or the client is told to stay offline.
    """
    if constants.HF_HUB_OFFLINE:
        raise UsageError("HF_HUB_OFFLINE is set, so the Hub cannot be asked. Unset it to push.")
    token = get_token()
    if token is None:
        raise UsageError(f"Nobody is logged in to {constants.ENDPOINT}. {LOGIN}.")
    if not token.isascii() or not token.isprintable() or " " in token:  # no header can hold it
        raise UsageError(f"The token has characters that no token has. {LOGIN}.")
    return HfApi(token=token), token


def patiently(call: Callable[[], T]) -> T:
    """Calls again where the Hub or the network fails for a moment.

    Args:
        call (`Callable`): A request that may be sent twice.

    Returns:
        What it gives.
    """
    for wait in WAITS:
        try:
            return call()
        except TRIED_AGAIN as error:
            if not is_transient(error):
                raise
        time.sleep(wait)
    return call()


def is_transient(error: Exception) -> bool:
    """Whether the same request may do better a moment later.

    Args:
        error (`Exception`): One of `TRIED_AGAIN`.

    Returns:
        `bool`: No for an answer that would be the same.
    """
    return not isinstance(error, HfHubHTTPError) or error.response.status_code in TRANSIENT


@contextmanager
def told(repo: str, token: str) -> Iterator[None]:
    """Turns what the client raises into messages that say what to do.

    The error itself is left out of the traceback: a server may have put anything into it.

    Args:
        repo (`str`): The repository.
        token (`str`): What must not be shown.

    Raises:
        UsageError: The Hub refuses what was asked for.
        HubError: It does not answer.
    """
    try:
        yield
    except EmoLlamaError:
        raise
    except (*TRIED_AGAIN, OfflineModeIsEnabled, OSError, ValueError, RuntimeError) as error:
        raise _meant(repo, error, token) from None


def _meant(repo: str, error: BaseException, token: str) -> EmoLlamaError:
    """What an error of the client means."""
    if isinstance(error, RuntimeError) and error.__cause__ is not None:  # of an upload
        error = error.__cause__
    if isinstance(error, OfflineModeIsEnabled):
        return UsageError("HF_HUB_OFFLINE is set, so the Hub cannot be asked. Unset it to push.")
    reason = _reason(error, token)
    if isinstance(error, HfHubHTTPError):
        return _answered(repo, error.response.status_code, reason)
    if isinstance(error, ValueError) and not isinstance(error, json.JSONDecodeError):
        # of the client's own checks, and of the Hub's of metadata
        return UsageError(f"{repo}: {reason} Nothing was published.")
    return HubError(
        f"{repo}: {constants.ENDPOINT} cannot be reached any more ({reason}). Nothing is half "
        "published. Run the same command again: large files that arrived are not sent a second "
        "time."
    )


def _answered(repo: str, status: int, reason: str) -> EmoLlamaError:
    """What an answer of the Hub means."""
    if status == 401:
        return UsageError(f"{repo}: the Hub does not know this token ({reason}). {LOGIN}.")
    if status == 403:
        return UsageError(
            f"{repo}: the Hub does not let this token write there ({reason}). Name a repository of "
            "your own or of your organisation, and use a token that may write to it."
        )
    if status in TRANSIENT:
        return HubError(
            f"{repo}: the Hub answered {status} to every try ({reason}). Nothing is half "
            "published. Run the same command again later: large files that arrived are not sent a "
            "second time."
        )
    return HubError(f"{repo}: the Hub refused ({reason}). Nothing was published by this run.")


def _reason(error: BaseException, token: str) -> str:
    """A library's message in one line, without what is nobody's business."""
    if isinstance(error, LocalEntryNotFoundError):  # says no more than that something failed
        error = error.__cause__ or error
    server = error.server_message if isinstance(error, HfHubHTTPError) else None
    text = " ".join((server or str(error) or repr(error)).split()).replace(token, "***")
    return _SIGNED.sub("", text)[:MAX_REASON]
