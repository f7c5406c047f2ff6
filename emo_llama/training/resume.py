"""Where a run that was cut off goes on, and what is said when the machine gives out."""

import errno
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from emo_llama.errors import UsageError

__all__ = ["explained", "last_whole_checkpoint"]

logger = logging.getLogger(__name__)

WRITTEN_LAST = "trainer_state.json"
OTHER_MODEL = ("size mismatch", "parameter group that doesn't match")
"""What PyTorch says of a checkpoint that belongs to other weights."""
FULL = "No space left on device"
"""What libraries that are no Python say of a full disk."""


def last_whole_checkpoint(folder: str | Path, needs: Sequence[str] = ()) -> str | None:
    """The newest checkpoint that was written to its end; half ones are removed.

    Args:
        folder (`str` or `Path`): Where transformers' `Trainer` keeps its checkpoints.
        needs (`Sequence[str]`, *optional*): Files that a callback puts beside the trainer's own.

    Returns:
        `str` or `None`: Its folder; `None` where there is none.
    """
    while Path(folder).is_dir() and (newest := get_last_checkpoint(str(folder))) is not None:
        try:
            json.loads((Path(newest) / WRITTEN_LAST).read_text(encoding="utf-8"))
            for name in needs:
                (Path(newest) / name).stat()
        except (OSError, ValueError):
            logger.warning("%s was cut off while it was written, and is removed", newest)
            shutil.rmtree(newest)
            continue
        return newest
    return None


@contextmanager
def explained(settings: TrainingArguments) -> Iterator[None]:
    """Turns what a machine cannot do into a message that ends in the next step.

    Args:
        settings ([`transformers.TrainingArguments`]): Of the run.

    Raises:
        UsageError: Memory or disk did not suffice, or the checkpoint to go on from is another
            model's. Checkpoints that were whole stay.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        size = settings.per_device_train_batch_size
        steps = settings.gradient_accumulation_steps
        raise UsageError(
            f"out of memory with batches of {size}. Go on by --resume "
            f"--per_device_train_batch_size {max(1, size // 2)} --gradient_accumulation_steps "
            f"{2 * steps}, which learns the same, or let a size be found by "
            "--auto_find_batch_size true."
        ) from error
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        if any(words in str(error) for words in OTHER_MODEL):
            raise UsageError(
                f"{settings.output_dir}: its checkpoint is of other weights than this run trains. "
                "Resume with the model and the recipe that it was begun with, or name another "
                "--output_dir."
            ) from error
        if getattr(error, "errno", 0) != errno.ENOSPC and FULL not in str(error):
            raise
        raise UsageError(
            f"{settings.output_dir}: the disk is full. Free some space, or keep fewer checkpoints "
            "by --save_total_limit 1, and go on by --resume."
        ) from error
