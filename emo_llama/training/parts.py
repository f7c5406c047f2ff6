"""Which parts of a model take part in a tuning: what is frozen, and what is switched off."""

from collections.abc import Sequence
from typing import Any

import torch

from emo_llama.errors import UsageError
from emo_llama.modeling import EmoLlamaForConditionalGeneration, EmoLlamaProcessor
from emo_llama.modeling.modeling_face_info_mining import FaceInfoMining

__all__ = ["adopt_labels", "freeze", "switch_parts"]


def adopt_labels(model: EmoLlamaForConditionalGeneration, labels: list[str]) -> None:
    """Gives a model the label set of its data, where that is another.

    Args:
        model ([`EmoLlamaForConditionalGeneration`]): The model; a new set begins uncalibrated.
        labels (`list[str]`): The labels, in order.
    """
    config: Any = model.config
    if [label for _, label in sorted(config.id2label.items())] != labels:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: number for number, label in enumerate(labels)}
        config.label_temperature = 1.0


def freeze(model: EmoLlamaForConditionalGeneration, parts: Sequence[str]) -> None:
    """Switches gradients off for whole parts.

    Args:
        model ([`EmoLlamaForConditionalGeneration`]): The model.
        parts (`Sequence[str]`): Names of parts; one that this model lacks is passed over.
    """
    for name in parts:
        part = getattr(model.model, name)
        if part is not None:
            part.requires_grad_(False)
    model.train()


def switch_parts(
    model: EmoLlamaForConditionalGeneration,
    processor: EmoLlamaProcessor,
    face_info_mining: str = "both",
    tower: str = "generic",
    seed: int = 0,
) -> None:
    """Takes clues or the tower out of a finished model, in place, as an ablation asks for.

    Args:
        model ([`EmoLlamaForConditionalGeneration`]): The model.
        processor ([`EmoLlamaProcessor`]): Its processor; the number of placeholders follows.
        face_info_mining (`str`, *optional*, defaults to `"both"`):
            `"both"` leaves the module as it is, `"global"` and `"local"` make a fresh one that
            reads these clues only, `"off"` takes it out.
        tower (`str`, *optional*, defaults to `"generic"`): `"off"` takes the vision tower out.
        seed (`int`, *optional*, defaults to 0): Of a fresh module.

    Raises:
        UsageError: The model has no face network to read, another tower is asked for, or nothing
            would be left.
    """
    config: Any = model.config
    if tower == "face":
        raise UsageError(
            "tower: a finished model keeps its own; `face` needs a recipe with `scratch`."
        )
    if face_info_mining == tower == "off":
        raise UsageError("face_info_mining and tower are both off: nothing would be seen.")
    if face_info_mining != "both":
        if config.face_config is None and face_info_mining != "off":
            raise UsageError(f"face_info_mining {face_info_mining}: the model has no face network.")
        config.fim_config.use_global = face_info_mining == "global"
        config.fim_config.use_local = face_info_mining == "local"
        model.model.face_info_mining = None
    if face_info_mining in ("global", "local"):
        torch.manual_seed(seed)
        fresh = FaceInfoMining(config).to(model.device, model.dtype)
        model.model.face_info_mining = fresh.apply(model._init_weights)
    if tower == "off":
        config.use_frame_tokens = False
        model.model.vision_tower = model.model.frame_tokens = None
    processor.num_tokens_per_frame = config.num_tokens_per_frame
