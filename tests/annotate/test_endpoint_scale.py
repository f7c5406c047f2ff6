"""A thousand items, an endpoint that misbehaves, and a process that is killed in the middle."""

import json
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from endpoint_server import KEY, EndpointServer, drawn_records

from emo_llama.annotate.answers import AnswerFile
from emo_llama.annotate.asking import Pace
from emo_llama.annotate.endpoint import EndpointAnnotator, EndpointOptions

logger = logging.getLogger(__name__)

ITEMS, KILLED_AFTER, WORKERS = 1000, 300, 8

# What happens to an item before it is answered, by its row modulo 25; the others are answered at
# once. A list that ends in "..." never gets better.
TROUBLE = {
    1: ["429"],
    2: ["500", "503"],
    3: ["torn"],
    4: ["torn body"],
    5: ["hang up"],
    6: ["page", "429"],
    7: ["wrong"],
    8: ["no choices"],
    9: ["empty", "500", "torn"],
    10: ["refusal", "..."],
    11: ["declines", "..."],
    12: ["wrong", "..."],
    13: ["422", "..."],
    14: ["500", "..."],
}
ENDS = {10: "refused", 11: "refused", 12: "malformed", 13: "refused", 14: "failed"}

RUN = """
import sys
from endpoint_server import drawn_records
from emo_llama.annotate.asking import Pace
from emo_llama.annotate.endpoint import EndpointAnnotator, EndpointOptions

url, answers, items, workers = sys.argv[1:]
pace = Pace(retries=4, first_wait=0.01, longest_wait=0.05)
options = EndpointOptions("openai", "m", url, workers=int(workers), timeout=60.0, pace=pace)
EndpointAnnotator(options, answers).prepare(drawn_records(int(items)))
"""


def script(row: int, attempt: int) -> str:
    plan = TROUBLE.get(row % 25, [])
    if plan[-1:] == ["..."]:
        return plan[0]
    return plan[attempt] if attempt < len(plan) else "good"


def status(row: int) -> str:
    return ENDS.get(row % 25, "written")


def kill_in_the_middle(url: str, answers: Path) -> int:
    """Run in a process of its own, and kill it when some answers are there; gives their number."""
    environment = os.environ | {
        "OPENAI_API_KEY": KEY, "PYTHONPATH": str(Path(__file__).parent)
    }  # fmt: skip
    arguments = [url, str(answers), str(ITEMS), str(WORKERS)]
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, *arguments], env=environment, stderr=subprocess.DEVNULL
    )
    while process.poll() is None:
        if answers.is_file() and answers.read_bytes().count(b"\n") >= KILLED_AFTER:
            process.kill()  # SIGKILL
            process.wait()
        time.sleep(0.02)
    assert process.returncode == -9
    return answers.read_bytes().count(b"\n")


@pytest.mark.slow  # a few thousand requests
@pytest.mark.timeout(900)
def test_a_thousand_items_and_a_kill(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    path = tmp_path / "answers.jsonl"
    records = list(drawn_records(ITEMS))
    with EndpointServer(records, script) as server:
        url = f"{server.url}/v1"
        before = kill_in_the_middle(url, path)
        assert KILLED_AFTER <= before < ITEMS
        kept = {json.loads(line)["item"] for line in path.read_bytes().splitlines()[:before]}
        first_run = len(server.log)
        pace = Pace(retries=4, first_wait=0.01, longest_wait=0.05)
        options = EndpointOptions("openai", "m", url, workers=WORKERS, timeout=60.0, pace=pace)
        annotator = EndpointAnnotator(options, path)
        report = annotator.ask_all(iter(records))
        again = annotator.ask_all(iter(records))

    # Nothing whose answer had come was asked about again, in the second run or the third.
    asked = {f"drawn-{row:05d}" for row, _ in server.log[first_run:]}
    assert not asked & kept
    answered = Counter(
        row for row, done in server.log if done in ("good", "refusal", "declines", "422")
    )
    twice = [row for row, count in answered.items() if count > 1]
    assert len(twice) <= WORKERS  # under way when the process was killed
    assert not {f"drawn-{row:05d}" for row in twice} & kept

    # The report adds up, and says of every item what happened to it.
    assert report.items == ITEMS
    assert report.cached == before
    ends = Counter(map(status, range(ITEMS)))
    parts = {name: getattr(report, name) for name in ("written", "refused", "malformed", "failed")}
    assert report.cached + sum(parts.values()) == ITEMS
    assert report.failed == ends["failed"] == again.failed
    assert again.cached == ITEMS - again.failed
    file = AnswerFile(path)
    assert Counter(answer.status for answer in file.unusable()) == {
        name: ends[name] for name in ("refused", "malformed")
    }
    talks = [annotator(record) for record in records]
    for row, talk in enumerate(talks):
        assert (talk is not None) is (status(row) == "written")
    assert annotator.counts == ends - Counter(failed=ends["failed"]) + Counter(
        unanswered=ends["failed"]
    )
    logger.info("%s; %d requests; killed at %d", report, len(server.log), before)
    assert KEY not in path.read_text()
