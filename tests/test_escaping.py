"""Names that are no text."""

import os

import pytest

from emo_llama.escaping import escape, printable, unescape

NAMES = [b"plain.jpg", "caf\u00e9.jpg".encode(), b"caf\xe9.jpg", rb"caf\xe9.jpg", rb"\x5cxff"]
NAMES += [b"\\\xff", rb"\\xff", b"\\x8\xff", rb"a\b.jpg", b"\x80\xff", b"\\x5c\xff", rb"\xFF"]


def test_every_name_is_written_and_found_again() -> None:
    written = [escape(os.fsdecode(name)) for name in NAMES]
    assert len(set(written)) == len(NAMES)
    for name, text in zip(NAMES, written, strict=True):
        text.encode("utf-8")
        assert os.fsencode(unescape(text)) == name


@pytest.mark.parametrize("name", ["caf\u00e9.jpg", r"a\b.jpg", r"C:\xyz\x5.jpg"])
def test_ordinary_names_stay_as_they_are(name: str) -> None:
    assert escape(name) == name


def test_nothing_moves_the_cursor() -> None:
    assert printable("a\x1b[2J\n\u202e\udcff\u00e9.jpg") == "a\\x1b[2J\\n\\u202e\\xff\u00e9.jpg"
