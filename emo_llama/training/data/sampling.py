"""Which rows an epoch shows: rare classes more often than they come, where that is asked for."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

__all__ = ["BalancedSampler", "FaceSampler", "balanced_weights"]


class BalancedSampler(torch.utils.data.Sampler[int]):
    """Draws rows by weight, with replacement, in an order that seed and epoch settle.

    A run that goes on from a checkpoint, and each process of a distributed run, sees the same
    order.

    Args:
        weights (`Sequence[float]` of length n): Of each row; any scale.
        seed (`int`): Of the draws.
    """

    def __init__(self, weights: Sequence[float] | np.ndarray, seed: int) -> None:
        self.weights = torch.as_tensor(np.asarray(weights), dtype=torch.double)
        self.seed, self.epoch = seed, 0

    def __len__(self) -> int:
        return len(self.weights)

    def __iter__(self) -> Iterator[int]:
        """Indices of one epoch, as many as there are rows."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        drawn = torch.multinomial(self.weights, len(self), replacement=True, generator=generator)
        return iter(drawn.tolist())

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch.

        Args:
            epoch (`int`): Its number.
        """
        self.epoch = epoch


class FaceSampler(torch.utils.data.Sampler[int]):
    """Rows of one table, each once or by weight, among random rows of a second table behind it.

    As [`BalancedSampler`], the order follows from seed and epoch alone.

    Args:
        rows (`int`): Of the first table.
        extra_rows (`int`): Of the second one; their indices go on from `rows`.
        draws (`int`): How many of those come among the others.
        count (`int`): How many of all an epoch shows, at most `rows + draws`.
        seed (`int`): Of the order.
        weights (`np.ndarray` of shape (rows,), *optional*):
            Of the first table's rows, which are then drawn with replacement.
    """

    def __init__(
        self,
        rows: int,
        extra_rows: int,
        draws: int,
        count: int,
        seed: int,
        weights: np.ndarray | None = None,
    ) -> None:
        self.rows, self.extra_rows, self.draws, self.count = rows, extra_rows, draws, count
        self.weights = None if weights is None else torch.as_tensor(weights, dtype=torch.double)
        self.seed, self.epoch = seed, 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        """Indices of one epoch."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        if self.weights is None:
            indices = torch.randperm(self.rows, generator=generator)
        else:
            indices = torch.multinomial(self.weights, self.rows, True, generator=generator)
        if self.draws:
            drawn = torch.randint(self.extra_rows, (self.draws,), generator=generator)
            indices = torch.cat([indices, self.rows + drawn])
            indices = indices[torch.randperm(len(indices), generator=generator)]
        return iter(indices[: self.count].tolist())

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch.

        Args:
            epoch (`int`): Its number.
        """
        self.epoch = epoch


def balanced_weights(classes: Sequence[int] | np.ndarray, power: float) -> np.ndarray:
    """Weights that even classes out.

    Args:
        classes (`Sequence[int]` of length n): Class of each row, 0 or more.
        power (`float`): 0 leaves the shares as they are, 1 shows all classes equally often.

    Returns:
        `np.ndarray` of shape (n,): One over the size of each row's class, to this power; mean 1.

    Example:
    ```python
    >>> from emo_llama.training.data.sampling import balanced_weights

    >>> balanced_weights([0, 0, 0, 1], power=1).round(2).tolist()
    [0.67, 0.67, 0.67, 2.0]

    ```
    """
    classes = np.asarray(classes)
    weights = np.bincount(classes)[classes].astype(float) ** -power
    return weights / weights.mean()
