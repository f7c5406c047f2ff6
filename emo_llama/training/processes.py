"""Several processes of one run: what only the first may do, and a sharded model as a whole again.

Decides who builds data, checks folders, scores and writes. How batches, gradients and weights are
shared out is accelerate's, by its own configuration file; see `recipes/accelerate`.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from accelerate import PartialState
from accelerate.utils import DistributedType, broadcast_object_list
from peft import PeftModel, get_peft_model
from torch.distributed.fsdp import FSDPModule
from transformers import Trainer
from transformers.integrations import unset_hf_deepspeed_config

from emo_llama.errors import EmoLlamaError
from emo_llama.modeling import EmoLlamaForConditionalGeneration

__all__ = ["make_shardable", "on_main", "whole_model"]

T = TypeVar("T")
ENCODERS = ("model.vision_tower.", "model.face_model.")
WRAPPED = "base_model.model."
"""What PEFT puts before the names of the model's own parameters."""
SHARDING = (DistributedType.FSDP, DistributedType.DEEPSPEED)


def on_main(work: Callable[[], T]) -> T:
    """Does a piece of work in the first process; the others wait for what comes of it.

    Args:
        work (`Callable`): What is done; nothing in it may wait for the other processes.

    Returns:
        What `work` returned, in every process.

    Raises:
        EmoLlamaError: `work` raised it; every process does, so that none waits for ever.
    """
    outcome: list[Any] = [None, None]
    if PartialState().is_main_process:
        try:
            outcome = [work(), None]
        except EmoLlamaError as error:
            outcome = [None, error]
    result, error = broadcast_object_list(outcome)
    if error is not None:
        raise error
    return result


def make_shardable(model: EmoLlamaForConditionalGeneration) -> None:
    """Prepares a model for FSDP, should the run use it; nothing changes for one process.

    Args:
        model ([`EmoLlamaForConditionalGeneration`]): Before it is given to the trainer.
    """
    # A part may name layers that it has not (RegNet's Y layers in a network of X layers), at which
    # accelerate stops, and pieces of layers that it names too, which would be gathered one by one.
    outermost: dict[str, str] = {}
    for name, module in model.named_modules():
        kind = type(module).__name__
        inside = any(name.startswith(f"{outer}.") for outer in outermost)
        if kind in model._no_split_modules and not inside:
            outermost[name] = kind
    model._no_split_modules = set(outermost.values())

    def gather_head(*_: Any) -> None:
        """Makes the head whole in this process."""
        head = model.get_output_embeddings()
        if isinstance(head, FSDPModule):
            head.unshard()

    # TRL scores by the head's weight without calling the head, so FSDP would never gather it; TRL
    # does so itself, but each process then learns its slice of the head from its own rows alone.
    model.model.register_forward_hook(gather_head)


def whole_model(
    trainer: Trainer, load: Callable[[], EmoLlamaForConditionalGeneration]
) -> EmoLlamaForConditionalGeneration | PeftModel | None:
    """The trained model with all its weights; every process must call this.

    Args:
        trainer ([`transformers.Trainer`]): After the training.
        load (`Callable`): Gives the model that training began with, once more.

    Returns:
        [`EmoLlamaForConditionalGeneration`] or [`peft.PeftModel`]: `None` in all processes but the
        first where each holds a share of the weights only.
    """
    if trainer.accelerator.distributed_type not in SHARDING:
        return trainer.model
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    unset_hf_deepspeed_config()  # what is loaded from now on is not for DeepSpeed to share out
    if not trainer.accelerator.is_main_process:
        return None
    model = load()
    if isinstance(trainer.model, PeftModel):
        model = get_peft_model(model, trainer.model.active_peft_config)
    # Cached features may stand in for frozen encoders: theirs are the weights of before.
    found = model.load_state_dict(weights, strict=False)
    lost = [k for k in found.missing_keys if not k.removeprefix(WRAPPED).startswith(ENCODERS)]
    if lost or found.unexpected_keys:
        raise RuntimeError(f"weights were lost while they were gathered: {lost}")
    return model
