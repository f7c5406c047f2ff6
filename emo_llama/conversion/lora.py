"""A LoRA checkpoint of LLaVA's kind, merged into its base while the base is read."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import torch

from emo_llama.conversion.checkpoints import Tensors, read_shards
from emo_llama.errors import DataFormatError, InputNotFoundError, UsageError

__all__ = ["LoraUpdate"]

ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
OTHERS = "non_lora_trainables.bin"
PREFIX = "base_model.model."
_PART = re.compile(r"^(.+)\.lora_([AB])(?:\.default)?\.weight$")


@dataclass(slots=True)
class LoraUpdate:
    """Low-rank updates and replaced tensors, by the keys of the base.

    Args:
        scale (`float`): alpha / r.
        pairs (`dict[str, dict[str, torch.Tensor]]`): `A` (r, in) and `B` (out, r) of each weight.
        others (`dict[str, torch.Tensor]`): Tensors that were trained in full.
    """

    scale: float
    pairs: dict[str, Tensors]
    others: Tensors
    used: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, folder: Path, base: Path | None) -> "LoraUpdate | None":
        """Reads a folder's adapter.

        Args:
            folder (`Path`): The checkpoint.
            base (`Path`, *optional*): The folder of the base.

        Returns:
            [`LoraUpdate`] or `None`: `None` where the folder holds a full checkpoint.

        Raises:
            UsageError: The adapter needs a base, or there is a base and no adapter.
            InputNotFoundError: The adapter's weights are missing.
            DataFormatError: They are damaged.
        """
        settings = folder / "adapter_config.json"
        if not settings.is_file():
            if base is not None:
                raise UsageError(f"--base {base}: {folder} is no LoRA checkpoint, so it needs none")
            return None
        if base is None:
            raise UsageError(f"{folder}: a LoRA checkpoint. Name what it changes by --base DIR.")
        path = next((folder / name for name in ADAPTERS if (folder / name).is_file()), None)
        if path is None:
            raise InputNotFoundError(f"{folder}: expected {' or '.join(ADAPTERS)}. Fetch it again.")
        known = json.loads(settings.read_text(encoding="utf-8"))
        pairs: dict[str, Tensors] = {}
        (adapter,) = read_shards([path])
        for key, tensor in adapter.items():
            match = _PART.match(key.removeprefix(PREFIX))
            if match is None:
                raise DataFormatError(f"{path}: {key} is no LoRA weight. Name another adapter.")
            pairs.setdefault(f"{match[1]}.weight", {})[match[2]] = tensor
        others: Tensors = {}
        if (folder / OTHERS).is_file():
            (trained,) = read_shards([folder / OTHERS])
            others = {key.removeprefix(PREFIX): tensor for key, tensor in trained.items()}
        return cls(known["lora_alpha"] / known["r"], pairs, others)

    def apply(self, shard: Tensors) -> Tensors:
        """A shard of the base with its updates.

        Args:
            shard (`dict[str, torch.Tensor]`): By key. On the device meta nothing is merged, since
                shapes stay as they are.

        Returns:
            `dict[str, torch.Tensor]`: The same keys; merged in fp32, in the base's dtype.
        """
        merged = {}
        for key, tensor in shard.items():
            self.used.add(key)
            if key in self.others:
                tensor = self.others[key]
            elif key in self.pairs and not tensor.is_meta:
                tensor = self._merged(tensor, self.pairs[key])
            merged[key] = tensor
        return merged

    def _merged(self, tensor: torch.Tensor, pair: Tensors) -> torch.Tensor:
        # in half precision small updates would be rounded away in the product and in the sum
        update = pair["B"].float() @ pair["A"].float()  # (out, r) by (r, in)
        return (tensor.float() + self.scale * update).to(tensor.dtype)

    def rest(self) -> Tensors:
        """What the adapter holds and the base lacks, once every shard was read.

        Returns:
            `dict[str, torch.Tensor]`: By key.

        Raises:
            DataFormatError: An update has no weight in the base.
        """
        lost = sorted(set(self.pairs) - self.used)
        if lost:
            raise DataFormatError(
                f"the base lacks {len(lost)} weights that the adapter changes, {lost[0]} among "
                "them. Name the base that it was trained on."
            )
        return {key: tensor for key, tensor in self.others.items() if key not in self.used}
