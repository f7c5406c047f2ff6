"""Files of every format, damage, name and lie, read as what they are or refused."""

from pathlib import Path

import media_corpus
import pytest

from emo_llama.errors import EmoLlamaError, MediaError
from emo_llama.media import find_media, media_kind, read_reduced_image, read_video


@pytest.mark.parametrize(
    "room",
    [
        "sound",
        "turned",
        "metadata",
        "lies",
        pytest.param("sizes", marks=pytest.mark.slow),
        pytest.param("damaged", marks=pytest.mark.slow),
    ],
)
def test_pictures_are_read_or_refused(room: str) -> None:
    """Only errors of this package come out, whatever Pillow raises."""
    for name, content, outcome in media_corpus.ROOMS[room]():
        try:
            image, _ = read_reduced_image(content)
        except EmoLlamaError:  # among them the one that names the extra for HEIC
            assert outcome != "read", name
        else:
            assert outcome != "refused", name
            assert (image.mode, image.info) == ("RGB", {}), name


@pytest.mark.slow
@pytest.mark.parametrize("room", ["videos", "clocks", "damaged-videos", "lying-videos"])
def test_videos_are_read_or_refused(room: str, tmp_path: Path) -> None:
    for number, (name, content, outcome) in enumerate(media_corpus.ROOMS[room]()):
        path = tmp_path / f"{number}{Path(name).suffix}"
        path.write_bytes(content)
        if media_kind(path) == "image":
            continue
        try:
            frames = list(read_video(path))
        except MediaError:
            assert outcome != "read", name
        else:
            assert outcome != "refused", name
            times = [frame.time for frame in frames]
            assert times == sorted(times) and len(times) <= 64, name


def test_a_search_finds_all_and_follows_no_link_out(tmp_path: Path, monkeypatch) -> None:
    rooms = {room: media_corpus.ROOMS[room] for room in ("names", "sound")}
    monkeypatch.setattr(media_corpus, "ROOMS", rooms)
    outcomes = media_corpus.write_corpus(tmp_path)
    found, left_out = find_media([tmp_path])
    assert found == sorted(tmp_path / name for name in outcomes)
    assert left_out == {
        "linked folder": 2,
        "link out of the folder": 2,
        "broken link or special file": 3,
        ".txt": 1,
        ".ts": 1,
    }
