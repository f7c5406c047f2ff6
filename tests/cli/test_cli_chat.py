"""`emo-llama chat`, through pipes and at a terminal."""

import fcntl
import io
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from emo_llama import EmotionRecognizer
from emo_llama.cli import main
from emo_llama.dataset_builders.synthetic_clips import write_clip
from emo_llama.escaping import printable
from emo_llama.loading import EMBEDDED_MODEL
from emo_llama.prompts import conversation_question
from emo_llama.testing import tiny_model, tiny_processor

PORTRAIT = EMBEDDED_MODEL.parent / "portrait.jpg"
COMMAND = (sys.executable, "-m", "emo_llama", "chat")
EYES, MOUTH = "What do the eyes show?", "What does the mouth show?"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_model().save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def recognizer(model: Path) -> EmotionRecognizer:
    return EmotionRecognizer.from_pretrained(model, "none", "cpu")


@pytest.fixture
def chat(model: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Runs the verb on lines of input; gives the status and what it wrote."""

    def run(path: object, typed: str, *words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        options = ["--model", model, "--faces", "none", "--device", "cpu"]
        status = main(["chat", *map(str, [path, *options, *words])])
        return (status, *capsys.readouterr())

    return run


def talk(recognizer: EmotionRecognizer, source: object, *questions: str) -> list[str]:
    """The answers of a conversation, the description not among them."""
    turns: list[tuple[str, str]] = []
    for question in questions:
        turns.append((question, recognizer.ask(source, question, turns or None)))
    return [printable(answer) for _, answer in turns[1:]]


def test_each_line_is_answered_behind_those_before(chat, recognizer) -> None:
    status, out, err = chat(PORTRAIT, f"{EYES}\n\n{MOUTH}\n{EYES}")
    first, second, third = talk(recognizer, PORTRAIT, conversation_question(), EYES, MOUTH, EYES)
    assert (status, err) == (0, "")
    assert out.split("\n") == [first, "", second, third, ""]


def test_a_clip_is_talked_about(chat, recognizer, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    write_clip(clip, "happiness", 1, num_frames=2)
    status, out, _ = chat(clip, EYES)
    assert (status, out) == (
        0,
        talk(recognizer, clip, conversation_question("video"), EYES)[0] + "\n",
    )


def test_no_line_is_no_answer(chat) -> None:
    assert chat(PORTRAIT, "") == (0, "", "")


@pytest.mark.parametrize(
    "path, words, message",
    [
        ("nix.jpg", [], "no such file. Check the spelling"),
        ("text.jpg", [], "not an image that can be read"),
        ("text.mp4", [], "this video cannot be read"),
        (".", [], "Name one image or clip; predict takes whole folders"),
        ("https://example.org/a.jpg", [], "download it first"),
        (PORTRAIT, ["--face", "1"], "one of the 1 faces, from 0, got 1"),
        (PORTRAIT, ["--face", "-1"], "one of the 1 faces, from 0, got -1"),
    ],
)
def test_bad_input_says_what_to_do(chat, tmp_path: Path, monkeypatch, path, words, message) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("text.jpg", "text.mp4"):
        (tmp_path / name).write_text("this is text")
    status, out, err = chat(path, EYES, *words)
    assert (status, out) == (2, "") and message in err


@pytest.mark.parametrize(
    "typed, message",
    [("x" * 4001, "up to 4,000 characters, got 4,001"), ("\udcff", "Expected a question in UTF-8")],
)
def test_a_bad_question_ends_a_pipe(chat, typed: str, message: str) -> None:
    status, out, err = chat(PORTRAIT, f"{EYES}\n{typed}\n{EYES}\n")
    assert status == 2 and message in err and len(out.splitlines()) == 1


@pytest.mark.slow
def test_a_pipe_is_answered_line_by_line() -> None:
    """The embedded model in a process of its own: an answer comes before the next question."""
    with subprocess.Popen(
        [*COMMAND, PORTRAIT, "--device", "cpu"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        for question, answer in (
            (EYES, "The eyes are narrow.\n"),
            (MOUTH, "The mouth corners are raised and the mouth is open.\n"),
        ):
            process.stdin.write(f"{question}\n")
            assert process.stdout.readline() == answer
        assert process.communicate() == ("", "")
    assert process.returncode == 0


@pytest.mark.slow
def test_a_missing_file_is_wrong_usage_before_a_model_is_loaded() -> None:
    done = subprocess.run([*COMMAND, "nix.jpg"], capture_output=True, text=True, input=EYES)
    assert done.returncode == 2
    assert done.stderr == "emo-llama chat: nix.jpg: no such file. Check the spelling of the path.\n"


class Terminal:
    """A command at a terminal of its own, so that Ctrl-C and Ctrl-D reach it."""

    def __init__(self, *command: object) -> None:
        self.near, far = pty.openpty()
        self.process = subprocess.Popen(
            list(map(str, command)),
            stdin=far,
            stdout=far,
            stderr=far,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(far, termios.TIOCSCTTY, 0),
        )
        os.close(far)
        self.shown = ""

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()  # where a test failed and left it
        self.process.wait()
        os.close(self.near)

    def wait_for(self, text: str) -> str:
        """What was shown since the last time, up to a text."""
        end = time.monotonic() + 200
        while text not in self.shown:
            assert time.monotonic() < end, self.shown
            self.shown += os.read(self.near, 4096).decode()
        found, _, self.shown = self.shown.partition(text)
        return found

    def type(self, text: str) -> None:
        os.write(self.near, text.encode())


@pytest.mark.slow
def test_a_conversation_at_a_terminal() -> None:
    with Terminal(*COMMAND, PORTRAIT, "--device", "cpu") as terminal:
        assert "Ctrl-D ends" in terminal.wait_for("\n")
        assert "The person looks happy" in terminal.wait_for("> ")
        terminal.type(f"{EYES}\n")
        assert "The eyes are narrow." in terminal.wait_for("> ")
        terminal.type("x" * 4001 + "\n")
        assert "up to 4,000 characters" in terminal.wait_for("> ")
        terminal.type("\x04")
        assert terminal.process.wait(60) == 0


SLOWLY = """
import sys, time
from emo_llama.cli import main
from emo_llama.recognition.streaming import AnswerStream

put = AnswerStream.put

def slowly(self, value):
    time.sleep(0.3)
    put(self, value)

AnswerStream.put = slowly
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_ctrl_c_stops_an_answer_and_then_the_conversation(tmp_path: Path) -> None:
    (tmp_path / "slowly.py").write_text(SLOWLY)
    words = ("chat", PORTRAIT, "--device", "cpu")
    with Terminal(sys.executable, tmp_path / "slowly.py", *words) as terminal:
        terminal.wait_for("The person")
        terminal.type("\x03")
        assert "." not in terminal.wait_for("> ")  # the first sentence was not finished
        terminal.type("\x03")
        terminal.wait_for("interrupted")
        assert terminal.process.wait(60) == 128 + signal.SIGINT
