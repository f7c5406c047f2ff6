"""Builds one part of a data set, so that many machines can share the work.

Any engine that runs a command with a number does: a Slurm array, `ray job submit`, xargs.

    python examples/build_one_part.py affectnet AffectNet/ parts/ --index 3 --count 32

Slurm (`sbatch --array=0-31 part.sh`): `--index $SLURM_ARRAY_TASK_ID --count 32`. Every part writes
Parquet files of its own below `parts/category/`; `load_dataset("parquet", ...)` reads all of them.
"""

import argparse
from collections import Counter
from pathlib import Path

from datasets import Dataset
from datasets.arrow_writer import ParquetWriter

from emo_llama.dataset_builders.base import LeftOut
from emo_llama.dataset_builders.build import make_builder


def main() -> None:
    """Builds the part that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("root")
    parser.add_argument("out", type=Path)
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    args = parser.parse_args()
    builder = make_builder(args.name, "category", args.root)
    folder = args.out / "category"
    folder.mkdir(parents=True, exist_ok=True)
    for split in builder.configured_splits():
        entries = list(builder.entries(split))  # names and labels, no pictures
        places = Dataset.from_dict({"place": range(len(entries))})
        mine = places.shard(args.count, args.index, contiguous=True)["place"]
        path = folder / f"{args.name}-{split}-{args.index:05d}-of-{args.count:05d}.parquet"
        writer = ParquetWriter(features=builder.info.features, path=str(path), writer_batch_size=64)
        counts, problems = Counter[str](), list[LeftOut]()
        for _, row in builder.rows(split, (entries[place] for place in mine), counts, problems):
            writer.write(row)
        writer.finalize()
        print(split, dict(counts), *(f"{p.item}: {p.message}" for p in problems), sep="\n  ")


if __name__ == "__main__":
    main()
