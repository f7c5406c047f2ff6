"""The one place that writes to the terminal: data to stdout, everything else to stderr.

Of the processes of one run (`accelerate launch`, `torchrun`) only the first speaks.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from emo_llama.escaping import printable

T = TypeVar("T")


def data(text: str) -> None:
    """Write a piece of the result to stdout.

    Args:
        text (`str`):
            What to write; a line end is added.
    """
    if not _is_first():
        return
    try:
        print(text, flush=True)
    except UnicodeEncodeError:  # a terminal of another encoding, as with LC_ALL=de_DE
        encoding = sys.stdout.encoding
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def piece(text: str) -> None:
    """Write a part of a line of the result to stdout.

    Args:
        text (`str`):
            What to write; no line end is added.
    """
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), end="", flush=True)


def is_terminal() -> bool:
    """Whether somebody types what is read.

    Returns:
        `bool`: False for a pipe or a file.
    """
    return sys.stdin is not None and sys.stdin.isatty()


def ask(prompt: str) -> str | None:
    """Read the next line of stdin.

    Args:
        prompt (`str`):
            What stands before it, on stderr; may be empty.

    Returns:
        `str`, *optional*: The line without its end; `None` behind the last one.
    """
    if sys.stdin is None:
        return None
    if prompt:
        print(prompt, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line and prompt:
        print(file=sys.stderr)  # behind Ctrl-D
    return line.rstrip("\r\n") if line else None


def message(text: str) -> None:
    """Write a message for the person at the terminal to stderr.

    Args:
        text (`str`):
            What to write; a line end is added.
    """
    if _is_first():
        lines = "\n".join(map(printable, text.split("\n")))
        print(lines, file=sys.stderr, flush=True)


def is_ascii() -> bool:
    """Whether JSON on stdout must be escaped to stay JSON.

    Returns:
        `bool`: False for UTF-8, which holds any text.
    """
    return (sys.stdout.encoding or "utf-8").lower().replace("-", "") != "utf8"


def close() -> None:
    """Give up stdout where it cannot be written, or Python would try once more at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def progress(items: Iterable[T], total: int | None, label: str) -> Iterator[T]:
    """Show a progress bar on stderr while passing items through; only on a terminal.

    Args:
        items (`Iterable`):
            What is worked through.
        total (`int`, *optional*):
            How many items there are.
        label (`str`):
            What stands before the bar.

    Yields:
        The items, unchanged.
    """
    from tqdm import tqdm

    yield from tqdm(items, total=total, desc=label, disable=not sys.stderr.isatty())


def _is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"
