import pytest
from datasets import load_dataset

from emo_llama.annotate.template import TemplateAnnotator
from emo_llama.dataset_builders.base import Item, LeftOut
from emo_llama.dataset_builders.build import build_folder, make_builder
from emo_llama.dataset_builders.rafdb import RafDb
from emo_llama.errors import DataFormatError, InputNotFoundError
from emo_llama.labels import RAFDB
from emo_llama.prompts import category_question

TABLE = "EmoLabel/list_patition_label.txt"


@pytest.fixture
def root(tmp_path):
    RafDb.write_synthetic(tmp_path / "raf", per_class=1)
    return tmp_path / "raf"


def builder(root):
    return make_builder("rafdb", "category", root, cache_dir=root.parent / "cache")


def items(root, split="train"):
    return list(builder(root).read_items(split))


def test_ids_stand_for_the_official_labels(root):
    assert builder(root).find_splits() == ["train", "test"]
    assert items(root)[2] == Item("train_00003", "disgust", "Image/aligned/train_00003_aligned.jpg")
    assert [item.label for item in items(root, "test")] == list(RAFDB)


def test_the_whole_way(root, tmp_path):
    (root / "Image/aligned/train_00002_aligned.jpg").unlink()
    (root / "Image/aligned/train_00004_aligned.jpg").write_bytes(b"\xff\xd8\xff no picture")
    with (root / TABLE).open("a") as file:
        file.write("train_00001.jpg 1\ntrain_00008.jpg 8\n")
    done = build_folder("rafdb", root, tmp_path / "out", TemplateAnnotator())
    train = done.counts["category"]["train"]
    assert (train["read"], train["written"]) == (9, 5)
    assert (train["missing files"], train["unreadable files"]) == (1, 1)
    assert (train["duplicate ids"], train["unknown labels"]) == (1, 1)
    assert done.counts["category"]["test"]["written"] == 7
    assert {problem["item"] for problem in done.problems} == {
        *(f"train_{number:05d}" for number in (1, 2, 4, 8))
    }
    cache = str(tmp_path / "cache")
    row = load_dataset(str(tmp_path / "out"), split="test", cache_dir=cache)[4]
    assert (row["id"], row["label"], row["images"][0].size) == (
        "rafdb-test_00005",
        "sadness",
        (100, 100),
    )
    assert row["file"] == "Image/aligned/test_00005_aligned.jpg"
    assert row["messages"][0]["content"] == category_question(RAFDB)
    talk = load_dataset(str(tmp_path / "out"), "conversation", split="train", streaming=True)
    assert len(list(talk)) == 5


def test_other_names_of_table_and_folders(root, tmp_path):
    other = tmp_path / "other"
    (other / "basic").mkdir(parents=True)
    (root / TABLE).rename(root / "EmoLabel" / "list_partition_label.txt")
    for part in ("EmoLabel", "Image"):
        (root / part).rename(other / "basic" / part)
    assert items(other)[0].file == "basic/Image/aligned/train_00001_aligned.jpg"


def test_the_original_picture_stands_in_for_an_aligned_one(root):
    (root / "Image" / "original").mkdir()
    aligned = root / "Image/aligned/train_00001_aligned.jpg"
    aligned.rename(root / "Image/original/train_00001.jpg")
    assert [item.file for item in items(root)[:2]] == [
        "Image/original/train_00001.jpg",
        "Image/aligned/train_00002_aligned.jpg",
    ]


@pytest.mark.parametrize("label", ["0", "8", "-1", "seven", "1.0", "9" * 5000])
def test_a_label_out_of_range_is_one_item(root, label):
    (root / TABLE).write_text(f"train_00001.jpg {label}\ntrain_00002.jpg 7\n")
    first, second = items(root)
    assert isinstance(first, LeftOut) and first.reason == "unknown labels"
    assert "expected 1 to 7" in first.message
    assert second.label == "neutral"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train_00001.jpg 1\ntrain_00002.j", "label.txt, line 2: expected train_NNNNN.jpg.*whdeng"),
        ("train_00001.jpg 1\ntrain_00002.jpg", "line 2.*cut off"),
        ("../train_00001.jpg 1\n", "line 1"),
        ("\n", "found none"),
        (b"\xff\xd8\xff\xe0", "expected a text file"),
    ],
)
def test_a_damaged_table_is_named_with_the_line(root, text, message):
    (root / TABLE).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataFormatError, match=f"(?s){message}"):
        builder(root).find_splits()


def test_missing_files_are_named_with_how_to_get_them(root):
    with pytest.raises(
        InputNotFoundError, match="none: expected the folder that holds RAF-DB.*whd"
    ):
        builder(root / "none").find_splits()
    (root / "Image" / "aligned").rename(root / "Image" / "faces")
    with pytest.raises(InputNotFoundError, match="Image/aligned, basic/Image/aligned, Image/orig"):
        builder(root).find_splits()
    (root / TABLE).unlink()
    with pytest.raises(InputNotFoundError, match=f"looked for {TABLE}, .*agreement"):
        builder(root).find_splits()
