r"""Writes file names that are no valid text, so that records and terminals can hold them.

Python gives the bytes of a name that is not UTF-8 as lone surrogates, which no JSON, CSV or Parquet
file can hold. They are written as `\xff`, and a backslash that could be taken for one as `\x5c`.
"""

import re

__all__ = ["escape", "printable", "unescape"]

_BYTE = re.compile("[\udc80-\udcff]")
_TAKEN_FOR_ONE = re.compile(r"\\(?=x(?:5c|[89a-f][0-9a-f]))")
_ESCAPED = re.compile(r"\\x(5c|[89a-f][0-9a-f])")


def escape(text: str) -> str:
    r"""Make a file name valid text; nearly every name stays as it is.

    Args:
        text (`str`):
            A path as Python gives it.

    Returns:
        `str`: Without surrogates.

    Example:
    ```python
    >>> from emo_llama.escaping import escape

    >>> escape("caf\udce9.jpg"), escape("café.jpg")
    ('caf\\xe9.jpg', 'café.jpg')
    ```
    """
    plain = _TAKEN_FOR_ONE.sub(r"\\x5c", text)
    return _BYTE.sub(lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", plain)


def unescape(text: str) -> str:
    r"""Give back the file name that `escape` was given.

    Args:
        text (`str`):
            The `path` of a record.

    Returns:
        `str`: A path that can be opened.

    Example:
    ```python
    >>> from emo_llama.escaping import unescape

    >>> unescape("caf\\xe9.jpg")
    'caf\udce9.jpg'
    ```
    """

    def original(found: re.Match[str]) -> str:
        byte = int(found[1], 16)
        return chr(byte if byte < 0x80 else 0xDC00 + byte)

    return _ESCAPED.sub(original, text)


def printable(text: str) -> str:
    r"""Make text harmless to show: no character of it can move a cursor or hide another.

    Args:
        text (`str`):
            One line.

    Returns:
        `str`: One line; what cannot be printed stands as `\x1b` or `\u202e`.

    Example:
    ```python
    >>> from emo_llama.escaping import printable

    >>> printable("red\x1b[31m.jpg")
    'red\\x1b[31m.jpg'
    ```
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in escape(text)
    )
