"""Parts of a model that no checkpoint gives: made anew, the same for the same seed."""

from collections.abc import Sequence

import torch
from torch import nn

from emo_llama.conversion.checkpoints import Tensors
from emo_llama.modeling import EmoLlamaConfig, EmoLlamaForConditionalGeneration

__all__ = ["fresh_parts"]


def fresh_parts(config: EmoLlamaConfig, names: Sequence[str], seed: int) -> Tensors:
    """Makes parts anew, as `from_pretrained` does where a checkpoint lacks them.

    Args:
        config ([`EmoLlamaConfig`]): The whole model's configuration.
        names (`Sequence[str]`):
            Parts out of [`EmoLlamaModel`], as `face_info_mining`; one that this model lacks is
            passed over.
        seed (`int`): Of the weights; the global generator is left as it was.

    Returns:
        `dict[str, torch.Tensor]`: By their names in [`EmoLlamaForConditionalGeneration`].
    """
    with torch.device("meta"):
        model = EmoLlamaForConditionalGeneration(config)
    tensors: Tensors = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name in names:
            module = getattr(model.model, name)
            if module is None:
                continue
            module.to_empty(device="cpu")
            _initialise(model, module)
            state = module.state_dict()
            tensors |= {f"model.{name}.{key}": value for key, value in state.items()}
    return tensors


def _initialise(model: EmoLlamaForConditionalGeneration, module: nn.Module) -> None:
    for child in reversed(list(module.modules())):
        model._init_weights(child)
