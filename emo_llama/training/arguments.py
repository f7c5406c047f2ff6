"""What a training recipe may say beside TRL's own settings."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class RecipeArguments:
    """Settings of `emo-llama train` that [`trl.SFTConfig`] and [`trl.ModelConfig`] do not have.

    Args:
        data (`str`, *optional*):
            Folder that `emo-llama data build` wrote. For a recipe with `scratch` the folder that
            holds the official files: `ferplus/` and `fairface/`.
        category_repeats (`int`, *optional*, defaults to 1):
            How often each category row is shown for each showing of a conversation row.
        frozen (`list[str]`, *optional*):
            Parts that are not trained, by their names in [`EmoLlamaModel`]: `vision_tower`,
            `face_model`, `frame_tokens`, `face_info_mining`, `language_model`.
        scratch (`dict`, *optional*):
            For a model from scratch: `face`, `tower`, `tokenizer` and `model`; see
            [`emo_llama.training.scratch`]. Without it training starts from `model_name_or_path`.
        export_to (`str`, *optional*):
            Folder that receives the finished model in the form of a Hub folder; an older one is
            replaced.
    """

    data: str | None = None
    category_repeats: int = 1
    frozen: list[str] = field(default_factory=lambda: ["vision_tower", "face_model"])
    scratch: dict[str, Any] | None = None
    export_to: str | None = None
