import json
import pickle

import pytest
from datasets import load_dataset

from emo_llama.annotate.template import TemplateAnnotator
from emo_llama.dataset_builders.base import Item, LeftOut
from emo_llama.dataset_builders.build import build_folder, make_builder
from emo_llama.dataset_builders.folder import Folder
from emo_llama.dataset_builders.synthetic import draw_face, save_face
from emo_llama.errors import DataFormatError, InputNotFoundError
from emo_llama.labels import FERV39K


def touch(root, *files):
    """Files of no content: names are all that a builder looks at before it reads pictures."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"")
    return root


def builder(root):
    return make_builder("folder", "category", root, cache_dir=root.parent / "cache")


def items(root, split="train"):
    return list(builder(root).read_items(split))


def table(root, *lines, name="labels.csv"):
    root.mkdir(exist_ok=True)
    (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def test_the_whole_way(tmp_path):
    root = tmp_path / "mine"
    Folder.write_synthetic(root, per_class=1)
    (root / "train" / "sad" / "0002.png").write_bytes(b"no picture")
    (root / "train" / "sad" / "notes.txt").write_text("")
    done = build_folder("folder", root, tmp_path / "out", TemplateAnnotator())
    train = done.counts["category"]["train"]
    assert (train["written"], train["unreadable files"], train["other files"]) == (7, 1, 1)
    assert [problem["item"] for problem in done.problems] == ["train/sad/0002.png"]
    cache = str(tmp_path / "cache")
    rows = load_dataset(str(tmp_path / "out"), cache_dir=cache)
    assert {split: rows[split].num_rows for split in rows} == {
        "train": 7,
        "validation": 7,
        "test": 7,
    }
    row = rows["test"][3]
    assert (row["id"], row["label"]) == ("folder-test/happy/0001.jpg", "happiness")
    assert tuple(row["labels"]) == tuple(sorted(FERV39K)) == FERV39K
    talk = load_dataset(str(tmp_path / "out"), "conversation", split="train", streaming=True)
    assert len(list(talk)) == 7


def test_a_label_that_nobody_knows_is_built_with_a_conversation(tmp_path):
    root = tmp_path / "mine"
    for name in ("Bored", "joy"):
        save_face(root / name / "a.png", "neutral")
    done = build_folder("folder", root, tmp_path / "out", TemplateAnnotator())
    assert done.counts["conversation"]["train"]["bored"] == 1
    rows = load_dataset(str(tmp_path / "out"), "conversation", split="train", streaming=True)
    first = next(iter(rows))
    assert first["labels"] == ["bored", "happiness"]
    assert first["messages"][1]["content"] == "The person looks bored."


def test_splits_by_any_of_their_names(tmp_path):
    root = touch(tmp_path / "mine", "Train/a/1.jpg", "Train/b/2.mp4", "val/a/3.jpg", "test/b/4.png")
    assert builder(root).find_splits() == ["train", "validation", "test"]
    assert items(root) == [
        Item("Train/a/1.jpg", "a", "Train/a/1.jpg"),
        Item("Train/b/2.mp4", "b", "Train/b/2.mp4"),
    ]
    assert [item.file for item in items(root, "validation")] == ["val/a/3.jpg"]


def test_other_processes_take_the_plan_over(tmp_path):
    first = builder(touch(tmp_path / "mine", "a/1.jpg", "b/2.jpg"))
    assert first.labels == ("a", "b")
    (tmp_path / "mine" / "b" / "2.jpg").unlink()
    assert pickle.loads(pickle.dumps(first)).plan == first.plan


def test_names_are_walked_at_any_depth_without_hidden_ones(tmp_path):
    files = ("b/x.jpg", "a/2/z.JPG", "a/1.webp", "a/._1.jpg", ".cache/y.jpg", "a/.thumbs/y.jpg")
    root = touch(tmp_path / "mine", *files)
    found = [*items(root), *items(root, "validation")]
    assert sorted(item.file for item in found) == ["a/1.webp", "a/2/z.JPG", "b/x.jpg"]


def test_a_tenth_of_each_class_is_held_out_and_stays_so(tmp_path):
    files = [
        f"{name}/{n}.jpg" for name, size in (("a", 40), ("b", 9), ("c", 1)) for n in range(size)
    ]
    root = touch(tmp_path / "mine", *files)
    assert builder(root).find_splits() == ["train", "validation"]
    held_out = [item.file for item in items(root, "validation")]
    assert [file[0] for file in held_out] == ["a"] * 4 + ["b"]
    # As hashlib.blake2b gives it on every machine; another choice would mix old splits.
    assert held_out == ["a/1.jpg", "a/14.jpg", "a/22.jpg", "a/27.jpg", "b/5.jpg"]
    assert len(items(root)) == 45
    touch(root, "a/new.jpg")
    assert len(set(held_out) & {item.file for item in items(root)}) <= 1


def test_whole_persons_are_held_out_where_the_table_tells_them(tmp_path):
    lines = [f"{n}.jpg,{'ab'[n % 2]},p{n // 4}" for n in range(80)]
    root = table(tmp_path / "mine", "file,label,subject", *lines)
    persons = {split: {i.subject for i in items(root, split)} for split in ("train", "validation")}
    assert (len(persons["train"]), len(persons["validation"])) == (18, 2)
    assert not persons["train"] & persons["validation"]


def test_a_table_with_splits_and_other_columns(tmp_path):
    root = table(
        tmp_path / "mine",
        "Label;split;Path;age",
        "Joy;Training;x\\1.jpg;30",
        '"sad";dev;./2.jpg;31',
        f"sad;test;{tmp_path}/mine/3.jpg;31",
        name="metadata.csv",
    )
    touch(root, "elsewhere/4.jpg", "other/5.jpg")
    assert builder(root).find_splits() == ["train", "validation", "test"]
    found = [item for split in ("train", "validation", "test") for item in items(root, split)]
    assert [(item.file, item.label) for item in found] == [
        ("x/1.jpg", "happiness"),
        ("2.jpg", "sadness"),
        ("3.jpg", "sadness"),
    ]


def test_jsonl_under_any_name(tmp_path):
    rows = [
        {"file_name": "a.jpg", "label": 1, "subject": None},
        {"path": "b.mp4", "label": "Angry"},
    ]
    lines = [json.dumps(row) for row in rows]
    root = table(tmp_path / "mine", lines[0], "", lines[1], name="list.jsonl")
    found = [*items(root), *items(root, "validation")]
    assert [(item.file, item.label) for item in found] == [("a.jpg", "1"), ("b.mp4", "anger")]


def test_what_is_wrong_with_one_line_is_one_item(tmp_path):
    long = "x" * 300
    root = table(
        tmp_path / "mine",
        json.dumps({"path": "a.jpg", "label": "a", "split": "train"}),
        json.dumps({"path": "b.jpg", "label": "b", "split": "train"}),
        json.dumps({"path": "c.jpg", "label": "", "split": "train"}),
        json.dumps({"path": "d.jpg", "label": "a", "split": "fold1"}),
        json.dumps({"path": "e.jpg", "label": "a"}),
        json.dumps({"path": "f\0.jpg", "label": "a"}),
        json.dumps({"path": long, "label": "a"}),
        json.dumps({"path": ".", "label": "a"}),
        json.dumps({"path": "a.jpg", "label": "b", "split": "train"}),
        json.dumps({"path": "../secret.jpg", "label": "b", "split": "train"}),
        json.dumps({"path": "/etc/secret.jpg", "label": "b", "split": "train"}),
        json.dumps({"path": "half\ud800.jpg", "label": "b\ud800", "split": "train"}),
        name="labels.jsonl",
    )
    draw_face("anger").save(root / "a.jpg")
    draw_face("anger").save(root / "b.jpg")
    draw_face("anger").save(tmp_path / "secret.jpg")
    done = build_folder("folder", root, tmp_path / "out", TemplateAnnotator())
    counts = done.counts["category"]["train"]
    reasons = {key: n for key, n in counts.items() if key not in ("read", "written", "a", "b")}
    assert reasons == {
        "without a label": 1,
        "unknown splits": 2,
        "missing files": 4,
        "duplicate ids": 1,
        "unreadable files": 2,
    }
    assert counts["written"] == 2
    assert sum("leads out of" in problem["message"] for problem in done.problems) == 2


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("labels.csv", "path,label\na.jpg,a\nb.jpg\n", "line 3: expected 2 columns"),
        ("labels.csv", "path,label\na,b.jpg,a\n", "line 2: expected 2 columns"),
        ("labels.csv", "name,label\na.jpg,a\n", "line 2: expected columns path and label.*'name"),
        ("labels.csv", "path,label\n", "found none"),
        ("labels.csv", "", "found none"),
        ("labels.csv", "path,label\ncaf\xe9.jpg,a\n", "CSV text in UTF-8"),
        ("labels.jsonl", '{"path": "a.jpg", "label": "a"}\n{"path"', "line 2: expected a JSON obj"),
        ("labels.jsonl", '["a.jpg", "a"]', "line 1: expected a JSON object of texts"),
        ("labels.jsonl", '{"path": "a.jpg", "label": ["a"]}', "line 1: expected a JSON object of"),
        ("labels.jsonl", '{"path": "a.jpg", "label": ' + "9" * 5000 + "}", "line 1: expected a J"),
        ("labels.jsonl", "[" * 100_000, "line 1: expected a JSON object"),
        ("labels.jsonl", "caf\xe9", "JSON text in UTF-8"),
    ],
)
def test_a_damaged_table_is_named_with_the_line(tmp_path, name, text, message):
    root = tmp_path / "mine"
    root.mkdir()
    (root / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(DataFormatError, match=f"(?s){name}, .*{message}.*Correct the table"):
        builder(root).find_splits()


def test_a_name_that_is_not_utf_8_is_one_item(tmp_path):
    root = touch(tmp_path / "mine", "a/1.jpg", "b/2.jpg", "a/caf\udce9.jpg")
    left_out = [item for item in items(root) if isinstance(item, LeftOut)]
    assert [(item.reason, item.item) for item in left_out] == [
        ("unreadable files", "a/caf\\udce9.jpg")
    ]


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ((), InputNotFoundError, "mine: found no labels.csv or .*sub-folder .*Please put the pict"),
        (("a.jpg",), InputNotFoundError, "Please put the pictures"),
        (("a/notes.txt",), InputNotFoundError, "no sub-folder with files of a known type"),
        (("pictures/sad/1.jpg", "pictures/joy/2.jpg"), DataFormatError, "found only 'pictures'"),
        (("train/a/1.jpg", "sad/1.jpg"), DataFormatError, "found both: train and sad"),
        (("one.csv", "two.csv"), InputNotFoundError, "no other single CSV"),
    ],
)
def test_a_folder_that_cannot_be_understood(tmp_path, files, error, message):
    (tmp_path / "mine").mkdir()
    with pytest.raises(error, match=f"(?s){message}"):
        builder(touch(tmp_path / "mine", *files)).find_splits()


def test_a_root_that_is_no_folder(tmp_path):
    with pytest.raises(InputNotFoundError, match="none: expected a folder, found nothing"):
        builder(tmp_path / "none").find_splits()
    (tmp_path / "mine.zip").write_bytes(b"PK")
    with pytest.raises(InputNotFoundError, match="mine.zip: .*found a file; unpack it first"):
        builder(tmp_path / "mine.zip").find_splits()


def test_a_table_of_a_million_columns_is_refused_at_once(tmp_path):
    names = ",".join(["path", "label", *(f"c{number}" for number in range(1_000_000))])
    values = ",".join(["a.png", "happy", *["1"] * 1_000_000])
    root = table(tmp_path / "mine", names, *[values] * 3)
    with pytest.raises(DataFormatError, match="1,000 columns at most, found 1,000,002"):
        builder(root).find_splits()


def test_links_are_followed_out_of_the_folder(tmp_path):
    """A user may link to pictures elsewhere; a table may not name them by `..` or `/`."""
    save_face(tmp_path / "elsewhere" / "one.png", "sadness")
    root = tmp_path / "mine"
    for label in ("happy", "sad"):
        save_face(root / "train" / label / "0.png", "happiness")
    (root / "train" / "sad" / "linked.png").symlink_to(tmp_path / "elsewhere" / "one.png")
    (root / "train" / "sad" / "zero.png").symlink_to("/dev/zero")
    done = build_folder("folder", root, tmp_path / "out", TemplateAnnotator())
    assert done.counts["category"]["train"]["sadness"] == 2
    assert [problem["item"] for problem in done.problems] == ["train/sad/zero.png"]
