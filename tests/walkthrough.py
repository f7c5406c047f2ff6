"""Runs every command of README and docs, in order, in an empty folder, as a new user would.

    python tests/walkthrough.py [--only README.md] [FOLDER]

What a new user has is made here from the bundled portrait and drawn faces: a photo, a clip, a
folder of photos and one of pictures in two classes. Commands in blocks that a document marks
(`licensed`, `network`, `gpus`: what they need) are listed and not run; those marked `serves` run
until their address answers.
"""

import argparse
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.request import urlopen

import av
from PIL import Image, ImageEnhance

from emo_llama.dataset_builders.synthetic import save_face
from emo_llama.loading import EMBEDDED_MODEL

ROOT = Path(__file__).parents[1]
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
DOCUMENTS = ("README.md", *PAGES)
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SERVES = "serves"
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
PROGRAMS = ("emo-llama", "make", "python", "accelerate", "torchrun", "pip", "hf", "trl")
PORTRAIT = EMBEDDED_MODEL.parent / "portrait.jpg"


def commands(document: str) -> list[tuple[str, str]]:
    """Every command of a document with what it needs: nothing, or the mark of its block.

    A block of Python is one command.
    """
    found = []
    for kind, text in BLOCK.findall((ROOT / document).read_text(encoding="utf-8")):
        language, _, needs = kind.partition(" ")
        if language == "python":
            found.append((needs, text))
        elif language in ("", "sh"):
            lines = text.replace("\\\n", " ").splitlines()
            for line in (line for line in lines if line.split(" ")[0] in PROGRAMS):
                found.append((needs or ".ci/run does" * line.startswith("make "), line))
    return found


def furnish(folder: Path) -> None:
    """Writes what a new user has."""
    portrait = Image.open(PORTRAIT).convert("RGB")
    for name in ("photo.jpg", "photos/one.jpg", "photos/two.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        portrait.save(folder / name)
    for number in range(6):
        for label, drawn in (("happy", "happiness"), ("sad", "sadness")):
            path = folder / "my-pictures" / label / f"{number}.jpg"
            save_face(path, drawn, number + 40 * (label == "sad"), size=96)
    portrait.save(folder / "my-pictures" / "happy" / "portrait.jpg")
    with av.open(str(folder / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = *portrait.size, "yuv420p"
        for step in range(10):
            frame = ImageEnhance.Brightness(portrait).enhance(0.9 + step / 50)
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode())


def process(command: str) -> list[str]:
    """The words of a command, with the package and the programs of this interpreter."""
    words = [sys.executable, "-c", command]
    if "\n" not in command:
        program, *rest = shlex.split(command)
        cli = [sys.executable, "-m", "emo_llama.cli"]
        words = [*cli, *rest] if program == "emo-llama" else [program, *rest]
    # Programs of packages lie beside the interpreter, whose environment may be inactive.
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    words[0] = shutil.which(words[0], path=places) or words[0]
    return words


def run(command: str, folder: Path) -> subprocess.CompletedProcess:
    """Runs one command in a process of its own; there is nobody who types."""
    return subprocess.run(
        process(command),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )


def serve(command: str, folder: Path) -> subprocess.CompletedProcess:
    """Runs a command that serves until its address answers, then interrupts it."""
    told, settings = folder / "told.txt", {**os.environ, "PYTHONUNBUFFERED": "1"}
    with told.open("w") as output:
        server = subprocess.Popen(
            process(command), cwd=folder, stdout=output, stderr=output, env=settings
        )
    answered, end = False, time.monotonic() + 600
    while not answered and server.poll() is None and time.monotonic() < end:
        time.sleep(0.5)
        address = ADDRESS.search(told.read_text())
        answered = bool(address) and answers(address[0])
    server.send_signal(signal.SIGINT)
    status = server.wait(timeout=60)
    failed = 0 if answered and status in (0, 130) else status or 1
    return subprocess.CompletedProcess(command, failed, "", told.read_text())


def answers(address: str) -> bool:
    """Whether a page is served there."""
    try:
        with urlopen(address, timeout=30) as page:
            return page.status == 200
    except OSError:
        return False


def walk(document: str, folder: Path) -> int:
    """Runs the commands of one document; the number of those that failed."""
    furnish(folder)
    failed = 0
    print(f"{document}, in {folder}")
    for needs, command in commands(document):
        shown = command.strip().splitlines()[0]
        if needs and needs != SERVES:
            print(f"  not run ({needs}): {shown}")
            continue
        started = time.perf_counter()
        done = (serve if needs == SERVES else run)(command, folder)
        seconds = time.perf_counter() - started
        print(f"  {'ok' if done.returncode == 0 else 'FAILED':6} {seconds:5.1f} s  {shown}")
        if done.returncode or "Traceback" in done.stderr:
            failed += 1
            print(f"    exit status {done.returncode}\n{done.stdout[-1500:]}{done.stderr[-3000:]}")
    return failed


def main() -> int:
    """Walks through one document or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=DOCUMENTS)
    parser.add_argument("folder", nargs="?", type=Path)
    args = parser.parse_args()
    failed = 0
    sys.stdout.reconfigure(line_buffering=True)
    with tempfile.TemporaryDirectory() as scratch:
        for document in (args.only,) if args.only else DOCUMENTS:
            folder = (args.folder or Path(scratch)) / document.replace("/", "-")
            folder.mkdir(parents=True)
            failed += walk(document, folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
