"""What `emo-llama doctor` tries out, in a process of its own.

A broken package raises, ends its process or never comes back: none of this may keep the doctor from
answering. What a probe finds goes as one JSON line to stdout, as soon as it is known; whatever the
packages themselves print goes to stderr.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

SECONDS = 300
"""So long may all probes of a process take; the first imports of a machine take a minute."""
TAIL = 300


def probed(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What each probe finds.

    Args:
        names (`Iterable[str]`):
            Modules to import, and `"device"`, `"cache"` or `"model"` with a `:` before it.

    Returns:
        `dict[str, dict]`: By name; with `error` where it failed.
    """
    waiting = list(names)
    found: dict[str, dict[str, Any]] = {}
    while waiting:
        lines, end = _run(waiting)
        found |= {line.pop("probe"): line for line in map(json.loads, lines)}
        waiting = [name for name in waiting if name not in found]
        if waiting:  # the first one ended the process; the others have not had their turn
            found[waiting.pop(0)] = {"error": end}
    return found


def _run(names: list[str]) -> tuple[list[str], str]:
    """The whole lines that a process wrote, and how it ended."""
    # -P: a file of the folder that one stands in must not pass for a package
    code = "from emo_llama.cli._probes import main; main()"
    command = [sys.executable, "-P", "-c", code, *names]
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
        out, said = done.stdout, done.stderr.decode(errors="replace").strip()
        last = said.rpartition("\n")[2][-TAIL:]
        end = f"it ended the process with status {done.returncode}. {last}".strip()
    except subprocess.TimeoutExpired as error:
        out, end = error.stdout or b"", f"it did not come back within {SECONDS} seconds"
    return out.decode().split("\n")[:-1], end


def main() -> None:
    """Runs the probes that the command line names."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for name in sys.argv[1:]:
        probe = PROBES.get(name, lambda name=name: {"imported": import_module(name).__name__})
        try:
            found = probe()
        except Exception as error:  # noqa: BLE001 - whatever a broken package raises is its record
            found = {"error": f"{type(error).__name__}: {error}"}
        out.write(json.dumps({"probe": name} | found) + "\n")
        out.flush()
    os._exit(0)  # broken packages break once more at the end


def _device() -> dict[str, Any]:
    """What PyTorch can compute on."""
    import torch

    return {
        "cuda": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "built_for": torch.version.cuda or torch.version.hip,
        "mps": torch.backends.mps.is_available(),
        "threads": torch.get_num_threads(),
    }


def _cache() -> dict[str, Any]:
    """Where models from the Hub are kept, and whether one may push to it."""
    from huggingface_hub import constants, get_token

    return {
        "folder": constants.HF_HUB_CACHE,
        "offline": constants.HF_HUB_OFFLINE,
        "login": get_token() is not None,
    }


def _model() -> dict[str, Any]:
    """What the shipped model says of the shipped portrait."""
    from emo_llama.loading import EMBEDDED_MODEL
    from emo_llama.recognition.recognizer import EmotionRecognizer

    started = time.monotonic()
    portrait = Path(EMBEDDED_MODEL).parent / "portrait.jpg"
    result = EmotionRecognizer.from_pretrained().recognize(portrait)
    return {
        "name": Path(EMBEDDED_MODEL).name,
        "label": result.faces[0].label if result.faces else None,
        "seconds": round(time.monotonic() - started, 1),
    }


PROBES: dict[str, Callable[[], dict[str, Any]]] = {
    ":device": _device,
    ":cache": _cache,
    ":model": _model,
}
