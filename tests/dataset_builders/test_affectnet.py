import csv

import numpy as np
import pytest
from datasets import load_dataset

from emo_llama.annotate.template import TemplateAnnotator
from emo_llama.dataset_builders.affectnet import AffectNet
from emo_llama.dataset_builders.base import Item, LeftOut
from emo_llama.dataset_builders.build import BuildOptions, build_folder, make_builder
from emo_llama.dataset_builders.synthetic import save_face
from emo_llama.errors import DataFormatError, InputNotFoundError, UsageError
from emo_llama.labels import AFFECTNET, AFFECTNET_7
from emo_llama.prompts import category_question

HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,"
    "valence,arousal"
).split(",")


@pytest.fixture
def root(tmp_path):
    AffectNet.write_synthetic(tmp_path / "affectnet", per_class=1)
    return tmp_path / "affectnet"


def builder(root, **options):
    cache = root.parent / "cache"
    return make_builder("affectnet", "category", root, BuildOptions(**options), cache_dir=cache)


def items(root, split="train", **options):
    return list(builder(root, **options).read_items(split))


def label_file(root, number):
    return root / "train_set" / "annotations" / f"{number}_exp.npy"


def older(root, rows, lists="", pictures="Manually_Annotated_Images"):
    """The older layout: a table of all columns for training, and its pictures."""
    (root / lists).mkdir(parents=True, exist_ok=True)
    for name in ("training.csv", "validation.csv"):
        with (root / lists / name).open("w", newline="") as file:
            csv.writer(file).writerow(HEADER)
            for path, label_id in rows:
                csv.writer(file).writerow([path, 0, 0, 9, 9, "1;2", label_id, 0.1, 0.2])
    for path, label_id in rows:
        if label_id in range(8) and "." in path:
            save_face(root / pictures / path, AFFECTNET[label_id])
    return root


def test_ids_stand_for_the_official_labels(root):
    assert builder(root).find_splits() == ["train", "validation"]
    assert [item.label for item in items(root)] == list(AFFECTNET)
    assert items(root, "validation")[3] == Item("val_set/3", "surprise", "val_set/images/3.jpg")


def test_the_whole_way_with_eight_classes(root, tmp_path):
    done = build_folder("affectnet", root, tmp_path / "out", TemplateAnnotator())
    assert done.counts["category"]["train"]["written"] == 8
    assert done.counts["category"]["validation"]["written"] == 8
    assert not done.problems
    cache = str(tmp_path / "cache")
    rows = load_dataset(str(tmp_path / "out"), split="validation", cache_dir=cache)
    assert (rows[7]["id"], rows[7]["label"]) == ("affectnet-val_set/7", "contempt")
    assert rows[7]["messages"][0]["content"] == category_question(AFFECTNET)


def test_seven_classes_leave_contempt_out(root, tmp_path):
    options = BuildOptions(num_classes=7)
    done = build_folder("affectnet", root, tmp_path / "out", TemplateAnnotator(), options)
    train = done.counts["category"]["train"]
    assert (train["written"], train["without a label"], train["contempt"]) == (7, 1, 0)
    talk = load_dataset(str(tmp_path / "out"), split="train", streaming=True)
    assert tuple(next(iter(talk))["labels"]) == AFFECTNET_7


def test_another_number_of_classes(root):
    with pytest.raises(UsageError, match="num_classes 6: affectnet has 7 or 8"):
        builder(root, num_classes=6)


def test_numbers_are_sorted_as_numbers(root):
    for number in (10, 9, 100):
        save_face(root / "train_set" / "images" / f"{number}.jpg", "anger")
        np.save(label_file(root, number), np.array(6))
    (root / "train_set" / "images" / "Thumbs.db").write_bytes(b"")
    assert [item.key for item in items(root)[7:]] == [f"train_set/{n}" for n in (7, 9, 10, 100)]


@pytest.mark.parametrize(
    "value",
    [np.array("6"), np.array(6), np.array(6.0), np.array([6]), np.array([b"6"]).astype(str)],
)
def test_ids_may_be_text_or_numbers(root, value):
    np.save(label_file(root, 0), value)
    assert items(root)[0].label == "anger"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (8, "without a label"),
        (10, "without a label"),
        (11, "unknown labels"),
        (-1, "unknown labels"),
        (np.nan, "unknown labels"),
        ("sad", "unknown labels"),
        ([1, 2], "unreadable files"),
    ],
)
def test_ids_that_stand_for_no_label(root, value, reason):
    np.save(label_file(root, 0), np.array(value))
    first = items(root)[0]
    assert isinstance(first, LeftOut)
    assert (first.reason, first.item) == (reason, "train_set/0")
    assert bool(first.message) == (reason != "without a label")


@pytest.mark.parametrize(
    "content", [b"", b"6", b"PK\x03\x04", b"\x93NUMPY\x01\x00\xff\xff{", b"\0" * 9999]
)
def test_a_damaged_annotation_is_one_item(root, content):
    label_file(root, 0).write_bytes(content)
    first, *others = items(root)
    assert isinstance(first, LeftOut) and first.reason == "unreadable files"
    assert "train_set/annotations/0_exp.npy: expected one id" in first.message
    assert len(others) == 7


def test_pickles_are_not_opened(root):
    np.save(label_file(root, 0), np.array([{}], dtype=object), allow_pickle=True)
    assert items(root)[0].reason == "unreadable files"


def test_a_picture_or_an_annotation_without_the_other(root, tmp_path):
    label_file(root, 1).unlink()
    (root / "train_set" / "images" / "2.jpg").unlink()
    done = build_folder("affectnet", root, tmp_path / "out", TemplateAnnotator())
    assert done.counts["category"]["train"]["missing files"] == 2
    assert [problem["message"][:40] for problem in done.problems] == [
        "train_set/annotations/1_exp.npy: no such",
        "train_set/images/2.jpg: no such file bel",
    ]


@pytest.mark.parametrize(
    ("lists", "pictures"),
    [
        ("", "Manually_Annotated_Images"),
        ("Manually_Annotated_file_lists", "Manually_Annotated/Manually_Annotated_Images"),
    ],
)
def test_the_older_layout(tmp_path, lists, pictures):
    rows = [("689/a.jpg", 1), ("103/b.png", 7), ("103/c.jpg", 9), ("9/d.jpg", 12), ("9", 1)]
    rows.append((f"9/{'x' * 300}.jpg", 8))
    root = older(tmp_path / "official", rows, lists, pictures)
    found = items(root)
    assert found[:2] == [
        Item("689/a", "happiness", f"{pictures}/689/a.jpg"),
        Item("103/b", "contempt", f"{pictures}/103/b.png"),
    ]
    reasons = [item.reason for item in found[2:]]
    assert reasons == ["without a label", "unknown labels", "missing files", "missing files"]
    done = build_folder("affectnet", root, tmp_path / "out", TemplateAnnotator())
    assert done.counts["category"]["train"]["written"] == 2


def test_a_damaged_table_is_named_with_the_line(tmp_path):
    root = older(tmp_path / "official", [("1/a.jpg", 1), ("1/b.jpg", 2)])
    text = (root / "training.csv").read_text().replace("1/b.jpg,0,0,9,9,1;2,2,0.1,0.2", "1/b.j")
    (root / "training.csv").write_text(text)
    with pytest.raises(DataFormatError, match="training.csv, line 3: expected 9 columns"):
        items(root)


def test_missing_files_are_named_with_how_to_get_them(root):
    with pytest.raises(InputNotFoundError, match="none: expected the folder.*mohammadmahoor"):
        builder(root / "none").find_splits()
    with pytest.raises(InputNotFoundError, match="train_set, val_set, training.csv, valid.*agreem"):
        builder(root / "train_set").find_splits()
    (root / "val_set" / "annotations").rename(root / "val_set" / "notes")
    with pytest.raises(InputNotFoundError, match="val_set: .*found no annotations.*agreement"):
        builder(root).find_splits()
