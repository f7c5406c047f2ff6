"""What a training recipe may say beside TRL's own settings."""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass
class RecipeArguments:
    """Settings of `emo-llama train` that [`trl.SFTConfig`] and [`trl.ModelConfig`] do not have.

    Args:
        data (`str`, *optional*):
            Folder that `emo-llama data build` wrote. For a recipe with `scratch` the folder that
            holds the official files: `ferplus/` and `fairface/`.
        conversation_share (`float`, *optional*, defaults to 1.0):
            Conversation rows that an epoch shows, as a share of all. Category rows are all shown.
        frozen (`list[str]`, *optional*):
            Parts that are not trained, by their names in [`EmoLlamaModel`]: `vision_tower`,
            `face_model`, `frame_tokens`, `face_info_mining`, `language_model`; what lies within one
            with a dot: `frame_tokens.qformer`. LoRA trains nothing but itself and
            `lora_modules_to_save`.
        scratch (`dict`, *optional*):
            For a model from scratch: `face`, `tower`, `tokenizer` and `model`; see
            [`emo_llama.training.scratch`]. Without it training starts from `model_name_or_path`.
        encoders (`str`, *optional*):
            Work folder of an earlier run whose instruction data and encoders are taken, or a
            finished model of this recipe whose encoders are, so that only the tuning differs.
        tower (`str`, *optional*, defaults to `"generic"`):
            Vision tower of a model from scratch: `"generic"`, as `scratch.tower` says, or `"face"`,
            the face network's own backbone, which has learned the same votes.
        face_info_mining (`str`, *optional*, defaults to `"both"`):
            Clues of a model from scratch: `"both"`, `"global"`, `"local"` or `"off"`.
        augment_faces (`int`, *optional*, defaults to 0):
            For data that are face crops: side, in pixels, at which they are shown in grey, each
            time with the random changes of [`emo_llama.training.augmentation`]. 0 shows them as
            they are.
        export_to (`str`, *optional*):
            Folder that receives the finished model; an older one is replaced.
    """

    data: str | None = None
    conversation_share: float = 1.0
    frozen: list[str] = field(default_factory=lambda: ["vision_tower", "face_model"])
    scratch: dict[str, Any] | None = None
    encoders: str | None = None
    tower: Literal["generic", "face"] = "generic"
    face_info_mining: Literal["both", "global", "local", "off"] = "both"
    augment_faces: int = 0
    export_to: str | None = None
