"""A local server that speaks the protocols of OpenAI and Gemini, and misbehaves where told to."""

import base64
import hashlib
import io
import json
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image, ImageDraw

from emo_llama.annotate.checks import label_words
from emo_llama.dataset_builders.schema import ExpressionRecord
from emo_llama.labels import FERPLUS

KEY = "secret-key-of-the-tests"
CAPTION = "The person turns to the side and opens the mouth."
HANG = 2.5  # seconds; longer than the time-out of the tests that use it


def drawn_picture(number: int, form: str = "PNG") -> bytes:
    """A picture; two numbers never give the same."""
    image = Image.new("L", (24, 24), 200)
    draw = ImageDraw.Draw(image)
    draw.ellipse((4, 2, 20, 22), outline=0)
    for bit in range(16):
        draw.point((bit, 0), fill=255 * (number >> bit & 1))
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def drawn_records(count: int) -> Iterator[ExpressionRecord]:
    """Records with pictures of their own."""
    for row in range(count):
        picture = drawn_picture(row)
        yield ExpressionRecord("drawn", row, (picture,), FERPLUS[row % 8], FERPLUS)


def good_reply(label: str) -> str:
    """A conversation that passes the checks."""
    turns = [
        {
            "question": "How does the person in this picture look?",
            "answer": f"The brows are level. The eyes are open and the mouth is closed. "
            f"The person looks {label_words(label)[0]}.",
        },
        {
            "question": "Why do they look so?",
            "answer": "That cannot be known from the picture. It shows only the face.",
        },
    ]
    return json.dumps({"turns": turns})


Script = Callable[[int, int], str]
"""What to do with the request for an item (its row) at an attempt, counted from 0."""


class EndpointServer(ThreadingHTTPServer):
    """Answers what `script` says: see `_Handler.behave`."""

    daemon_threads = True

    def __init__(self, records: list[ExpressionRecord], script: Script) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        self.rows = {_name(image): record.row for record in records for image in record.images}
        self.attempts: Counter[int] = Counter()
        self.errors: list[BaseException | None] = []
        self.log: list[tuple[int, str]] = []  # row of the item (-1: a caption), what was done
        self.prompts: list[str] = []
        self.times: list[float] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> "EndpointServer":
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, error: object, *_: object) -> None:
        self.shutdown()
        self.server_close()
        assert error or not self.errors, self.errors

    def handle_error(self, request, client_address) -> None:
        """Clients that hang up are part of the tests; anything else is not."""
        if not isinstance(sys.exception(), OSError):
            self.errors.append(sys.exception())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        data = self.rfile.read(length)
        if len(data) < length:
            raise ConnectionError("the client was killed")
        body = json.loads(data)
        self.gemini = self.path.endswith(":generateContent")
        prompt, image = _gemini_request(body) if self.gemini else _openai_request(body)
        row = self.server.rows.get(_name(image), -1)
        with self.server.lock:
            behaviour = self.server.script(row, self.server.attempts[row])
            self.server.attempts[row] += 1
            self.server.log.append((row, behaviour))
            self.server.prompts.append(prompt)
            self.server.times.append(time.monotonic())
        label = re.search(r"agreed on the expression: (\w+)\.", prompt)
        self.behave(behaviour, good_reply(label[1]) if label else CAPTION)

    def behave(self, behaviour: str, reply: str) -> None:
        """Answer in one of the ways in which endpoints do."""
        if behaviour.isdigit():
            self.fail(int(behaviour))
        elif behaviour == "hang":
            time.sleep(HANG)
            self.close_connection = True
        elif behaviour == "hang up":
            self.close_connection = True
        elif behaviour == "page":
            self.send(200, b"<html>It works!</html>", "text/html")
        elif behaviour == "torn body":
            self.send(200, json.dumps(self.completion(reply)).encode()[:-20])
        elif behaviour == "no choices":
            self.send(200, b'{"choices": null, "candidates": null}')
        elif behaviour == "refusal":
            self.send(200, json.dumps(self.refusal()).encode())
        else:
            texts = {
                "good": reply,
                "fenced": f"```json\n{reply}\n```",
                "torn": reply[: len(reply) // 2],
                "declines": "I'm sorry, but I can't help with that.",
                "empty": "",
                "echo": KEY,
                "wrong": good_reply("bored").replace("looks bored", "looks puzzled"),
            }
            stop = "length" if behaviour == "cut" else "stop"
            text = texts.get(behaviour, reply)
            self.send(200, json.dumps(self.completion(text, stop)).encode())

    def fail(self, status: int) -> None:
        """An HTTP error in the words of the protocol, with the key in it."""
        message = f"failed for key {KEY}"
        self.send(
            status,
            json.dumps({"error": {"message": message, "code": status, "status": "X"}}).encode(),
            headers={"Retry-After": "0.05"} if status == 429 else {},
        )

    def completion(self, text: str, stop: str = "stop") -> dict:
        if self.gemini:
            reason = {"stop": "STOP", "length": "MAX_TOKENS"}[stop]
            content = {"role": "model", "parts": [{"text": text}]}
            return {"candidates": [{"content": content, "finishReason": reason, "index": 0}]}
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": stop}
        return {
            "id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]
        }  # fmt: skip

    def refusal(self) -> dict:
        if self.gemini:
            return {"promptFeedback": {"blockReason": "SAFETY"}}
        reply = self.completion("")
        reply["choices"][0]["message"]["refusal"] = "I will not describe this face."
        return reply

    def send(self, status: int, body: bytes, kind: str = "application/json", headers=None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _name(image: bytes) -> str:
    return hashlib.sha256(image).hexdigest()


def _openai_request(body: dict) -> tuple[str, bytes]:
    picture, text = body["messages"][0]["content"]
    return text["text"], base64.b64decode(picture["image_url"]["url"].split(",")[1])


def _gemini_request(body: dict) -> tuple[str, bytes]:
    picture, text = body["contents"][0]["parts"]
    return text["text"], base64.urlsafe_b64decode(picture["inlineData"]["data"])
