"""Takes text, profiles and previews out of image files whose pixels are sound.

Pillow gives up on some pictures for the sake of a broken comment. What is left here is what the
pixels need: how to turn a JPEG (EXIF, whose errors the reader passes over) and which colours the
numbers mean stay.
"""

__all__ = ["without_metadata"]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_START_OF_SCAN = 0xDA
_ADOBE_BYTES = 12  # of a whole Adobe segment, which tells the colours apart


def without_metadata(data: bytes) -> bytes | None:
    r"""Drop the metadata of a PNG or JPEG file.

    Args:
        data (`bytes`):
            The file.

    Returns:
        `bytes` or `None`: The file without metadata; `None` for other formats.

    Example:
    ```python
    >>> from emo_llama.metadata import without_metadata

    >>> without_metadata(b"\xff\xd8\xff\xfe\x00\x04hm\xff\xda\x00\x02...")
    b'\xff\xd8\xff\xda\x00\x02...'
    ```
    """
    if data.startswith(_PNG):
        return _bare_png(data)
    return _bare_jpeg(data) if data.startswith(_JPEG) else None


def _bare_png(data: bytes) -> bytes:
    """The chunks that decoders must know, and the one for transparency."""
    kept, place = [_PNG], len(_PNG)
    while place < len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4])
        kind = data[place + 4 : place + 8]
        if kind[:1].isupper() or kind == b"tRNS":
            kept.append(data[place:end])
        place = end
    return b"".join(kept)


def _bare_jpeg(data: bytes) -> bytes:
    """The segments without those of applications; from the first scan on everything."""
    kept, place = [_JPEG], len(_JPEG)
    while data[place : place + 1] == b"\xff" and place + 4 <= len(data):
        marker = data[place + 1]
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4])
        content = data[place + 4 : end]
        if marker == _START_OF_SCAN or end <= place + 3:
            break
        adobe = marker == 0xEE and len(content) >= _ADOBE_BYTES
        exif = marker == 0xE1 and content.startswith(b"Exif\0\0")
        if adobe or exif or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(data[place:end])
        place = end
    return b"".join(kept) + data[place:]
