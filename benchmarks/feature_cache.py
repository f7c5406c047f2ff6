"""What the feature cache saves: one tuning that runs the encoders, and one with their features.

    python benchmarks/feature_cache.py --data built/ferplus --work DIR

Tunes the embedded model three times by `emo-llama train`: without a cache, while it is filled, and
with the filled one. Prints the minutes of each tuning, how many times faster the last is than the
first, and the largest difference of their losses. Read the ratio: all three ran on one machine.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path


def tune(name: str, args: argparse.Namespace, words: list[str]) -> tuple[float, list[float]]:
    """Minutes of one tuning, and the loss of each step."""
    out = args.work / name
    steps = [
        "--max_steps",
        str(args.steps),
        "--logging_steps",
        "1",
        "--save_steps",
        str(args.steps),
    ]
    places = ["--data", str(args.data), "--output_dir", str(out), "--augment_faces", "0"]
    command = [sys.executable, "-m", "emo_llama.cli", "train", *steps, *places, *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    minutes = json.loads((out / "minutes.json").read_text(encoding="utf-8"))["tuning"]
    state = out / "tuning" / f"checkpoint-{args.steps}" / "trainer_state.json"
    history = json.loads(state.read_text(encoding="utf-8"))["log_history"]
    return minutes, [entry["loss"] for entry in history if "loss" in entry]


def main() -> None:
    """Runs the three, and prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="built instruction data")
    parser.add_argument("--work", type=Path, required=True, help="an empty folder")
    parser.add_argument("--steps", type=int, default=800, help="of 16 rows (default: %(default)s)")
    args = parser.parse_args()
    cache = ["--feature_cache", str(args.work / "features")]
    plain, losses = tune("plain", args, [])
    filling, _ = tune("filling", args, cache)
    filled, same = tune("filled", args, cache)
    facts = {
        "steps": args.steps,
        "minutes_plain": plain,
        "minutes_filling": filling,
        "minutes_filled": filled,
        "times_faster": round(plain / max(filled, 0.01), 2),
        "largest_loss_difference": max(
            abs(one - other) for one, other in zip(losses, same, strict=True)
        ),
    }
    print(json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
