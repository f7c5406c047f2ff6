"""Statistics for batch norms that were published without any.

A network for inference alone has each normalization as one scale and one shift. Trained on as it
is, its first step would normalise by the batch and so change what every layer says.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

__all__ = ["restate_norms"]


@torch.no_grad()
def restate_norms(network: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Gives each batch norm the mean and variance of its own input; the function stays as it was.

    Gain and bias are changed along, so that the network answers in evaluation as before, and nearly
    so in training.

    Args:
        network (`nn.Module`): Changed in place; its mode stays as it is.
        batches (`Iterable[torch.Tensor]`): Its inputs, at least one of them.

    Example:
    ```python
    >>> import torch
    >>> from emo_llama.norms import restate_norms

    >>> norm = torch.nn.BatchNorm2d(1).eval()
    >>> pictures = 5 + 2 * torch.randn(4, 1, 8, 8)
    >>> before = norm(pictures)
    >>> restate_norms(norm, [pictures])
    >>> torch.allclose(norm(pictures), before, atol=1e-5), norm.running_mean.item() > 4
    (True, True)

    ```
    """
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    sums: dict[nn.Module, torch.Tensor] = {
        norm: torch.zeros(3, norm.num_features, dtype=torch.double) for norm in norms
    }

    def note(norm: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        states = inputs[0].double().transpose(0, 1).flatten(1)  # (C, B * h * w)
        count = states.new_full((len(states),), states.shape[1])
        sums[norm] += torch.stack([count, states.sum(1), states.square().sum(1)]).cpu()

    was_training = network.training
    hooks = [norm.register_forward_pre_hook(note) for norm in norms]
    network.eval()
    try:
        for batch in batches:
            network(batch)
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    for norm in norms:
        count, total, squares = sums[norm]
        mean = total / count
        _restate(norm, mean, (squares / count - mean**2).clamp(min=0))


def _restate(norm: nn.BatchNorm2d, mean: torch.Tensor, variance: torch.Tensor) -> None:
    """Changes statistics, gain and bias together, each (C,) in double precision."""
    parts: Any = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    gain, bias, old_mean, old_variance = (part.double().cpu() for part in parts)
    scale = gain / (old_variance + norm.eps).sqrt()
    shift = bias - old_mean * scale
    restated = (scale * (variance + norm.eps).sqrt(), shift + mean * scale, mean, variance)
    for part, values in zip(parts, restated, strict=True):
        part.copy_(values)
