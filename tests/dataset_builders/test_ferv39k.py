import shutil

import pytest
from datasets import load_dataset

from emo_llama.annotate.template import TemplateAnnotator
from emo_llama.dataset_builders.base import Item, LeftOut
from emo_llama.dataset_builders.build import BuildOptions, build_folder, make_builder
from emo_llama.dataset_builders.ferv39k import Ferv39k
from emo_llama.dataset_builders.synthetic_clips import write_clip
from emo_llama.errors import DataFormatError, InputNotFoundError, UsageError
from emo_llama.labels import FERV39K as LABELS


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn") / "ferv39k"
    Ferv39k.write_synthetic(root, per_class=2)
    return root


@pytest.fixture
def root(drawn, tmp_path):
    return shutil.copytree(drawn, tmp_path / "ferv39k")


def table(root, split="train"):
    return root / "4_setups" / "All_scenes" / f"{split}_All.csv"


def items(root, split="train", **options):
    cache = root.parent / "cache"
    builder = make_builder("ferv39k", "category", root, BuildOptions(**options), cache_dir=cache)
    assert builder.find_splits() == ["train", "test"]
    return list(builder.read_items(split))


def test_both_splits_with_all_labels(root):
    train, test = items(root, "train"), items(root, "test")
    assert [item.label for item in train] == [item.label for item in test] == [*LABELS, *LABELS]
    assert not {item.key for item in train} & {item.key for item in test}
    assert train[0] == Item(
        "Action/Angry/0001",
        "anger",
        "2_ClipsforFaceCrop/Action/Angry/0001",
        subject="Action",
    )
    assert {item.subject for item in train} == {"Action", "DailyLife"}


@pytest.mark.parametrize(
    "line",
    [
        "Action/Happy/0004 Happy",
        "Action/Happy/0004,Happy",
        "Action/Happy/0004, happiness",
        "2_ClipsforFaceCrop/Action/Happy/0004 Happy",
        "Action/Happy/0004.mp4 Happy",
        "Action\\Happy\\0004 Happy",
        "7 Action/Happy/0004 Happy",
        "Action/Happy/0004 0",  # one public loader numbers Happy 0, another 3
        "Action/Happy/0004 3",
    ],
)
def test_ways_to_write_a_line(root, line):
    for text in (line, f"path label\n{line}\n\n"):
        table(root).write_text(text)
        assert [(item.key, item.label) for item in items(root)] == [
            ("Action/Happy/0004", "happiness")
        ]


@pytest.mark.parametrize("folder", ["All_scenes", "."])
def test_places_of_the_tables_that_are_met(root, folder):
    (root / folder).mkdir(exist_ok=True)
    for split in ("train", "test"):
        table(root, split).rename(root / folder / f"{split}_All.csv")
    assert len(items(root)) == 14


def test_a_folder_in_a_folder_of_its_name_and_video_files(root):
    clips = root / "2_ClipsforFaceCrop"
    clips.rename(root / "inner")
    clips.mkdir()
    (root / "inner").rename(clips / clips.name)
    shutil.rmtree(clips / clips.name / "Action" / "Angry" / "0001")
    write_clip(clips / clips.name / "Action" / "Angry" / "0001.mp4", "anger", 1)
    assert [item.file for item in items(root)[:2]] == [
        "2_ClipsforFaceCrop/2_ClipsforFaceCrop/Action/Angry/0001.mp4",
        "2_ClipsforFaceCrop/2_ClipsforFaceCrop/Action/Disgust/0002",
    ]


def test_labels_outside_the_set_are_left_out_by_name(root):
    table(root).write_text(
        "Action/Angry/0001 7\nAction/Angry/0001 Glee\nAction/Glee/0001 3\nAction/Angry/0001 Angry"
    )
    *left_out, item = items(root)
    assert [entry.item for entry in left_out] == [
        "Action/Angry/0001",
        "Action/Angry/0001",
        "Action/Glee/0001",
    ]
    assert left_out[0] == LeftOut(
        "unknown labels",
        "Action/Angry/0001",
        "label '7': expected 0 to 6 or a name of the set",
    )
    assert item.label == "anger"


def test_frames_build_and_load_and_faults_are_counted(root, tmp_path):
    clips = root / "2_ClipsforFaceCrop" / "Action"
    shutil.rmtree(clips / "Angry" / "0001")
    for frame in (clips / "Disgust" / "0002").iterdir():
        frame.unlink()
    with table(root).open("a") as file:
        file.write("Action/Fear/0003 Fear\n../../Fear/0003 Fear\nAction/Fear/0003 Contempt\n")
    done = build_folder("ferv39k", root, tmp_path / "out", TemplateAnnotator())
    counts = done.counts["category"]["train"]
    assert (counts["read"], counts["written"], counts["missing files"]) == (17, 12, 1)
    assert (counts["unreadable files"], counts["duplicate ids"]) == (2, 2)
    rows = load_dataset(
        str(tmp_path / "out"), "category", split="train", cache_dir=str(tmp_path / "cache")
    )
    assert (rows[0]["id"], rows[0]["subject"]) == ("ferv39k-Action/Fear/0003", "Action")
    assert (rows[0]["label"], tuple(rows[0]["labels"])) == ("fear", LABELS)
    assert [image.size for image in rows[0]["images"]] == [(64, 64)] * 8


def test_clips_as_bytes_build_and_load(root, tmp_path):
    for split, name in (("train", "Action/Angry/0001"), ("test", "Action/Fear/0003")):
        table(root, split).write_text(f"{name} {name.split('/')[1]}\n")
        write_clip(root / "2_ClipsforFaceCrop" / f"{name}.mp4", "fear", 1)
    options = BuildOptions(clips="bytes")
    build_folder("ferv39k", root, tmp_path / "out", TemplateAnnotator(), options)
    rows = load_dataset(
        str(tmp_path / "out"), "category", split="train", cache_dir=str(tmp_path / "cache")
    )
    assert rows[0]["file"] == "2_ClipsforFaceCrop/Action/Angry/0001.mp4"
    assert rows[0]["videos"][0]["bytes"] == (root / rows[0]["file"]).read_bytes()


def test_what_is_missing_is_named_with_where_to_get_it(root, tmp_path):
    shutil.rmtree(root / "2_ClipsforFaceCrop")
    with pytest.raises(InputNotFoundError, match="clips; .*2_ClipsforFaceCrop.*wangyanckxx"):
        items(root)
    shutil.rmtree(root / "4_setups")
    with pytest.raises(
        InputNotFoundError,
        match=r"4_setups/All_scenes/train_All\.csv, All_scenes/train_All\.csv, .*wangyanckxx",
    ):
        items(root)
    with pytest.raises(InputNotFoundError, match="nowhere: expected the folder"):
        items(tmp_path / "nowhere")


def test_there_are_no_folds(root):
    with pytest.raises(UsageError, match="fold 2: ferv39k has no folds"):
        items(root, fold=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected lines of clips, found none"),
        (b"path label\n", "expected lines of clips, found none"),
        (b"Action/Angry/0001 Angry\nAction/An", "line 2: expected a clip and its label"),
        (b"Action/Angry/0001 Angry\n0001 Angry\n", "line 2: expected scene/class/clip"),
        (b"Angry/0001 Angry\n", "line 1: expected scene/class/clip"),
        (b"a/b/" + b"c" * 300 + b" Angry", "line 1: expected a clip and its label"),
        (b"\xff\xd8\xff\xe0\x00", "expected a text file"),
    ],
)
def test_a_damaged_table_is_named_with_its_line(root, content, message):
    table(root).write_bytes(content)
    with pytest.raises(DataFormatError, match=rf"train_All\.csv.*{message}.*agreement"):
        items(root)
