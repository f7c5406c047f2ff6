"""Two kinds of endpoint behind one protocol: a prompt and a picture in, the text of the reply out.

Each client uses its provider's own SDK with the SDK's retries switched off, and sorts what can go
wrong into three: worth asking again ([`Busy`]), this request is declined ([`Refused`]), and no use
in going on ([`~emo_llama.errors.EndpointError`]). Keys come from the environment only, and no
message or reply that leaves a client holds one.
"""

import base64
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from emo_llama.annotate.checks import Malformed, Refused
from emo_llama.errors import EndpointError, UsageError, require

__all__ = ["PROVIDERS", "Busy", "Client", "GeminiClient", "OpenAIClient", "make_client"]

MAX_TOKENS = 2048
"""Of a reply, with what a model thinks before it answers."""

BUSY = (408, 409, 425, 429)
CLOSED = {
    401: "the key was not accepted; set {variable} to a valid one",
    402: "the account has no credit left; add some",
    403: "the key may not use this model; ask for access or name another model",
    404: "there is no such model or address; check the model's name and the base URL",
}


class Busy(Exception):
    """The endpoint did not answer this time.

    Args:
        reason (`str`):
            What came instead.
        retry_after (`float`, *optional*, defaults to 0.0):
            How long the endpoint asks to wait, seconds.
    """

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Client(Protocol):
    """One endpoint."""

    def ask(self, prompt: str, image: bytes, media_type: str) -> str:
        """The reply to a prompt about a picture.

        Raises:
            Busy: Asking again may help.
            Refused: The model, its filter or the endpoint declines this one request.
            Malformed: The reply was cut off.
            EndpointError: Nothing more will be answered.
        """


class OpenAIClient:
    """Any endpoint that speaks OpenAI's chat protocol, a local server included.

    Args:
        model (`str`):
            Name of the model.
        base_url (`str`, *optional*, defaults to `""`):
            Where the endpoint is, up to `/v1`; else `OPENAI_BASE_URL`, else OpenAI's own.
        timeout (`float`, *optional*, defaults to 120.0):
            How long to wait for a reply, seconds.

    Raises:
        MissingDependencyError: `openai` is not installed.
        UsageError: `OPENAI_API_KEY` is not set and no base URL is given; a local server needs none.
    """

    VARIABLE = "OPENAI_API_KEY"

    def __init__(self, model: str, base_url: str = "", timeout: float = 120.0) -> None:
        self._sdk = require("openai", extra="annotate")
        base_url = base_url or os.environ.get("OPENAI_BASE_URL", "")
        self._key = _key(self.VARIABLE, base_url)
        self._model = model
        self._client = self._sdk.OpenAI(
            api_key=self._key or "none", base_url=base_url or None, timeout=timeout, max_retries=0
        )

    def ask(self, prompt: str, image: bytes, media_type: str) -> str:
        """The reply to a prompt about a picture; see [`Client`]."""
        url = f"data:{media_type};base64,{base64.b64encode(image).decode()}"
        content = [
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "text", "text": prompt},
        ]
        try:
            completion = self._client.chat.completions.create(
                model=self._model,
                messages=[{"role": "user", "content": content}],
                max_completion_tokens=MAX_TOKENS,
            )
        except self._sdk.APIStatusError as error:
            failure = _Failure(error.status_code, str(error.body or ""), error.response.headers)
            raise failure.sorted(self.VARIABLE, self._key) from None
        except self._sdk.APITimeoutError:
            raise Busy("no reply in time") from None
        except self._sdk.APIConnectionError:
            raise Busy("no connection") from None
        except (self._sdk.APIError, ValueError):
            raise Busy("the reply is not in the protocol") from None
        return _hidden(_protocol(_openai_text, completion), self._key)


class GeminiClient:
    """Google's Gemini API.

    Args:
        model (`str`):
            Name of the model.
        base_url (`str`, *optional*, defaults to `""`):
            Where the endpoint is, if not Google's own.
        timeout (`float`, *optional*, defaults to 120.0):
            How long to wait for a reply, seconds.

    Raises:
        MissingDependencyError: `google-genai` is not installed.
        UsageError: `GEMINI_API_KEY` is not set and no base URL is given.
    """

    VARIABLE = "GEMINI_API_KEY"

    def __init__(self, model: str, base_url: str = "", timeout: float = 120.0) -> None:
        self._sdk = require("google.genai", extra="annotate")
        self._http = require("httpx2", extra="annotate")
        self._key = _key(self.VARIABLE, base_url)
        self._model = model
        options = self._sdk.types.HttpOptions(
            base_url=base_url or None,
            timeout=int(timeout * 1000),  # milliseconds
            retry_options=self._sdk.types.HttpRetryOptions(attempts=1),
            httpx_client=self._http.Client(timeout=timeout),
        )
        # vertexai: else the environment could send the key elsewhere.
        self._client = self._sdk.Client(
            api_key=self._key or "none", vertexai=False, http_options=options
        )
        self._config = self._sdk.types.GenerateContentConfig(max_output_tokens=MAX_TOKENS)

    def ask(self, prompt: str, image: bytes, media_type: str) -> str:
        """The reply to a prompt about a picture; see [`Client`]."""
        image_part = self._sdk.types.Part.from_bytes(data=image, mime_type=media_type)
        try:
            reply = self._client.models.generate_content(
                model=self._model, contents=[image_part, prompt], config=self._config
            )
        except self._sdk.errors.APIError as error:
            headers = error.response.headers if error.response is not None else {}
            failure = _Failure(error.code or 0, str(error.details or ""), headers)
            raise failure.sorted(self.VARIABLE, self._key) from None
        except self._http.TimeoutException:
            raise Busy("no reply in time") from None
        except self._http.HTTPError:
            raise Busy("no connection") from None
        except ValueError:
            raise Busy("the reply is not in the protocol") from None
        return _hidden(_protocol(_gemini_text, reply), self._key)


PROVIDERS: dict[str, Callable[[str, str, float], Client]] = {
    "openai": OpenAIClient,
    "gemini": GeminiClient,
}


def make_client(provider: str, model: str, base_url: str = "", timeout: float = 120.0) -> Client:
    """The client of a kind of endpoint.

    Args:
        provider (`str`):
            Name in `PROVIDERS`.
        model (`str`):
            Name of the model.
        base_url (`str`, *optional*, defaults to `""`):
            Where the endpoint is, if not the provider's own.
        timeout (`float`, *optional*, defaults to 120.0):
            How long to wait for a reply, seconds.

    Returns:
        `Client`: Ready to be asked from several threads at once.

    Raises:
        UsageError: There is no such kind, no model is named, or the key is not set.
        MissingDependencyError: The SDK is not installed.
    """
    if provider not in PROVIDERS:
        raise UsageError(f"{provider}: no such endpoint; known are {', '.join(PROVIDERS)}")
    if not model:
        raise UsageError(f"{provider}: name the model that shall answer")
    return PROVIDERS[provider](model, base_url, timeout)


@dataclass(frozen=True, slots=True)
class _Failure:
    """An HTTP answer that is no success."""

    status: int
    body: str
    headers: Mapping[str, str]

    def sorted(self, variable: str, key: str) -> Exception:
        """The exception that it stands for."""
        body = _hidden(" ".join(self.body.split()), key)[:200]
        if self.status == 429 and "insufficient_quota" in self.body:
            return EndpointError(f"HTTP 429: {CLOSED[402]}, then start the same command again.")
        if self.status in BUSY or self.status >= 500:
            return Busy(f"HTTP {self.status}", _retry_after(self.headers, self.body))
        if self.status == 400 and "API_KEY_INVALID" in self.body:
            return EndpointError(f"HTTP 400: {CLOSED[401].format(variable=variable)}.")
        if self.status in CLOSED:
            told = CLOSED[self.status].format(variable=variable)
            return EndpointError(f"HTTP {self.status}: {told}, then start the same command again.")
        return Refused(f"HTTP {self.status}: {body}")


def _key(variable: str, base_url: str) -> str:
    """The key in the environment; empty where a server of the user's own may need none."""
    key = os.environ.get(variable, "").strip()
    if not key and not base_url:
        raise UsageError(
            f"{variable} is not set. Put the key into that variable of the environment, or name "
            "the base URL of a server that needs none."
        )
    return key


def _hidden(text: str, key: str) -> str:
    """A text without the key, should an endpoint send it back."""
    return text.replace(key, "[key]") if key else text


def _retry_after(headers: Mapping[str, str], body: str) -> float:
    """How long the endpoint asks to wait, seconds; 0 where it does not say."""
    told = headers.get("retry-after", "")
    # Gemini says it in the body: google.rpc.RetryInfo.
    if delay := re.search(r"retryDelay['\"]?: ['\"]([\d.]+)s", body):
        told = told or delay[1]
    try:
        return max(0.0, float(told))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(told)
    except ValueError:
        return 0.0
    return max(0.0, (when.astimezone(UTC) - datetime.now(UTC)).total_seconds())


def _protocol(read: Callable[[Any], str], reply: Any) -> str:
    """The text in a reply, which may have any shape."""
    try:
        return read(reply)
    except (AttributeError, IndexError, TypeError, ValueError):
        raise Busy("the reply is not in the protocol") from None


def _openai_text(completion: Any) -> str:
    choice = completion.choices[0]
    if choice.message.refusal or choice.finish_reason == "content_filter":
        raise Refused(choice.message.refusal or "content filter")
    text = choice.message.content or ""
    if choice.finish_reason == "length":
        raise Malformed(f"the reply was cut off at {MAX_TOKENS} tokens", text)
    return text


def _gemini_text(reply: Any) -> str:
    if reply.prompt_feedback and reply.prompt_feedback.block_reason:
        raise Refused(f"blocked: {reply.prompt_feedback.block_reason.value}")
    candidate = reply.candidates[0]
    reason = candidate.finish_reason.value if candidate.finish_reason else "STOP"
    parts = candidate.content.parts if candidate.content and candidate.content.parts else []
    text = "".join(part.text or "" for part in parts if not part.thought)
    if reason == "MAX_TOKENS":
        raise Malformed(f"the reply was cut off at {MAX_TOKENS} tokens", text)
    if reason != "STOP":
        raise Refused(f"stopped: {reason}")
    return text
