"""One recognizer in several threads and processes gives what it gives in one."""

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emo_llama import EmotionRecognizer, faces
from emo_llama.errors import MediaError
from emo_llama.loading import EMBEDDED_MODEL
from emo_llama.testing import tiny_model, tiny_processor

PORTRAIT = EMBEDDED_MODEL.parent / "portrait.jpg"


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    return Image.open(PORTRAIT).convert("RGB")


def looks(portrait: Image.Image) -> list[Image.Image]:
    """Twenty-five pictures of one face, no two alike."""
    return [portrait.crop((n, 0, 400 + n, 400)).resize((300 + n, 300)) for n in range(25)]


@pytest.mark.slow
def test_eight_threads_give_what_one_gives(portrait) -> None:
    recognizer = EmotionRecognizer.from_pretrained(detector="mediapipe", device="cpu")
    pictures = looks(portrait)
    serial = [recognizer.recognize(p, describe=False).to_dict() for p in pictures]
    assert {len(result["faces"]) for result in serial} == {1}
    with ThreadPoolExecutor(8) as pool:
        jobs = [
            pool.submit(recognizer.recognize, picture, describe=False)
            for _ in range(8)
            for picture in pictures
        ]
    assert [job.result().to_dict() for job in jobs] == serial * 8


def test_threads_share_the_tokenizer() -> None:
    """Fast tokenizers raise "Already borrowed" when two threads set their padding."""
    recognizer = EmotionRecognizer(tiny_model(), tiny_processor(), max_new_tokens=1)
    pictures = [np.full((20, 20, 3), 10 * n, dtype=np.uint8) for n in range(4)]
    serial = [recognizer(picture).to_dict() for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        assert [result.to_dict() for result in pool.map(recognizer, pictures)] == serial


def test_a_graph_that_failed_is_built_anew(portrait) -> None:
    detector = faces.MediapipeDetector()
    before = detector.detect(portrait)
    graph = detector.models["mediapipe-near"]
    with pytest.raises(MediaError, match="face detector failed on 3 x 2 pixels"):
        graph.process(np.zeros((2, 3, 7), dtype=np.uint8))
    assert detector.detect(portrait) == before


def test_a_detector_is_pickled(portrait) -> None:
    detector = faces.MediapipeDetector(min_score=0.6)
    copied = pickle.loads(pickle.dumps(detector))
    assert copied.detect(portrait) == detector.detect(portrait)


WORKER = """
import multiprocessing, pathlib, sys
from emo_llama import EmotionRecognizer

recognizer = None

def take(sent):
    global recognizer
    recognizer = sent

def look(path):
    return recognizer.recognize(path, describe=False).to_dict()

if __name__ == "__main__":
    mine = EmotionRecognizer.from_pretrained(detector="mediapipe", device="cpu")
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1, take, (mine,)) as pool:
        there = pool.map(look, sys.argv[1:])
    assert there == [mine.recognize(p, describe=False).to_dict() for p in sys.argv[1:]]
"""


@pytest.mark.slow
def test_a_recognizer_goes_to_a_spawned_worker(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    command = [sys.executable, tmp_path / "worker.py", PORTRAIT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
