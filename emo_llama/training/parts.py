"""Which parts of a model are trained, and how precisely they are kept meanwhile."""

from collections.abc import Sequence
from operator import attrgetter

from emo_llama.errors import UsageError
from emo_llama.modeling import EmoLlamaForConditionalGeneration

__all__ = ["PARTS", "freeze", "keep_precise"]

PARTS = ("vision_tower", "face_model", "frame_tokens", "face_info_mining", "language_model")


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
