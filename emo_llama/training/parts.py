"""Which parts of a model take part in a tuning: frozen, switched off, and how precisely kept."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import torch

from emo_llama.errors import UsageError
from emo_llama.modeling import EmoLlamaForConditionalGeneration, EmoLlamaProcessor
from emo_llama.modeling.modeling_face_info_mining import FaceInfoMining

__all__ = ["PARTS", "adopt_labels", "freeze", "keep_precise", "switch_parts"]

PARTS = ("vision_tower", "face_model", "frame_tokens", "face_info_mining", "language_model")


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
        config.label_temperature, config.label_bias, config.operating_points = 1.0, None, None


def freeze(model: EmoLlamaForConditionalGeneration, parts: Sequence[str]) -> None:
    """Switches gradients off for whole parts, or for parts of these.

    LoRA needs none of this: PEFT freezes all but what it adds and `lora_modules_to_save`.

    Args:
        model ([`EmoLlamaForConditionalGeneration`]): The model.
        parts (`Sequence[str]`):
            Names out of `PARTS`, further down with a dot (`frame_tokens.qformer`); one that this
            model lacks is passed over. The language model's head is a part of it.

    Raises:
        UsageError: A part has nothing of that name.
    """
    for name in parts:
        top, _, below = name.partition(".")
        part = getattr(model.model, top)
        if part is None:
            continue
        try:
            (attrgetter(below)(part) if below else part).requires_grad_(False)
        except AttributeError as error:
            raise UsageError(
                f"frozen: {top} has no {below}; it has "
                f"{', '.join(child for child, _ in part.named_children())}."
            ) from error
        if name == "language_model":
            model.get_output_embeddings().requires_grad_(False)
    model.train()


def keep_precise(
    model: EmoLlamaForConditionalGeneration, modules_to_save: Sequence[str] | None = None
) -> None:
    """Holds what is trained in float32: in 16 bits most steps are too small to change a weight.

    Args:
        model ([`EmoLlamaForConditionalGeneration`]): Frozen where it is not trained.
        modules_to_save (`Sequence[str]`, *optional*):
            With LoRA: the modules that are trained in full, by the ends of their names. PEFT takes
            care of what it adds itself.
    """
    if modules_to_save is None:
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        return
    for name, module in model.named_modules():
        if name.endswith(tuple(modules_to_save)):
            module.float()


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
