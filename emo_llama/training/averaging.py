"""A running average (EMA) of what is trained, in memory and in each checkpoint.

Decides how tensors are averaged and where a run that was cut off finds them; which ones they are
its owner says: the trained weights of a large model, of which no second copy would fit, or the
whole state of a small network, norms' statistics included, which is scored along the way.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from emo_llama.files import atomic_path

__all__ = ["AVERAGE", "WeightAverage"]

AVERAGE = "average.safetensors"
"""The averaged tensors, in each checkpoint of a run that averages."""


class WeightAverage(TrainerCallback):
    """Averages named tensors after each step of a run.

    Args:
        tensors (`Callable[[], dict[str, torch.Tensor]]`):
            Gives those that are trained, sharing their memory. It is asked each time, since a
            model that is moved to another device has new buffers there.
        decay (`float`): Of the average, a step.
        from_start (`bool`, *optional*, defaults to `True`):
            Whether the weights before the first step count. Those of a network that begins with
            nothing are noise.
    """

    def __init__(
        self, tensors: Callable[[], dict[str, torch.Tensor]], decay: float, from_start: bool = True
    ) -> None:
        self.tensors, self.decay, self.from_start = tensors, decay, from_start
        self.average: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def update(self) -> None:
        """Takes the tensors of now into the average; the first are the average."""
        for name, tensor in self.tensors().items():
            if name not in self.average:
                self.average[name] = tensor.detach().clone()
            elif tensor.is_floating_point():
                kept = self.average[name]
                kept.lerp_(tensor.detach().to(kept), 1 - self.decay)
            else:  # a norm's counter of batches
                self.average[name].copy_(tensor)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges what is trained for its average, in place; again, and all is as before."""
        for name, tensor in self.tensors().items():
            trained = tensor.detach().clone()
            tensor.detach().copy_(self.average[name])
            self.average[name].copy_(trained)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has its averaged weights meanwhile."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Begins anew, or takes the average up where the checkpoint left it."""
        self.average = {}
        if state.global_step:
            known = load_file(_checkpoint(args, state) / AVERAGE)
            self.average = {name: known[name].to(now) for name, now in self.tensors().items()}
        elif self.from_start:
            self.update()

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Averages."""
        self.update()

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Writes the average beside the checkpoint; the first process does."""
        if state.is_world_process_zero:
            with atomic_path(_checkpoint(args, state) / AVERAGE) as partial:
                save_file({k: tensor.contiguous() for k, tensor in self.average.items()}, partial)


def _checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    """The folder that transformers' `Trainer` writes after this step."""
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"
