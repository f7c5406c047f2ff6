import pytest

from emo_llama.cli import main


def test_list_names_what_each_data_set_needs(capsys):
    assert main(["data", "list"]) == 0
    text = capsys.readouterr().out
    assert "ferplus:" in text
    assert "fer2013.csv" in text
    assert "fer2013new.csv" in text


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
