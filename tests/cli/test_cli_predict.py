"""`emo-llama predict` as a user calls it, with a tiny model of random weights."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import media_corpus
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from test_writing import largest_file

from emo_llama.cli import main
from emo_llama.cli._destinations import overlay_paths
from emo_llama.csv_rows import read_csv_records
from emo_llama.escaping import unescape
from emo_llama.recognition.recognizer import EmotionRecognizer
from emo_llama.record_formats import read_records
from emo_llama.testing import tiny_model, tiny_processor


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_model().save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures of one name and a file that is none."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for name in ("a/face.png", "b/face.png"):
        (folder / name).parent.mkdir()
        pixels = random.integers(0, 255, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "text.jpg").write_text("this is text")
    return folder


def run(model: Path, *words: object) -> int:
    options = ["--model", model, "--faces", "none", "--device", "cpu"]
    return main(["predict", *map(str, [*options, *words])])


def test_text_is_for_people(model: Path, photos: Path, capsys) -> None:
    assert run(model, photos / "a" / "face.png") == 0
    path, label, probabilities, sentence = capsys.readouterr().out.splitlines()
    assert path.endswith("face.png")
    assert "box 0 0 80 60" in label
    assert probabilities.count("%") == 8
    assert sentence.strip().startswith("The person looks")


def test_a_folder_with_a_bad_file(model: Path, photos: Path, capsys) -> None:
    assert run(model, photos, "--format", "jsonl", "--no-text") == 1
    captured = capsys.readouterr()
    records = [json.loads(line) for line in captured.out.splitlines()]
    assert [Path(record["path"]).name for record in records] == ["face.png"] * 2 + ["text.jpg"]
    assert [record["error"] is None for record in records] == [True, True, False]
    assert "text.jpg: not an image" in captured.err
    assert "1 of 3 inputs" in captured.err
    assert captured.err.count("text.jpg") == 1


def test_json_and_csv_on_stdout_hold_the_same(model: Path, photos: Path, capsys) -> None:
    run(model, photos, "--format", "json", "--no-text")
    records = json.loads(capsys.readouterr().out)
    run(model, photos, "--format", "csv", "--no-text")
    rows = io.StringIO(capsys.readouterr().out)
    assert list(read_csv_records(rows)) == records


def test_parquet_with_resume(model: Path, photos: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out.parquet"
    assert run(model, photos, "--out", out, "--no-text") == 1
    assert len(pq.read_table(out)) == 3
    capsys.readouterr()
    assert run(model, photos, "--out", out, "--no-text", "--resume") == 1
    assert "2 of 3 inputs were done before" in capsys.readouterr().err
    assert len(pq.read_table(out)) == 3


def test_overlays_do_not_overwrite_each_other(model: Path, photos: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "drawn"
    run(model, photos, "--overlay", drawn, "--no-text", "--out", tmp_path / "out.txt")
    names = sorted(path.name for path in drawn.iterdir())
    assert names == ["face-2.overlay.jpg", "face.overlay.jpg"]
    assert Image.open(drawn / names[0]).size == (480, 360)
    assert "picture:" in (tmp_path / "out.txt").read_text()


def test_a_question_is_asked(model: Path, photos: Path, capsys) -> None:
    run(model, photos / "a" / "face.png", "--question", "Why?", "--format", "json")
    (record,) = json.loads(capsys.readouterr().out)
    assert not record["faces"][0]["text"].startswith("The person looks")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "parquet"], "--out"),
        (["--resume"], "--out"),
        (["--workers", "0"], "--workers"),
        (["--workers", "100000"], "--workers"),
        (["--abstain-below", "2"], "--abstain-below"),
        (["--out", "x.xlsx"], ".parquet"),
        (["--out", "x.tsv", "--format", "csv"], "ends in .txt, .json, .jsonl, .csv, .parquet"),
        (["--out", "x.parquet", "--format", "json"], "name a file that ends in .json."),
        (["--out", "x.jpg"], ".jpg is none of them"),
        (["--out", "x.MP4", "--format", "text"], ".mp4 is none of them"),
        (["--out", "missing/x.csv"], "missing is no folder"),
        (["--out", "/proc/x.csv"], "/proc/x.csv"),
        (["--out", "/dev/null", "--format", "csv"], "a device"),
        (["--out", "."], "a folder"),
        (["--overlay", __file__], "--overlay"),
        (["--overlay", "/proc/x"], "--overlay"),
        (["--question", "\udcff"], "--question"),
        (["https://example.com/a.jpg"], "https://example.com/a.jpg: an address"),
    ],
)
def test_wrong_usage_exits_with_2(photos: Path, capsys, words: list[str], message: str) -> None:
    """And at once: no model is loaded, or another message would come."""
    assert run(Path("no-model-here/"), photos, *words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["predict", ""],
        ["predict", "x", "--overlay", ""],
        ["export", ""],
        ["init", "--llm", "", "--vision", "x", "--out", "y"],
    ],
)
def test_an_empty_name_is_not_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    assert "got an empty one" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_help_without_a_verb(capsys) -> None:
    assert main([]) == 0
    assert "predict" in capsys.readouterr().out
    command = [sys.executable, "-m", "emo_llama"]
    assert b"predict" in subprocess.run(command, capture_output=True, check=True).stdout


def test_a_full_stdout_is_a_message() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "emo_llama"], stdout=full, stderr=-1)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr and b"No space left" in done.stderr


@pytest.mark.parametrize("format", ["text", "json", "jsonl", "csv"])
def test_a_terminal_of_another_encoding(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    picture = tmp_path / "\u00e4\u4e2d.png"
    picture.write_bytes((photos / "a" / "face.png").read_bytes())
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    assert run(model, picture, "--no-text", "--format", format) == 0
    text = stream.buffer.getvalue().decode("ascii")
    if "json" in format:
        found = json.loads(text)
        assert (found if format == "jsonl" else found[0])["path"] == str(picture)
    else:
        assert "\\xe4\\u4e2d.png" in text


def test_unknown_options_and_models(photos: Path, tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["predict", str(photos), "--colour", "red"])
    assert stopped.value.code == 2
    assert main(["predict", str(photos), "--model", str(tmp_path)]) == 2
    assert "config.json" in capsys.readouterr().err


def test_a_missing_file_is_named_and_the_rest_is_done(model: Path, photos: Path, capsys) -> None:
    assert run(model, photos / "nix.jpg", photos / "a", "--no-text") == 1
    captured = capsys.readouterr()
    assert "nix.jpg: no such file" in captured.err
    assert "face.png" in captured.out


def test_it_is_said_before_the_model_is_loaded(tmp_path: Path, capsys) -> None:
    assert run(tmp_path, tmp_path / "nix.jpg") == 2
    assert capsys.readouterr().err.startswith(f"{tmp_path}/nix.jpg: no such file")


def test_an_input_is_never_written_over(model: Path, tmp_path: Path, capsys) -> None:
    table = tmp_path / "table.csv"
    table.write_text("a,b")
    (tmp_path / "link.csv").symlink_to(table)
    assert run(model, table, "--out", tmp_path / "link.csv") == 2
    assert "this is an input" in capsys.readouterr().err
    assert table.read_text() == "a,b"


def test_overlays_are_neither_inputs_nor_written_over_one(
    model: Path, photos: Path, tmp_path: Path, capsys
) -> None:
    picture = photos / "a" / "face.png"
    (tmp_path / "face.png").write_bytes(picture.read_bytes())
    (tmp_path / "face.overlay.jpg").write_bytes(picture.read_bytes())
    options = ("--overlay", tmp_path, "--no-text", "--format", "jsonl")
    assert run(model, tmp_path, *options) == 0
    captured = capsys.readouterr()
    assert [json.loads(line)["path"] for line in captured.out.splitlines()] == [
        str(tmp_path / "face.png")
    ]
    assert "1 annotated pictures (*.overlay.jpg) are left out" in captured.err
    named = (tmp_path / "face.png", tmp_path / "face.overlay.jpg")
    (tmp_path / "face.overlay.jpg").write_bytes(picture.read_bytes())
    assert run(model, *named, *options) == 0
    assert named[1].read_bytes() == picture.read_bytes()
    assert (tmp_path / "face-2.overlay.jpg").is_file()


def test_names_of_overlays_take_no_time_and_stay_short(tmp_path: Path) -> None:
    inputs = [Path(f"{number}/a.png") for number in range(16_000)]
    inputs += [Path("x/A.png"), Path("a-2.png"), Path("\u00e4" * 125 + ".png"), Path("a-2.gif")]
    names = overlay_paths(tmp_path, inputs)
    assert len({str(path).casefold() for path in names.values()}) == len(inputs)
    assert names[inputs[1]].name == "a-2.overlay.jpg"
    assert max(len(os.fsencode(path.name)) for path in names.values()) <= 255


@pytest.mark.parametrize("format", ["json", "csv", "parquet", "text"])
def test_whatever_an_input_is_called(
    model: Path, photos: Path, tmp_path: Path, capsys, format: str
) -> None:
    picture = (photos / "a" / "face.png").read_bytes()
    names = [os.fsdecode(b"\xff\xfe.png"), "a\nb\x1b[31m.png", "=1+1.png", "\u00e4" * 125 + ".png"]
    folder = tmp_path / "in"
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(picture)
    out = tmp_path / f"out.{'txt' if format == 'text' else format}"
    words = (folder, "a" * 300, "--no-text", "--out", out, "--overlay", tmp_path / "drawn")
    assert run(model, *words) == 1
    captured = capsys.readouterr()
    assert "\x1b" not in captured.err and "a" * 300 + ": " in captured.err
    assert len(list((tmp_path / "drawn").iterdir())) == 4
    if format == "text":
        assert out.read_text().count("box 0 0 80 60") == 4
        return
    paths = [unescape(record["path"]) for record in read_records(out, format)]
    assert sorted(paths) == sorted([*(str(folder / name) for name in names), "a" * 300])
    assert run(model, *words, "--resume") == 1
    assert "4 of 5 inputs were done before" in capsys.readouterr().err


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("graph"), SyntaxError("EXIF")])
def test_whatever_an_input_raises(
    model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys, error: Exception
) -> None:
    usual = EmotionRecognizer.find_faces

    def find_faces(self: EmotionRecognizer, image: Image.Image) -> list:
        if not calls:
            calls.append(image)
            raise error
        return usual(self, image)

    calls: list[Image.Image] = []
    monkeypatch.setattr(EmotionRecognizer, "find_faces", find_faces)
    assert run(model, photos / "a", photos / "b", "--no-text", "--format", "jsonl") == 1
    captured = capsys.readouterr()
    first, second = map(json.loads, captured.out.splitlines())
    assert first["error"]["type"] == type(error).__name__
    assert first["error"]["message"].startswith(first["path"])
    assert first["error"]["message"].endswith((" leave it out.", " use fewer workers."))
    assert second["error"] is None and second["faces"]


def test_ctrl_c_is_no_record(
    model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def find_faces(self: EmotionRecognizer, image: Image.Image) -> list:
        raise KeyboardInterrupt

    monkeypatch.setattr(EmotionRecognizer, "find_faces", find_faces)
    assert run(model, photos, "--out", tmp_path / "out.csv") == 130
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == [
        "out.csv.partial"
    ]


def test_a_full_disk_has_no_half_picture(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    with largest_file(4000):
        words = ("--overlay", tmp_path / "drawn", "--out", tmp_path / "out.jsonl", "--no-text")
        assert run(model, photos, *words) == 1
    assert "could not be written" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "drawn").iterdir() if path.suffix != ".lock"] == []
    assert run(model, photos, *words, "--resume") == 1
    assert len(list((tmp_path / "drawn").glob("*.jpg"))) == 2


def test_another_model_is_not_resumed(model: Path, photos: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out.parquet"
    run(model, photos / "a", "--out", out, "--no-text")
    assert run(model, photos, "--out", out, "--no-text", "--resume", "--abstain-below", "0.5") == 2
    assert "abstain_below: 0.0 there, 0.5 now" in capsys.readouterr().err


def start(model: Path, *words: object) -> subprocess.Popen:
    options = ["--model", model, "--faces", "none", "--device", "cpu", "--no-text"]
    command = [sys.executable, "-m", "emo_llama", "predict", *map(str, [*options, *words])]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def many(photos: Path, folder: Path, count: int) -> Path:
    """A folder that keeps a run busy for a while."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.png").hardlink_to(photos / "a" / "face.png")
    return folder


def wait_for(condition: Callable[[], object], seconds: float = 180.0) -> object:
    """What a condition gives as soon as it is true; a busy machine starts workers slowly."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


@pytest.mark.slow
def test_a_folder_of_odd_and_hostile_files(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    """One record a file that a search finds, whatever it is; an expected error is an error."""
    rooms = {name: media_corpus.ROOMS[name] for name in ("names", "lies", "metadata", "sound")}
    monkeypatch.setattr(media_corpus, "ROOMS", rooms)
    outcomes = media_corpus.write_corpus(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    assert run(model, "in", "--no-text", "--out", "out.csv", "--overlay", "drawn") == 1
    assert "Traceback" not in capfd.readouterr().err
    found = {unescape(r["path"]): r["error"] for r in read_records(Path("out.csv"), "csv")}
    expected = {f"in/{name}": outcome for name, outcome in outcomes.items()}
    expected = {path: o for path, o in expected.items() if not path.endswith(".overlay.jpg")}
    assert found.keys() == expected.keys()
    for path, outcome in expected.items():
        assert outcome == "either" or (outcome == "read") == (found[path] is None), path


@pytest.mark.slow
def test_a_second_run_on_one_file_is_refused(model: Path, photos: Path, tmp_path: Path) -> None:
    folder, out = many(photos, tmp_path / "in", 5000), tmp_path / "out.jsonl"
    partial = tmp_path / "out.jsonl.partial"
    with start(model, folder, "--out", out) as first:
        wait_for(partial.is_file)
        assert run(model, folder, "--out", out) == 2
        first.kill()
    done = len(partial.read_text().splitlines()) - 1
    assert 0 <= done < 5000
    small = many(photos, tmp_path / "small", 3)
    assert run(model, small, "--out", out, "--no-text") == 0  # a killed run leaves no lock
    assert len(out.read_text().splitlines()) == 3


def children(pid: int) -> list[int]:
    """Worker processes of a run: those of multiprocessing that load models."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and f"PPid:\t{pid}\n" in (folder / "status").read_text():
                if b"spawn_main" in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
        except OSError:
            continue
    return found


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_run(
    model: Path, photos: Path, tmp_path: Path, signal_number: int
) -> None:
    folder, out = many(photos, tmp_path / "in", 5000), tmp_path / "out.jsonl"
    partial = tmp_path / "out.jsonl.partial"
    with start(model, folder, "--out", out, "--workers", 2) as parent:
        wait_for(lambda: partial.is_file() and len(partial.read_text().splitlines()) > 1)
        workers = children(parent.pid)
        assert len(workers) == 2
        parent.send_signal(signal_number)
        parent.communicate()
    wait_for(lambda: not any(map(alive, workers)), 10)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_killed_worker_is_named_and_the_records_are_kept(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    folder, out = many(photos, tmp_path / "in", 5000), tmp_path / "out.jsonl"
    partial = tmp_path / "out.jsonl.partial"
    with start(model, folder, "--out", out, "--workers", 2) as parent:
        wait_for(lambda: partial.is_file() and len(partial.read_text().splitlines()) > 1)
        os.kill(children(parent.pid)[0], signal.SIGKILL)
        _, messages = parent.communicate()
    assert parent.returncode == 1
    assert "Traceback" not in messages and "--resume" in messages
    assert len(partial.read_text().splitlines()) > 1


@pytest.mark.slow
def test_workers_give_the_same_records(model: Path, photos: Path, tmp_path: Path) -> None:
    run(model, photos, "--out", tmp_path / "one.jsonl", "--no-text")
    command = [sys.executable, "-m", "emo_llama.cli", "predict", photos, "--model", model]
    options = ["--faces", "none", "--device", "cpu", "--no-text", "--workers", "2"]
    out = tmp_path / "two.jsonl"
    done = subprocess.run([*map(str, command), *options, "--out", str(out)], capture_output=True)
    assert done.returncode == 1, done.stderr
    one, two = (
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        for name in ("one.jsonl", "two.jsonl")
    )
    assert [r["path"] for r in one] == [r["path"] for r in two]
    for a, b in zip(one, two, strict=True):
        for x, y in zip(a["faces"], b["faces"], strict=True):
            assert x["probabilities"] == pytest.approx(y["probabilities"], abs=1e-5)
