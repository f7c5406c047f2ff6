"""Many visitors of the Space at once: failures, answers that went astray, latency and memory.

    python benchmarks/space_visitors.py                                (50 visitors for two minutes)
    python benchmarks/space_visitors.py --visitors 4 --seconds 10
    python benchmarks/space_visitors.py --pause 10                (each looks at an answer for 10 s)

The real server runs in a process of its own, visitors are clients of gradio over loopback, and
both share the cores that `--cores` names. Each visitor sends one picture again and again: the
portrait in another size and place than anybody else's, so that the box that comes back tells whose
picture it was. It must be the one that the package finds by itself. Exit status 1 where an answer
failed or went astray.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from gradio_client import Client, handle_file
from PIL import Image

import emo_llama
from emo_llama import EmotionRecognizer

APP = Path(__file__).parents[1] / "space" / "app.py"
PORTRAIT = Path(emo_llama.__file__).parent / "assets" / "portrait.jpg"
START_SECONDS = 300


def picture(number: int) -> Image.Image:
    """The portrait on a canvas, in a size and place of its own."""
    side = 200 + 4 * number
    canvas = Image.new("RGB", (360 + 7 * number, 420), "grey")
    portrait = Image.open(PORTRAIT).convert("RGB")
    portrait.thumbnail((side, side))
    canvas.paste(portrait, (2 * number, number))
    return canvas


def known_answers(folder: Path, visitors: int) -> list[list[dict[str, Any]]]:
    """Write everybody's picture, and find its faces without the Space."""
    recognizer = EmotionRecognizer.from_pretrained()
    answers = []
    for number in range(visitors):
        picture(number).save(folder / f"{number}.png")
        found = recognizer.recognize(folder / f"{number}.png", describe=False)
        answers.append(found.to_dict()["faces"])
    boxes = [tuple(round(v) for v in faces[0]["box"]) for faces in answers]
    if len(set(boxes)) < visitors:
        raise SystemExit("Two pictures have the same box: choose fewer visitors.")
    return answers


def is_same(found: list[dict[str, Any]], known: list[dict[str, Any]]) -> bool:
    """Whether an answer tells of the faces of one picture and of no other."""
    return len(found) == len(known) and all(
        np.allclose(face["box"], other["box"], atol=0.5)
        and face["label"] == other["label"]
        and np.isclose(face["confidence"], other["confidence"], atol=0.01)
        for face, other in zip(found, known, strict=True)
    )


def start_server(log: Path) -> tuple[subprocess.Popen, str]:
    """Start the Space and wait until it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {"GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False"}
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, str(APP)], env=os.environ | settings, stdout=out, stderr=out
        )
    address = f"http://127.0.0.1:{port}"
    for _ in range(START_SECONDS):
        try:
            httpx.get(f"{address}/config", timeout=10).raise_for_status()
            return server, address
        except httpx.HTTPError:
            time.sleep(1)
        if server.poll() is not None:
            break
    server.kill()
    raise SystemExit(f"The Space did not start:\n{log.read_text(errors='replace')}")


def resident_mb(pid: int) -> float:
    """Memory of a process, MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1e3
    return 0.0


class Visits:
    """What all visitors met.

    Args:
        address (`str`): Of the server.
        end (`float`): When nobody asks any more.
        pause (`float`): Seconds between two questions of one visitor.
    """

    def __init__(self, address: str, end: float, pause: float) -> None:
        self.address, self.end, self.pause = address, end, pause
        self.seconds: list[float] = []
        self.failures: list[str] = []
        self.astray: list[str] = []

    def visit(self, path: Path, known: list[dict[str, Any]]) -> None:
        """Send one picture until the time is over."""
        client = Client(self.address, verbose=False, download_files=False)
        while time.monotonic() < self.end:
            start = time.monotonic()
            try:
                record = client.predict(handle_file(path), api_name="/photo")
            except Exception as error:  # whatever it is, it is counted
                self.failures.append(f"{path.name}: {type(error).__name__}: {error}")
            else:
                self.seconds.append(time.monotonic() - start)
                if not is_same(record["faces"], known):
                    self.astray.append(f"{path.name}: {json.dumps(record['faces'])[:200]}")
            time.sleep(self.pause)


def watch(server: subprocess.Popen, stop: threading.Event, sizes: list[float]) -> None:
    """Note the server's memory once a second."""
    while not stop.wait(1.0):
        sizes.append(resident_mb(server.pid))


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Let the visitors in, and sum up what they met."""
    known = known_answers(folder, args.visitors)
    server, address = start_server(folder / "server.log")
    stop, sizes = threading.Event(), [resident_mb(server.pid)]
    threading.Thread(target=watch, args=(server, stop, sizes), daemon=True).start()
    visits = Visits(address, time.monotonic() + args.seconds, args.pause)
    start = time.monotonic()
    try:
        with ThreadPoolExecutor(args.visitors) as pool:
            paths = [folder / f"{number}.png" for number in range(args.visitors)]
            list(pool.map(visits.visit, paths, known))
        took = time.monotonic() - start
    finally:
        stop.set()
        server.terminate()
        server.wait(60)
    # Against those of the first quarter, in which all that is loaded late is loaded.
    late = sizes[len(sizes) // 4 :]
    shares = (50, 90, 95, 99, 100)
    marks = np.percentile(visits.seconds, shares).round(2).tolist() if visits.seconds else []
    return {
        "visitors": args.visitors,
        "seconds": round(took, 1),
        "cores": len(os.sched_getaffinity(0)),
        "answers": len(visits.seconds),
        "answers_a_second": round(len(visits.seconds) / took, 2),
        "failures": len(visits.failures),
        "astray": len(visits.astray),
        "latency_seconds": {f"p{share}": mark for share, mark in zip(shares, marks, strict=False)},
        "memory_mb": {"start": sizes[0], "late": late[0], "end": sizes[-1], "peak": max(sizes)},
        "examples_of_failures": (visits.failures + visits.astray)[:5],
    }


def main() -> int:
    """Run it and write what was found to stdout as JSON.

    Returns:
        `int`: 0, or 1 where an answer failed or went astray.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--pause", type=float, default=0, help="seconds between two questions")
    parser.add_argument("--cores", type=int, default=2, help="of this machine, for both sides")
    args = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args, Path(folder))
    print(json.dumps(found, indent=2))
    return int(bool(found["failures"] or found["astray"]))


if __name__ == "__main__":
    sys.exit(main())
