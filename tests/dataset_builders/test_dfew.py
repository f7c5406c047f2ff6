import shutil
from collections import Counter

import pytest
from datasets import load_dataset

from emo_llama.annotate.template import TemplateAnnotator
from emo_llama.dataset_builders.base import Item, LeftOut
from emo_llama.dataset_builders.build import BuildOptions, build_folder, make_builder
from emo_llama.dataset_builders.dfew import Dfew
from emo_llama.errors import DataFormatError, InputNotFoundError, UsageError
from emo_llama.labels import DFEW as LABELS


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn") / "dfew"
    Dfew.write_synthetic(root, per_class=1)
    return root


@pytest.fixture
def root(drawn, tmp_path):
    return shutil.copytree(drawn, tmp_path / "dfew")


def table(root, split="train", fold=1):
    return root / "EmoLabel_DataSplit" / f"{split}(single-labeled)" / f"set_{fold}.csv"


def write_rows(root, *rows, split="train"):
    table(root, split).write_text("\n".join(["video_name,label", *rows, ""]))


def items(root, split="train", **options):
    cache = root.parent / "cache"
    builder = make_builder("dfew", "category", root, BuildOptions(**options), cache_dir=cache)
    assert builder.find_splits() == ["train", "test"]
    return list(builder.read_items(split))


@pytest.mark.parametrize("fold", [1, 2, 3, 4, 5])
def test_every_fold_has_both_splits_with_all_labels(root, fold):
    train, test = (items(root, split, fold=fold) for split in ("train", "test"))
    assert [item.label for item in train] == [item.label for item in test] == list(LABELS)
    assert {item.key for item in train} | {item.key for item in test} == {
        f"{number:05d}" for number in range(1, 15)
    }


def test_folds_differ(root):
    assert items(root, "test", fold=1) == items(root, "train", fold=2)


def test_frames_come_first_and_bytes_are_videos(root):
    assert items(root)[0] == Item("00008", "happiness", "Clip/clip_224x224/00008")
    assert items(root, clips="bytes")[0].file == "Clip/original/8.mp4"
    shutil.rmtree(root / "Clip" / "clip_224x224" / "00008")
    assert [item.file for item in items(root)[:2]] == [
        "Clip/original/8.mp4",
        "Clip/clip_224x224/00009",
    ]


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("Clip/jpg_256", "00008"),
        ("Clip/jpg_256", "8"),
        ("Clip/clip_224x224/clip_224x224_part_1", "00008"),
        ("Clip/clip_224x224_16f", "00008"),
        ("Clip/original", "00008.mp4"),
        ("Clip/original/data_part_1-2-3", "8.mp4"),
        ("Clip/clip_224x224_avi", "00008.avi"),
        ("data", "00008"),
    ],
)
def test_folders_and_names_of_clips_that_are_met(root, folder, name):
    shutil.rmtree(root / "Clip")
    (root / folder / name).mkdir(parents=True)
    assert items(root)[0].file == f"{folder}/{name}"


@pytest.mark.parametrize(
    "name",
    [
        "EmoLabel_DataSplit/{}(single_labeled)/set_1.csv",
        "EmoLabel_DataSplit/{}/set_1.csv",
        "label/single_{}set_1.csv",
    ],
)
def test_names_of_tables_that_are_met(root, name):
    for split in ("train", "test"):
        path = root / name.format(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        table(root, split).rename(path)
    assert len(items(root)) == 7


def test_ways_to_write_a_row(root):
    write_rows(root, "8,1", "00009,2", "10.mp4,3", "11,Angry", " 12 , 5 ")
    assert [(item.key, item.label) for item in items(root)] == [
        ("00008", "happiness"),
        ("00009", "sadness"),
        ("00010", "neutral"),
        ("00011", "anger"),
        ("00012", "surprise"),
    ]


def test_ids_outside_the_set_are_left_out_by_name(root):
    write_rows(root, "8,0", "9,8", "10,glee", "11,4")
    *left_out, item = items(root)
    assert left_out == [
        LeftOut("unknown labels", key, f"label {label!r}: expected 1 to 7 or a name of the set")
        for key, label in (("00008", "0"), ("00009", "8"), ("00010", "glee"))
    ]
    assert item.label == "anger"


def test_faults_of_single_clips_are_counted_and_end_no_build(root, tmp_path):
    write_rows(root, "8,1", "9,9", "10,3", "11,4", "00008,1", "12,contempt", "../../../9,2")
    clips = root / "Clip"
    shutil.rmtree(clips / "clip_224x224" / "00010")
    (clips / "original" / "10.mp4").unlink()
    for frame in (clips / "clip_224x224" / "00011").iterdir():
        frame.write_bytes(b"\xff\xd8\xff\xe0 cut off")
    done = build_folder("dfew", root, tmp_path / "out", TemplateAnnotator())
    counts = done.counts["category"]["train"]
    assert (counts["read"], counts["written"]) == (7, 1)
    assert (counts["missing files"], counts["duplicate ids"]) == (1, 1)
    assert (counts["unreadable files"], counts["unknown labels"]) == (2, 2)
    told = {problem["item"]: problem["message"] for problem in done.problems}
    assert set(told) == {"00008", "00009", "00010", "00011", "00012", "../../../9"}
    assert told["00010"] == "Clip/clip_224x224/00010: no such file below the root"
    assert told["00011"].startswith("Clip/clip_224x224/00011/")


def test_frames_build_and_load(root, tmp_path):
    options = BuildOptions(num_frames=3, fold=2)
    done = build_folder("dfew", root, tmp_path / "out", TemplateAnnotator(), options)
    assert done.counts["category"]["train"] == Counter(read=7, written=7) + Counter(LABELS)
    assert done.problems == []
    rows = load_dataset(str(tmp_path / "out"), "category", cache_dir=str(tmp_path / "cache"))
    assert {split: part.num_rows for split, part in rows.items()} == {"train": 7, "test": 7}
    row = rows["train"][1]
    assert (row["id"], row["file"]) == ("dfew-00002", "Clip/clip_224x224/00002")
    assert (row["label"], tuple(row["labels"])) == ("sadness", LABELS)
    assert [image.size for image in row["images"]] == [(64, 64)] * 3
    assert "video" in row["messages"][0]["content"]


def test_clips_as_bytes_build_and_load(root, tmp_path):
    write_rows(root, "8,1")
    write_rows(root, "1,1", split="test")
    options = BuildOptions(clips="bytes")
    build_folder("dfew", root, tmp_path / "out", TemplateAnnotator(), options)
    rows = load_dataset(
        str(tmp_path / "out"), "category", split="train", cache_dir=str(tmp_path / "cache")
    )
    assert rows[0]["images"] == []
    video = (root / "Clip" / "original" / "8.mp4").read_bytes()
    assert [clip["bytes"] for clip in rows[0]["videos"]] == [video]


def test_what_is_missing_is_named_with_where_to_get_it(root, tmp_path):
    table(root, "test").unlink()
    with pytest.raises(
        InputNotFoundError,
        match=r"split test; .*EmoLabel_DataSplit/test\(single-labeled\)/set_1.csv.*, "
        r"label/single_testset_1.csv\. sign the agreement at dfew-dataset",
    ):
        items(root)
    with pytest.raises(InputNotFoundError, match="nowhere: expected the folder that holds dfew"):
        items(tmp_path / "nowhere")


def test_folders_of_clips_that_are_missing(root):
    shutil.rmtree(root / "Clip" / "original")
    with pytest.raises(InputNotFoundError, match="no folder of video files; .*Clip/original, "):
        items(root, clips="bytes")
    shutil.rmtree(root / "Clip")
    with pytest.raises(InputNotFoundError, match="no folder of clips; .*Clip/jpg_256, .*agreement"):
        items(root)


def test_a_fold_that_does_not_exist(root):
    for fold in (0, 6):
        with pytest.raises(UsageError, match=f"fold {fold}: dfew has folds 1 to 5"):
            items(root, fold=fold)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"video_name,label\n", "expected lines of clips, found none"),
        (b"name,class\n1,2\n", "expected a header with video_name, label"),
        (b"video_name,label\n1,2\n3\n", "line 3: expected 2 columns"),
        (b"video_name,label\n1,2\n,3\n", "line 3: expected a clip's number and its label"),
        (b"video_name,label\n1,\n", "line 2: expected a clip's number and its label"),
        (b"\xff\xd8\xff\xe0\x00", "expected a CSV text file"),
    ],
)
def test_a_damaged_table_is_named_with_its_line(root, content, message):
    table(root).write_bytes(content)
    with pytest.raises(DataFormatError, match=rf"set_1\.csv.*{message}.*agreement"):
        items(root)
