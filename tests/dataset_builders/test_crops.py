import io
import pickle
from pathlib import Path

import pytest
from datasets import load_dataset
from PIL import Image

from emo_llama.annotate.template import TemplateAnnotator
from emo_llama.cli import main
from emo_llama.cropping import FaceCropper
from emo_llama.dataset_builders.build import BuildOptions, build_folder
from emo_llama.dataset_builders.stripping import join_pictures, strip_pictures
from emo_llama.dataset_builders.synthetic import save_face
from emo_llama.errors import DataFormatError, UsageError
from emo_llama.loading import EMBEDDED_MODEL

PORTRAIT = EMBEDDED_MODEL.parent / "portrait.jpg"


@pytest.fixture
def photos(tmp_path):
    """Two classes: a real portrait, and a picture without a face, in each split of its own."""
    root = tmp_path / "photos"
    for label, image in (("happy", Image.open(PORTRAIT)), ("sad", Image.new("RGB", (90, 60)))):
        for split in ("train", "validation"):
            path = root / split / label / "1.png"
            path.parent.mkdir(parents=True)
            image.save(path)
    return root


def build(root: Path, out: Path, faces: str):
    cropper = None if faces == "none" else FaceCropper()
    return build_folder(
        "folder", root, out, TemplateAnnotator(), BuildOptions(faces=faces), cropper=cropper
    )


def sizes(out: Path) -> dict[str, tuple[int, int]]:
    rows = load_dataset(str(out), "category", split="train", streaming=True)
    return {row["label"]: row["images"][0].size for row in rows}


def test_pictures_are_cropped_to_their_face(photos, tmp_path):
    done = build(photos, tmp_path / "out", "detect")
    ((label, (width, height)),) = sizes(tmp_path / "out").items()
    whole = Image.open(PORTRAIT).size
    assert label == "happiness"
    assert abs(width - height) <= 1
    assert width < min(whole)
    assert done.counts["category"]["train"]["without a face"] == 1
    problem = next(problem for problem in done.problems if problem["split"] == "train")
    assert problem["item"] == "train/sad/1.png"
    assert problem["message"].endswith("build with --faces auto")


def test_what_shows_no_face_can_stay_whole(photos, tmp_path):
    done = build(photos, tmp_path / "out", "auto")
    assert sizes(tmp_path / "out")["sadness"] == (90, 60)
    assert sizes(tmp_path / "out")["happiness"] != Image.open(PORTRAIT).size
    assert done.counts["category"]["train"]["kept whole"] == 1
    assert not done.problems


def test_the_command_crops_folders_unless_told_not_to(photos, tmp_path, capsys):
    words = ["data", "build", "folder", "--root", str(photos), "--landmarks", "none", "--out"]
    assert main([*words, str(tmp_path / "auto")]) == 0
    assert "1 kept whole, 2 written" in capsys.readouterr().out
    assert main([*words, str(tmp_path / "none"), "--faces", "none"]) == 0
    assert sizes(tmp_path / "none")["happiness"] == Image.open(PORTRAIT).size
    assert main([*words, str(tmp_path / "bytes"), "--clips", "bytes"]) == 2
    assert "--faces none" in capsys.readouterr().err


def test_joined_pictures_are_cropped_alike(photos, tmp_path):
    build(photos, tmp_path / "out", "auto")
    strip_pictures(tmp_path / "out", tmp_path / "stripped")
    rows = join_pictures(tmp_path / "stripped", photos, cropper=FaceCropper())
    assert {row["label"]: row["images"][0].size for row in rows} == sizes(tmp_path / "out")
    with pytest.raises(UsageError, match="cropper"):
        join_pictures(tmp_path / "stripped", photos)


def test_a_folder_without_any_face(photos, tmp_path):
    Image.new("RGB", (64, 64)).save(photos / "train" / "happy" / "1.png")
    Image.new("RGB", (64, 64)).save(photos / "validation" / "happy" / "1.png")
    with pytest.raises(DataFormatError, match="no face was found"):
        build(photos, tmp_path / "out", "detect")
    assert not (tmp_path / "out").exists()


def test_choices_that_do_not_fit(photos, tmp_path):
    with pytest.raises(UsageError, match="faces 'auto': expected none, or"):
        build_folder(
            "folder", photos, tmp_path / "out", TemplateAnnotator(), BuildOptions(faces="auto")
        )


def test_a_frame_without_a_face_borrows_the_place_of_the_nearest():
    portrait = Image.open(io.BytesIO(PORTRAIT.read_bytes())).convert("RGB")
    blank = Image.new("RGB", portrait.size)
    cropper = pickle.loads(pickle.dumps(FaceCropper()))
    crops = cropper([portrait, blank, portrait])
    assert [crop.size for crop in crops] == [crops[0].size] * 3
    assert cropper([blank, blank]) is None


class Counting:
    """A cropper that counts what it is shown, and sees a face in all but the tiny pictures."""

    def __init__(self):
        self.shown = 0

    def __call__(self, images):
        self.shown += len(images)
        return None if images[0].width < 50 else [image.crop((0, 0, 40, 40)) for image in images]


class Preparing(TemplateAnnotator):
    """Looks at every record before the rows are built, as an endpoint's annotator does."""

    def prepare(self, records):
        self.seen = [(record.id, record.image().size) for record in records]


@pytest.mark.parametrize(("faces", "written"), [("auto", 20), ("detect", 16)])
def test_a_picture_is_read_and_cropped_once(faces, written, tmp_path):
    for number in range(20):
        size = 30 if number % 5 == 0 else 60
        save_face(
            tmp_path / "mine/train" / ("a", "b")[number % 2] / f"{number}.png", "fear", 1, size
        )
    cropper, annotator = Counting(), Preparing()
    options = BuildOptions(faces=faces)
    out = tmp_path / "out"
    done = build_folder("folder", tmp_path / "mine", out, annotator, options, cropper=cropper)
    assert cropper.shown == 20
    assert len(annotator.seen) == written
    for config in ("category", "conversation"):
        count = done.counts[config]["train"]
        assert (count["read"], count["written"]) == (20, written)
        assert count["kept whole" if faces == "auto" else "without a face"] == 4
    first, second = (
        load_dataset(str(out), config, split="train", cache_dir=str(tmp_path / "cache"))
        for config in ("category", "conversation")
    )
    assert first["id"] == second["id"]
    assert [row["images"][0].size for row in second] == [row["images"][0].size for row in first]
    assert len(done.problems) == 20 - written
