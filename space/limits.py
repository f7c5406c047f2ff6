"""How many visitors the Space serves at a time, what it turns away, and when it forgets.

A visitor's files lie in one folder of this process, nothing else is ever served, and they are
deleted soon after their last use. Whatever goes wrong reaches the visitor as one sentence without a
path of this machine; the rest goes to the log. Which files are worked on is decided in `uploads`.
"""

import asyncio
import atexit
import fcntl
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from anyio.to_thread import run_sync
from fastapi import FastAPI
from gradio.exceptions import ComponentProcessingError
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emo_llama.errors import EmoLlamaError, InputNotFoundError
from emo_llama.space.uploads import check_inputs

__all__ = ["LimitedBlocks", "launch_settings", "queue_settings"]

MAX_UPLOAD_BYTES = 100 << 20
MAX_REQUEST_BYTES = 2 << 20  # of what is no upload
MAX_FOLDER_BYTES = 2 << 30  # uploads and results of all visitors together
MAX_WAITING = 64
MAX_SESSIONS = 100  # whose chosen face or clip is remembered
AT_ONCE = 2  # calls of one endpoint; they take turns at the model
KEEP_SECONDS = 900
SWEEP_SECONDS = 60

FOLDER_PREFIX = "emo-llama-space-"
FOLDER_VARIABLES = ("GRADIO_TEMP_DIR", "GRADIO_EXAMPLES_CACHE")
# What lets gradio's server fetch from other hosts, keep what a visitor did or convert his files.
CLOSED = re.compile(
    r"/gradio_api/(file[=/]\w+:/|proxy=|process_recording|vibe|undo-vibe|run-history|deep_link)"
    r"|/monitoring"
)
# `/a/b/c.jpg` within a sentence, but not an address.
SERVER_PATH = re.compile(r"(?<![\w:/.])(?:/[^\s/:'\"]+)+/(?=[^\s/])")

logger = logging.getLogger(__name__)


class LimitedBlocks(gr.Blocks):
    """A page whose every endpoint checks the files of its inputs, and whose errors tell no path.

    Args:
        settings (`dict`):
            Of `gradio.Blocks`.
    """

    def __init__(self, **settings: Any) -> None:
        self.outer = {name: os.environ.get(name) for name in FOLDER_VARIABLES}
        self.folder = private_folder()
        cache = (SWEEP_SECONDS, KEEP_SECONDS)
        super().__init__(analytics_enabled=False, delete_cache=cache, **settings)

    async def process_api(
        self, block_fn: Any, inputs: list[Any], *settings: Any, **named: Any
    ) -> dict[str, Any]:
        """Run one endpoint, as gradio does, on inputs that were checked.

        Args:
            block_fn (`BlockFunction`):
                The endpoint.
            inputs (`list`):
                As the page or a client sent them.
            settings (`tuple`):
                What else gradio gives.
            named (`dict`):
                What else gradio gives; of a generator that goes on, its `iterator`.

        Returns:
            `dict`: What gradio answers with.

        Raises:
            gradio.Error: Whatever went wrong, in a sentence for the visitor.
        """
        try:
            if named.get("iterator") is None:
                await run_sync(check_inputs, inputs, self.folder, limiter=self.limiter)
            return await super().process_api(block_fn, inputs, *settings, **named)
        except Exception as error:
            raise visitor_error(error) from error


def private_folder() -> Path:
    """Make the one folder that visitors' files go to, and remove those of servers that were killed.

    Returns:
        `Path`: The folder, which only this user may enter; gradio is told of it.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        with suppress(OSError):  # somebody else's, or in use
            lock_folder(left)
            shutil.rmtree(left)
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX)).resolve()
    lock_folder(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ.update(zip(FOLDER_VARIABLES, (str(folder), str(folder / "examples")), strict=True))
    return folder


def lock_folder(folder: Path) -> None:
    """Mark a folder as in use, for as long as this process lives.

    Args:
        folder (`Path`):
            The folder.

    Raises:
        OSError: Another process has marked it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise


def queue_settings() -> dict[str, Any]:
    """What is given to `Blocks.queue`.

    Returns:
        `dict`: Its arguments; nobody passes the queue by.
    """
    return {
        "max_size": MAX_WAITING,
        "default_concurrency_limit": AT_ONCE,
        "api_open": False,
    }


def launch_settings(demo: LimitedBlocks) -> dict[str, Any]:
    """What is given to `Blocks.launch`; each is said, as the environment could say otherwise.

    Args:
        demo ([`LimitedBlocks`]):
            The page.

    Returns:
        `dict`: Its arguments.
    """
    return {
        "share": False,
        "show_error": False,  # a `gradio.Error` is shown all the same
        "max_file_size": MAX_UPLOAD_BYTES,
        "state_session_capacity": MAX_SESSIONS,
        "enable_monitoring": False,
        "run_history": False,
        "ssr_mode": False,
        "mcp_server": False,
        "num_workers": 0,  # they would answer without the door
        "pwa": False,
        "footer_links": ["api", "settings"],
        "app_kwargs": {
            "middleware": [Middleware(Door, folder=demo.folder)],
            "exception_handlers": {503: say_busy},
            "lifespan": sweeping,
        },
    }


def visitor_error(error: Exception) -> gr.Error:
    """Say what went wrong, so that a visitor can act on it and learns nothing of the machine.

    Args:
        error (`Exception`):
            What an endpoint raised.

    Returns:
        `gradio.Error`: For the page and for clients; what nobody foresaw is logged in full.
    """
    while isinstance(error, ComponentProcessingError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    if isinstance(error, gr.Error):
        message = error.message
    elif isinstance(error, InputNotFoundError):
        message = (
            f"This file is no longer here: files are deleted {KEEP_SECONDS // 60} minutes after "
            "their last use. Upload it again."
        )
    elif isinstance(error, EmoLlamaError):
        message = escape(str(error), quote=False)
    elif isinstance(error, Image.UnidentifiedImageError):
        message = "This is no picture. Upload clips in the tab Clip."
    else:
        logger.error("an endpoint failed", exc_info=error)
        message = "This failed on the server. Try once more, or with another picture or clip."
    return gr.Error(SERVER_PATH.sub("", message), print_exception=False)


class Door:
    """Turns away requests that are too large, and those for what this Space does not offer.

    Args:
        app (`ASGIApp`):
            What is behind it.
        folder (`Path`):
            Where uploads lie.
    """

    def __init__(self, app: ASGIApp, folder: Path) -> None:
        self.app = app
        self.folder = folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on while counting its bytes.

        Args:
            scope (`Scope`):
                What ASGI says of the request.
            receive (`Receive`):
                Gives its body.
            send (`Send`):
                Takes the answer.
        """
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        is_upload = scope["path"].rstrip("/").endswith("/upload")
        limit = MAX_UPLOAD_BYTES + MAX_REQUEST_BYTES if is_upload else MAX_REQUEST_BYTES
        size = dict(scope["headers"]).get(b"content-length", b"0")
        if CLOSED.match(scope["path"]):
            refusal = (403, "This Space does not offer that: upload the picture or clip itself.")
        elif size.isdigit() and int(size) > limit:
            refusal = (413, too_large(limit))
        elif is_upload and await run_sync(is_full, self.folder):
            refusal = (
                503,
                "No more uploads fit for now. Try again in some minutes.",
            )
        else:
            return await self.app(scope, _counted(receive, limit), send)
        await JSONResponse({"detail": refusal[1]}, refusal[0])(scope, receive, send)


async def say_busy(request: Request, error: Exception) -> JSONResponse:
    """Answer a call that no longer fits into the queue.

    Args:
        request (`Request`):
            The call.
        error (`HTTPException`):
            What gradio would say.

    Returns:
        `JSONResponse`: The sentence for the visitor.
    """
    del request, error
    return JSONResponse({"detail": "Too many visitors wait here. Try again in a minute."}, 503)


def _counted(receive: Receive, limit: int) -> Receive:
    """The body of a request, which ends with an error where it is larger than it may be."""
    total = 0

    async def counted() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > limit:
            raise HTTPException(413, too_large(limit))
        return message

    return counted


def too_large(limit: int) -> str:
    """What is said of a request that is too large.

    Args:
        limit (`int`):
            The most that is taken, bytes.

    Returns:
        `str`: The sentence.
    """
    return f"At most {limit >> 20} MB are taken at once. Save the picture or clip smaller."


def is_full(folder: Path) -> bool:
    """Whether the folder of uploads holds all that it may.

    Args:
        folder (`Path`):
            The folder.

    Returns:
        `bool`: True where nothing more is taken for now.
    """
    return sum(size for _, size, _ in _files(folder)) > MAX_FOLDER_BYTES


def _files(folder: Path) -> Iterator[tuple[Path, int, float]]:
    """Every file of a folder with its size and the time of its last change."""
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            with suppress(FileNotFoundError):  # deleted since
                status = path.lstat()
                yield path, status.st_size, status.st_ctime


@asynccontextmanager
async def sweeping(app: FastAPI) -> AsyncIterator[None]:
    """Delete old files while the server runs, and all of them at its end.

    gradio's own `delete_cache`, which comes first, knows neither uploads that broke off nor copies
    made on the way.

    Args:
        app (`FastAPI`):
            The server, as gradio makes it.

    Yields:
        `None`: While it runs.
    """
    demo = app.get_blocks()  # type: ignore[attr-defined]
    task = asyncio.create_task(_sweep(demo))
    try:
        yield
    finally:
        task.cancel()
        shutil.rmtree(demo.folder, ignore_errors=True)
        for name, value in demo.outer.items():  # as another page of this process wants it
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


async def _sweep(demo: LimitedBlocks) -> None:
    """Delete files that nobody used for a while, again and again."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        await run_sync(delete_old_files, demo, KEEP_SECONDS + 2 * SWEEP_SECONDS)


def delete_old_files(demo: LimitedBlocks, age: float) -> None:
    """Delete the files that visitors sent or got, but not those of the page itself.

    Args:
        demo ([`LimitedBlocks`]):
            The page.
        age (`float`):
            Seconds since the last use.
    """
    kept = {path for block in demo.blocks.values() for path in block.keep_in_cache}
    for path, _, changed in _files(demo.folder):
        if time.time() - changed > age and str(path) not in kept:
            path.unlink(missing_ok=True)
    for root, _, _ in os.walk(demo.folder, topdown=False):
        with suppress(OSError):  # something is in it
            if time.time() - os.stat(root).st_ctime > age:
                os.rmdir(root)
