import json
import re

import pytest

from emo_llama.cli import main


def test_list_names_what_each_data_set_needs(capsys):
    assert main(["data", "list"]) == 0
    text = capsys.readouterr().out
    assert "ferplus:" in text
    assert "fer2013.csv" in text
    assert "fer2013new.csv" in text


def test_list_tells_of_every_set_its_kind_classes_licence_and_source(capsys):
    assert main(["data", "list"]) == 0
    parts = re.split(r"^(?=\S)", capsys.readouterr().out, flags=re.MULTILINE)[1:]
    names = ["ferplus", "rafdb", "affectnet", "dfew", "ferv39k", "mafw", "folder"]
    assert [part.split(":")[0] for part in parts] == names
    for part in parts:
        fields = [line.split()[0] for line in part.splitlines()[1:]]
        assert fields == ["kind", "classes", "needs", "get", "licence"]


@pytest.mark.parametrize(("name", "labels"), [("rafdb", 7), ("ferv39k", 7)])
def test_a_synthetic_layout_is_built_in_one_more_command(name, labels, tmp_path, capsys):
    root, out = str(tmp_path / "drawn"), str(tmp_path / "built")
    assert main(["data", "synthetic", name, "--out", root, "--per-class", "1"]) == 0
    build = ["data", "build", name, "--root", root, "--out", out, "--landmarks", "none"]
    assert main([*build, "--num-frames", "2"]) == 0
    assert f"category train: {labels} read, {labels} written" in capsys.readouterr().out
    assert main(["data", "synthetic", name, "--out", root]) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_picture_that_cannot_be_read_is_named_and_the_rest_is_built(tmp_path, capsys):
    root, out = tmp_path / "drawn", tmp_path / "built"
    assert main(["data", "synthetic", "folder", "--out", str(root)]) == 0
    broken = sorted(root.rglob("*.jpg"))[0]
    broken.write_bytes(broken.read_bytes()[:200])
    build = ["data", "build", "folder", "--root", str(root), "--out", str(out)]
    assert main([*build, "--landmarks", "none"]) == 1
    captured = capsys.readouterr()
    assert broken.name in captured.err
    assert "1 unreadable files" in captured.out
    assert (out / "README.md").is_file()


def test_a_label_that_gets_another_name_is_told(tmp_path, capsys):
    root, out = tmp_path / "drawn", tmp_path / "built"
    assert main(["data", "synthetic", "folder", "--out", str(root), "--per-class", "1"]) == 0
    build = ["data", "build", "folder", "--root", str(root), "--out", str(out)]
    assert main([*build, "--landmarks", "none", "--faces", "none"]) == 0
    assert "the label 'sad' is built as 'sadness'" in capsys.readouterr().err
    renamed = json.loads((out / "report.json").read_text())["renamed"]
    assert renamed == {"angry": "anger", "happy": "happiness", "sad": "sadness"}


def test_a_dry_run_tells_the_price_and_asks_nobody(write_ferplus, tmp_path, capsys):
    root, out = str(write_ferplus()), tmp_path / "built"
    build = ["data", "build", "ferplus", "--root", root, "--out", str(out)]
    assert main([*build, "--annotator", "openai", "--model", "gpt-4o", "--dry-run"]) == 0
    assert "items: 21," in capsys.readouterr().out
    assert not out.exists()
    assert main([*build, "--annotator", "openai", "--dry-run"]) == 2
    assert "--model NAME" in capsys.readouterr().err


def test_build_prints_what_was_written(write_ferplus, tmp_path, capsys):
    out = tmp_path / "built"
    arguments = ["--root", str(write_ferplus()), "--out", str(out), "--landmarks", "none"]
    assert main(["data", "build", "ferplus", *arguments]) == 0
    assert (
        "category train: 24 read, 2 without a label, 1 repeats dropped, 21 written"
    ) in capsys.readouterr().out
    assert (out / "README.md").is_file()


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["ferplus", "--landmarks", "none"], 1, "found no fer2013.csv"),
        (["ferplus", "--landmarks", "none.npz"], 1, "none.npz: expected a .npz file"),
        (["imagenet", "--landmarks", "none"], 2, "known are ferplus"),
    ],
)
def test_failures_say_why_and_write_nothing(tmp_path, capsys, options, status, message):
    out = tmp_path / "built"
    root = tmp_path / "root"
    root.mkdir()
    arguments = ["data", "build", *options, "--root", str(root), "--out", str(out)]
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert not out.exists()


def test_usage_errors_exit_with_2(capsys):
    for arguments in (["data"], ["data", "build", "ferplus"], ["data", "build", "--rule", "x"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
