"""Kills a command again and again at random moments, and compares what comes out with a quiet run.

    python benchmarks/chaos.py --work DIR -- predict photos/ --no-text --out {out}/out.jsonl
    python benchmarks/chaos.py --work DIR -- data build folder --root pictures/ --out {out}/built
    python benchmarks/chaos.py --work DIR --again "" -- export {out}/model
    python benchmarks/chaos.py --work DIR --again "" -- eval --data built/ --page {out}/page.html
    python benchmarks/chaos.py --work DIR --whole "model/*" --ignore "runs/*" -- train \
        --data built/ --max_steps 20 --save_steps 5 --output_dir {out}

The command runs once undisturbed, then `--kills` times with a SIGKILL at a random moment of that
time; each later run has `--resume` as well (`--again`). One that ends first is compared and begun
anew. After every kill what has its final name must be whole, and no process of the run may live on.
Prints one JSON object; the exit status is 1 where anything differed.
"""

import argparse
import hashlib
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from pathlib import Path

PLACE = "{out}"
ORPHAN_SECONDS = 10.0


@dataclass
class Report:
    """What happened.

    Attributes:
        seconds (`float`): Of the undisturbed run.
        kills (`int`): Runs that were killed.
        ended_first (`int`): Runs that ended before their kill.
        compared (`int`): Whole results that were compared with the undisturbed one.
        differences (`list[str]`): Files of finished runs that differ, lack or are too many.
        torn (`list[str]`): Files that had their final name after a kill and were not whole.
        survivors (`int`): Kills after which a process lived on.
        complaints (`list[str]`): Last lines of runs that failed by themselves.
    """

    seconds: float = 0.0
    kills: int = 0
    ended_first: int = 0
    compared: int = 0
    differences: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    survivors: int = 0
    complaints: list[str] = field(default_factory=list)


class Chaos:
    """One command that is killed."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.random = random.Random(args.seed)
        self.out = args.work / "disturbed"
        self.report = Report()
        self.expected: dict[str, str] = {}

    def run(self) -> Report:
        """The undisturbed run, the kills, and the last run to the end."""
        quiet = self.args.work / "undisturbed"
        quiet.mkdir(parents=True)
        start = time.monotonic()
        self._finish(self._start(quiet, again=False))
        self.report.seconds = round(time.monotonic() - start, 2)
        self.expected = self._content(quiet)
        self._fresh()
        again = False
        while self.report.kills < self.args.kills:
            again = self._disturb(again)
        self._finish(self._start(self.out, again))
        self._compare()
        return self.report

    def _disturb(self, again: bool) -> bool:
        """One run and its kill; gives whether the next one goes on with it."""
        child = self._start(self.out, again)
        try:
            child.wait(self.random.uniform(0, self.report.seconds))
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            self.report.kills += 1
            self._after_kill(child.pid)
            return True
        self._finish(child)
        self.report.ended_first += 1
        self._compare()
        self._fresh()
        return False

    def _start(self, out: Path, again: bool) -> subprocess.Popen:
        words = [word.replace(PLACE, str(out)) for word in self.args.command]
        words += shlex.split(self.args.again) if again else []
        return subprocess.Popen(
            [sys.executable, "-m", "emo_llama", *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that those who live on can be found, and ended
        )

    def _finish(self, child: subprocess.Popen) -> None:
        _, messages = child.communicate()
        if child.returncode not in self.args.good or "Traceback" in messages:
            self.report.complaints.append(f"{child.returncode}: {messages.strip()[-300:]}")

    def _after_kill(self, group: int) -> None:
        """Look for half files, and for processes that live on."""
        for name, digest in self._content(self.out).items():
            if fnmatch(name, self.args.whole) and self.expected.get(name, digest) != digest:
                self.report.torn.append(f"kill {self.report.kills}: {name}")
        end = time.monotonic() + ORPHAN_SECONDS
        while _lives(group) and time.monotonic() < end:
            time.sleep(0.05)
        if _lives(group):
            self.report.survivors += 1
            os.killpg(group, signal.SIGKILL)

    def _compare(self) -> None:
        found = self._content(self.out)
        self.report.compared += 1
        for name in sorted(found.keys() | self.expected.keys()):
            if found.get(name) != self.expected.get(name):
                kind = "differs" if name in found and name in self.expected else "lacks"
                kind = "is too many" if name not in self.expected else kind
                self.report.differences.append(f"{name} {kind}")

    def _content(self, folder: Path) -> dict[str, str]:
        """Digest of each file by its name in the folder."""
        found = {}
        for path in sorted(folder.rglob("*")):
            name = str(path.relative_to(folder))
            if path.is_file() and not any(fnmatch(name, p) for p in self.args.ignore):
                data = path.read_bytes().replace(os.fsencode(folder), b"OUT")
                found[name] = hashlib.sha256(data).hexdigest()
        return found

    def _fresh(self) -> None:
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir(parents=True)


def _lives(group: int) -> bool:
    """Whether a process group has members that are more than zombies."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def main() -> int:
    """Runs it, and prints the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="a new folder")
    parser.add_argument("--kills", type=int, default=40, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--again", default="--resume", help="added to later runs")
    parser.add_argument("--whole", default="*", help="names that only whole files may have")
    parser.add_argument("--ignore", action="append", default=[], help="names that may differ")
    parser.add_argument("--good", type=int, action="append", default=[0], help="exit status")
    parser.add_argument("command", nargs="+", help="after --: a verb and its options")
    report = Chaos(parser.parse_args()).run()
    print(json.dumps(asdict(report), indent=2))
    return 1 if report.differences or report.torn or report.survivors or report.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
