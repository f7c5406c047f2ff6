"""TRL's SFTTrainer with what imbalanced expression data ask for.

Rows drawn by weight, and a second loss that reads the expression straight from the face tokens.
Each is off unless the recipe says otherwise; then this is TRL's trainer as it is.
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ProgressCallback
from trl import SFTTrainer

from emo_llama.errors import UsageError
from emo_llama.modeling import EmoLlamaForConditionalGeneration
from emo_llama.training.data.collator import CLASSES, InstructionCollator
from emo_llama.training.data.sampling import BalancedSampler

__all__ = [
    "ExpressionHead",
    "InstructionTrainer",
    "Progress",
    "add_expression_head",
    "drop_expression_head",
]

HEAD = "expression_head"


class ExpressionHead(nn.Module):
    """Reads the expression from the face tokens while a model is trained; dropped after.

    Args:
        width (`int`): Of a token.
        num_labels (`int`): Expressions.
    """

    def __init__(self, width: int, num_labels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, num_labels)
        self.kept: list[torch.Tensor] = []

    def keep(self, module: nn.Module, args: tuple, tokens: torch.Tensor) -> None:
        """A forward hook of the Face Info Mining: keeps its tokens (n, K, D) for the loss."""
        if self.training:
            self.kept.append(tokens)

    def loss(self, classes: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of the tokens kept since the last time with classes (n,)."""
        tokens = torch.cat(self.kept).mean(1)  # (n, D)
        self.kept.clear()
        logits = self.linear(self.norm(tokens.to(self.norm.weight.dtype)))
        return F.cross_entropy(logits.float(), classes)


def add_expression_head(model: EmoLlamaForConditionalGeneration) -> None:
    """Puts a fresh [`ExpressionHead`] under the Face Info Mining, to be trained with it.

    Args:
        model ([`EmoLlamaForConditionalGeneration`]): The model.

    Raises:
        UsageError: It has no Face Info Mining.
    """
    mining = model.model.face_info_mining
    if mining is None:
        raise UsageError("expression_loss reads face tokens, and this model has none. Set it to 0.")
    width = model.config.text_config.hidden_size
    mining.expression_head = ExpressionHead(width, len(model.config.id2label)).to(model.dtype)


def drop_expression_head(model: EmoLlamaForConditionalGeneration) -> None:
    """Takes the head away, so that the saved model has the architecture of its configuration.

    Args:
        model ([`EmoLlamaForConditionalGeneration`]): The model, with a head or without.
    """
    mining = model.model.face_info_mining
    if hasattr(mining, HEAD):
        delattr(mining, HEAD)


class InstructionTrainer(SFTTrainer):
    """TRL's trainer with balanced sampling and an expression loss.

    Args:
        row_weights (`Sequence[float]`, *optional*):
            How often each row is drawn, beside the others; all are shown once without.
        expression_loss (`float`, *optional*, defaults to 0.0):
            Weight of the loss of the head that [`add_expression_head`] has put in.
        eval_collator ([`InstructionCollator`], *optional*):
            Makes batches of the rows that are evaluated; the same as of the others, by default.
        args (`tuple`): As in [`trl.SFTTrainer`].
        kwargs (`dict`): Likewise.

    Raises:
        UsageError: An expression loss is asked of several processes, or with a Face Info Mining
            that is not trained.
    """

    def __init__(
        self,
        *args: Any,
        row_weights: Sequence[float] | np.ndarray | None = None,
        expression_loss: float = 0.0,
        eval_collator: InstructionCollator | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.row_weights, self.expression_loss = row_weights, expression_loss
        self.eval_collator = eval_collator
        self.head = self._trained_head() if expression_loss else None
        self.remove_callback(ProgressCallback)
        if not self.args.disable_tqdm:
            self.add_callback(Progress())

    def _trained_head(self) -> ExpressionHead:
        """The head that is trained (PEFT keeps an untrained copy), hooked in from now on."""
        if self.args.world_size > 1:
            raise UsageError(
                "expression_loss works in one process only. Set it to 0, or start without "
                "accelerate launch."
            )
        for module in self.model.modules():
            head = getattr(module, HEAD, None)
            if isinstance(head, ExpressionHead) and head.linear.weight.requires_grad:
                module.register_forward_hook(head.keep)
                return head
        raise UsageError(
            "expression_loss: the Face Info Mining is not trained. Take it out of `frozen`, or "
            "name face_info_mining in lora_modules_to_save."
        )

    def _init_training_state(
        self, max_steps: int, steps_per_epoch: int, num_train_epochs: int, *args: Any
    ) -> tuple[int, int]:
        epochs_trained, skipped = super()._init_training_state(
            max_steps, steps_per_epoch, num_train_epochs, *args
        )
        # Killed behind its last step, amid an epoch: transformers makes one more before it looks.
        if self.state.global_step >= max_steps:
            epochs_trained = num_train_epochs
        return epochs_trained, skipped

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> torch.utils.data.Sampler | None:
        if self.row_weights is None:
            return super()._get_train_sampler(*args, **kwargs)
        return BalancedSampler(self.row_weights, self.args.seed)

    def get_eval_dataloader(self, *args: Any, **kwargs: Any) -> torch.utils.data.DataLoader:
        """As the parent, with the collator of the evaluated rows.

        Args:
            args (`tuple`): As in [`transformers.Trainer`].
            kwargs (`dict`): Likewise.

        Returns:
            `torch.utils.data.DataLoader`: Batches.
        """
        of_training = self.data_collator
        self.data_collator = self.eval_collator or of_training
        try:
            return super().get_eval_dataloader(*args, **kwargs)
        finally:
            self.data_collator = of_training

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """As the parent, with the expression loss added while training."""
        classes = inputs.pop(CLASSES, None)
        result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if self.head is None or classes is None or not model.training:
            return result
        extra = self.expression_loss * self.head.loss(classes)
        extra = extra / self.current_gradient_accumulation_steps
        return (result[0] + extra, result[1]) if return_outputs else result + extra


class Progress(ProgressCallback):
    """The progress bar, with the loss and the rows a second beside the time that is left."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """The loss goes behind the bar of a terminal; all else is a line on stderr."""
        bar = self.training_bar
        if bar is None or not logs:
            return
        if "loss" not in logs or not sys.stderr.isatty():
            shown = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in logs.items()}
            bar.write(str(shown), file=sys.stderr)
            return
        batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        rate = (bar.format_dict["rate"] or 0.0) * batch
        bar.set_postfix_str(f"loss {float(logs['loss']):.3f}, {rate:.0f} rows/s")
