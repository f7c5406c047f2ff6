import shutil

import pytest
from datasets import load_dataset

from emo_llama.annotate.template import TemplateAnnotator
from emo_llama.dataset_builders.base import Item, LeftOut
from emo_llama.dataset_builders.build import BuildOptions, build_folder, make_builder
from emo_llama.dataset_builders.mafw import ABBREVIATIONS, Mafw, read_captions
from emo_llama.errors import DataFormatError, InputNotFoundError, UsageError
from emo_llama.labels import MAFW as LABELS


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn") / "mafw"
    Mafw.write_synthetic(root, per_class=1)
    return root


@pytest.fixture
def root(drawn, tmp_path):
    return shutil.copytree(drawn, tmp_path / "mafw")


def table(root, split="train", fold=1, texts="no_caption"):
    return root / "Train & Test Set" / "single" / texts / f"set_{fold}" / f"{split}.txt"


def items(root, split="train", **options):
    cache = root.parent / "cache"
    builder = make_builder("mafw", "category", root, BuildOptions(**options), cache_dir=cache)
    assert builder.find_splits() == ["train", "test"]
    return list(builder.read_items(split))


@pytest.mark.parametrize("fold", [1, 2, 3, 4, 5])
def test_every_fold_has_both_splits_with_all_labels(root, fold):
    train, test = (items(root, split, fold=fold) for split in ("train", "test"))
    assert [item.label for item in train] == [item.label for item in test] == list(LABELS)
    assert {item.key for item in train} | {item.key for item in test} == {
        f"{number:05d}" for number in range(1, 23)
    }


def test_items_carry_the_english_text(root):
    first, *_ = train = items(root)
    caption = "A drawn face changes from neutral to anger."
    assert first == Item("00012", "anger", "data/clips/00012.mp4", caption=caption)
    assert [item.label for item in train if not item.caption] == ["neutral"]


def test_without_the_tables_of_texts_there_are_no_captions(root):
    shutil.rmtree(root / "Train & Test Set" / "single" / "with_caption")
    assert [item.caption for item in items(root)] == [""] * 11


@pytest.mark.parametrize(
    ("line", "caption"),
    [
        ("00012.mp4\tanger\t他很生气。\tThe man frowns.".encode(), "The man frowns."),
        ("00012.mp4\tanger\t他很生气。\tThe man frowns.".encode("gb18030"), "The man frowns."),
        ("00012.mp4\tanger\t他\tThe man’s “brow”.".encode("gb18030"), "The man’s “brow”."),
        ("00012.mp4\tanger\t他".encode("gb18030") + b"\tThe man\x92s brow.", "The man’s brow."),
        (b"00012.mp4\tanger\tThe man  frowns.\t", "The man frowns."),
        (b"\n00012.mp4 anger The man frowns.\r\n", "The man frowns."),
        ("00012.mp4\tanger\t他很生气。".encode(), ""),
        (b"00012.mp4\tanger", ""),
        (b"00012.mp4", ""),
        (b"\xff\xfe\x00\x01\t\t\t\x81", ""),
    ],
)
def test_ways_to_write_a_text(root, line, caption):
    table(root, texts="with_caption").write_bytes(line)
    assert items(root)[0].caption == caption


def test_captions_of_a_file_that_is_not_there(tmp_path):
    assert read_captions(tmp_path / "none.txt") == {}


@pytest.mark.parametrize("separator", [" ", "\t", ",", ", "])
@pytest.mark.parametrize("labels", [LABELS, tuple(ABBREVIATIONS), tuple(map(str, range(1, 12)))])
def test_ways_to_write_a_label(root, separator, labels):
    lines = [f"{number:05d}.mp4{separator}{label}\n" for number, label in enumerate(labels, 1)]
    table(root).write_text("".join(lines))
    assert [item.label for item in items(root)] == list(LABELS)


@pytest.mark.parametrize("place", ["train_test_set/Train & Test Set/single", "single", "label"])
def test_places_of_the_tables_that_are_met(root, place):
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / "Train & Test Set" / "single").rename(root / place)
    assert items(root, fold=3)[0].caption


@pytest.mark.parametrize(
    ("folder", "name"),
    [("clips", "00012.mp4"), ("data/frames", "00012"), ("frames", "00012")],
)
def test_folders_of_clips_that_are_met(root, folder, name):
    shutil.rmtree(root / "data")
    (root / folder / name).mkdir(parents=True)
    assert items(root)[0].file == f"{folder}/{name}"


def test_labels_outside_the_set_are_left_out_by_name(root):
    table(root).write_text("1.mp4 0\n2.mp4 12\n3.mp4 anger_disgust\n00012.mp4 1\n")
    *left_out, item = items(root)
    assert left_out == [
        LeftOut("unknown labels", key, f"label {label!r}: expected 1 to 11 or a name of the set")
        for key, label in (("1", "0"), ("2", "12"), ("3", "anger_disgust"))
    ]
    assert item.label == "anger"


def test_frames_of_videos_build_and_load_and_faults_are_counted(root, tmp_path):
    table(root).write_text("00012.mp4 anger\n00013.mp4 2\n00099.mp4 3\n00012.mp4 anger\n")
    table(root, "test").write_text("00001.mp4 anger\n")
    broken = root / "data" / "clips" / "00013.mp4"
    broken.write_bytes(broken.read_bytes()[:500])
    options = BuildOptions(num_frames=4)
    done = build_folder("mafw", root, tmp_path / "out", TemplateAnnotator(), options)
    counts = done.counts["category"]["train"]
    assert (counts["read"], counts["written"], counts["duplicate ids"]) == (4, 1, 1)
    assert (counts["unreadable files"], counts["missing files"]) == (1, 1)
    told = {problem["item"]: problem["message"] for problem in done.problems}
    assert told["00013"].startswith("data/clips/00013.mp4: this video cannot be read")
    assert told["00099"] == "data/clips/00099.mp4: no such file below the root"
    rows = load_dataset(
        str(tmp_path / "out"), "category", split="train", cache_dir=str(tmp_path / "cache")
    )
    assert (rows[0]["id"], rows[0]["label"]) == ("mafw-00012", "anger")
    assert tuple(rows[0]["labels"]) == LABELS
    assert [image.size for image in rows[0]["images"]] == [(64, 64)] * 4


def test_clips_as_bytes_build_and_load(root, tmp_path):
    table(root).write_text("00012.mp4 anger\n")
    table(root, "test").write_text("00001.mp4 anger\n")
    options = BuildOptions(clips="bytes")
    build_folder("mafw", root, tmp_path / "out", TemplateAnnotator(), options)
    rows = load_dataset(
        str(tmp_path / "out"), "category", split="train", cache_dir=str(tmp_path / "cache")
    )
    video = (root / "data" / "clips" / "00012.mp4").read_bytes()
    assert [clip["bytes"] for clip in rows[0]["videos"]] == [video]


def test_what_is_missing_is_named_with_where_to_get_it(root, tmp_path):
    shutil.rmtree(root / "data")
    with pytest.raises(InputNotFoundError, match="clips; .*data/frames, .*data/clips.*agreement"):
        items(root)
    table(root).unlink()
    with pytest.raises(
        InputNotFoundError,
        match=r"split train; .*Train & Test Set/single/no_caption/set_1/train\.txt, .*agreement",
    ):
        items(root)
    with pytest.raises(InputNotFoundError, match="nowhere: expected the folder"):
        items(tmp_path / "nowhere")


def test_a_fold_that_does_not_exist(root):
    with pytest.raises(UsageError, match="fold 6: mafw has folds 1 to 5"):
        items(root, fold=6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected lines of clips, found none"),
        (b"00012.mp4 anger\n00013.mp4", "line 2: expected a clip and its label"),
        (b"\xff\xd8\xff\xe0\x00", "expected a text file"),
    ],
)
def test_a_damaged_table_is_named_with_its_line(root, content, message):
    table(root).write_bytes(content)
    with pytest.raises(DataFormatError, match=rf"train\.txt.*{message}.*agreement"):
        items(root)
