import io

import pytest
from PIL import Image

from emo_llama.dataset_builders.clips import read_clip
from emo_llama.dataset_builders.synthetic_clips import in_test, write_clip, write_frames
from emo_llama.errors import InputNotFoundError, MediaError


def grey_frames(folder, names):
    """Frames whose grey value is their place."""
    folder.mkdir()
    for place, name in enumerate(names):
        Image.new("L", (8, 8), place).save(folder / name)
    return folder


def places(frames):
    return [Image.open(io.BytesIO(frame)).getpixel((0, 0)) for frame in frames]


def test_an_mp4_file_gives_evenly_spaced_jpegs(tmp_path):
    write_clip(tmp_path / "new" / "clip.mp4", "happiness", seed=3, num_frames=10)
    frames = [Image.open(io.BytesIO(data)) for data in read_clip(tmp_path / "new" / "clip.mp4", 5)]
    assert [(frame.format, frame.size) for frame in frames] == [("JPEG", (64, 64))] * 5
    mouths = [frame.crop((20, 40, 44, 60)).tobytes() for frame in frames]
    assert len(set(mouths)) == 5  # the face moves from neutral to happiness


def test_a_truncated_mp4_file_is_named(tmp_path):
    path = tmp_path / "clip.mp4"
    write_clip(path, "fear", seed=1)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(MediaError, match=r"clip\.mp4: this video cannot be read"):
        read_clip(path, 4)


def test_frames_in_a_folder_come_as_stored_and_evenly_spaced(tmp_path):
    folder = grey_frames(tmp_path / "clip", [f"{number:03d}.png" for number in range(12)])
    assert places(read_clip(folder, 4)) == [1, 4, 7, 10]
    assert read_clip(folder, 99) == tuple(file.read_bytes() for file in sorted(folder.iterdir()))


@pytest.mark.parametrize("pattern", ["{}.png", "00012_{}.png", "clip3_frame{}_face.png"])
def test_numbers_in_names_count_by_their_value(tmp_path, pattern):
    folder = grey_frames(tmp_path / "clip", [pattern.format(number) for number in range(12)])
    assert places(read_clip(folder, 12)) == list(range(12))


def test_what_is_no_frame_is_stepped_over(tmp_path):
    folder = grey_frames(tmp_path / "clip", ["1.png", "2.png"])
    for name in ("._1.png", "n_frames", "Thumbs.db"):
        (folder / name).write_bytes(b"no picture")
    assert places(read_clip(folder, 8)) == [0, 1]


def test_folders_and_files_that_cannot_be_read(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(MediaError, match="empty: expected a folder of frames, found no picture"):
        read_clip(empty, 4)
    write_frames(tmp_path / "broken", "anger", 1, "{}.jpg", num_frames=2)
    (tmp_path / "broken" / "2.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    with pytest.raises(MediaError, match=r"2\.jpg: "):
        read_clip(tmp_path / "broken", 4)
    with pytest.raises(InputNotFoundError, match=r"none\.mp4: no such file"):
        read_clip(tmp_path / "none.mp4", 4)


def test_half_of_the_copies_are_in_the_test_split_of_every_fold():
    tests = [[copy for copy in range(4) if in_test(copy, 2, fold)] for fold in range(1, 6)]
    assert tests == [[0, 1], [1, 2], [2, 3], [0, 3], [0, 1]]
