"""Image files without text, profiles and previews."""

import io

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from emo_llama.metadata import without_metadata


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=format, **options)
    return stream.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_keeps_pixels_and_orientation(mode: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.linear_gradient("L").convert(mode)
    whole = encoded(image, "JPEG", comment=b"secret", icc_profile=b"secret", exif=exif)
    bare = without_metadata(whole)
    assert b"secret" in whole and b"secret" not in bare
    assert Image.open(io.BytesIO(bare)).tobytes() == Image.open(io.BytesIO(whole)).tobytes()
    assert Image.open(io.BytesIO(bare)).getexif()[0x0112] == 6


def test_a_png_keeps_pixels_and_transparency() -> None:
    info = PngInfo()
    info.add_text("Comment", "secret")
    image = Image.linear_gradient("L").convert("P")
    whole = encoded(image, "PNG", pnginfo=info, transparency=3)
    bare = without_metadata(whole)
    assert b"secret" in whole and b"secret" not in bare
    reread = Image.open(io.BytesIO(bare))
    assert reread.info == {"transparency": 3}
    assert (
        reread.convert("RGBA").tobytes() == Image.open(io.BytesIO(whole)).convert("RGBA").tobytes()
    )


@pytest.mark.parametrize("data", [b"\xff\xd8", b"\xff\xd8\xff\xe0\0\0", b"\x89PNG\r\n\x1a\n"])
def test_what_is_cut_off_ends(data: bytes) -> None:
    assert without_metadata(data) == data


def test_other_formats_are_left_alone() -> None:
    assert without_metadata(encoded(Image.new("L", (2, 2)), "GIF")) is None
