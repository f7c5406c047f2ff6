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
            [`emo_llama.training.scratch.assembling`]. Without it training starts from
            `model_name_or_path`.
        encoders (`str`, *optional*):
            Work folder of an earlier run whose instruction data and encoders are taken, or a
            finished model of this recipe whose encoders are, so that only the tuning differs.
        tower (`str`, *optional*, defaults to `"generic"`):
            Vision tower of a model from scratch: `"generic"`, as `scratch.tower` says, or `"face"`,
            the face network's own backbone, which has learned the same votes. `"off"` leaves any
            model without a tower.
        face_info_mining (`str`, *optional*, defaults to `"both"`):
            Clues that reach the language model: `"both"`, `"global"`, `"local"` or `"off"`. Where
            training starts from a model, `"both"` leaves its module as it is, and the others make a
            fresh one or none.
        augment_faces (`int`, *optional*, defaults to 0):
            For data that are face crops: side, in pixels, at which they are shown in grey, each
            time with the random changes of [`emo_llama.training.data.augmentation`]. 0 shows them
            as they are.
        balance (`float`, *optional*, defaults to 0.0):
            How far rows of rare labels are shown more often than they come, by drawing rows with
            replacement: 0 shows each once, 1 all labels equally often.
        expression_loss (`float`, *optional*, defaults to 0.0):
            Weight of a second loss: the label, read from the face tokens by a linear head that is
            dropped in the end.
        attributes (`str`, *optional*, defaults to `"off"`):
            `"predicted"` puts a sentence with apparent age, gender and race, as the face network
            guesses them, before each first question. Such a model is asked in the same way.
        prior_correction (`float`, *optional*, defaults to 0.0):
            How far the finished model's probabilities make up for rare labels: 0 not, 1 as if all
            came equally often. Trades accuracy for recall of the rare ones.
        operating_points (`dict[str, float]`, *optional*):
            Further such corrections by name, stored in the checkpoint for a caller to choose from.
        ema_decay (`float`, *optional*, defaults to 0.0):
            Of the running average of the trained weights, a step; the average is what is kept. 0
            keeps the last weights.
        early_stopping_patience (`int`, *optional*, defaults to 0):
            Ends after so many evaluations (`eval_steps`) without a better likelihood of the
            validation answers, and keeps the best weights. 0 goes on to the end.
        feature_cache (`str`, *optional*):
            Folder in which the answers of the frozen encoders are kept, so that each picture passes
            through them once; runs over the same encoders and pictures share it.
        feature_views (`int`, *optional*, defaults to 1):
            How often each picture is kept, changed at random, where `augment_faces` is on.
        export_to (`str`, *optional*):
            Folder that receives the finished model; an older one is replaced.
    """

    data: str | None = None
    conversation_share: float = 1.0
    frozen: list[str] = field(default_factory=lambda: ["vision_tower", "face_model"])
    scratch: dict[str, Any] | None = None
    encoders: str | None = None
    tower: Literal["generic", "face", "off"] = "generic"
    face_info_mining: Literal["both", "global", "local", "off"] = "both"
    augment_faces: int = 0
    balance: float = 0.0
    expression_loss: float = 0.0
    attributes: Literal["off", "predicted"] = "off"
    prior_correction: float = 0.0
    operating_points: dict[str, float] = field(default_factory=dict)
    ema_decay: float = 0.0
    early_stopping_patience: int = 0
    feature_cache: str | None = None
    feature_views: int = 1
    export_to: str | None = None
