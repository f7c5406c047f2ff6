"""EMO-LLaMA's model, processor and face network, registered with transformers' Auto classes.

The other files of this folder travel to the Hub; this one stays. Importing it makes `AutoModel` and
the other Auto classes use the installed code for local and Hub checkpoints of these model types.
"""

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
    AutoProcessor,
)

from .configuration_emo_llama import EmoLlamaConfig, FaceInfoMiningConfig
from .configuration_facexformer import FaceXFormerConfig
from .image_processing_emo_llama import EmoLlamaImageProcessor
from .modeling_emo_llama import (
    EmoLlamaForConditionalGeneration,
    EmoLlamaModel,
    EmoLlamaPreTrainedModel,
)
from .modeling_face_info_mining import FaceInfoMining
from .modeling_facexformer import FaceXFormerModel, FaceXFormerOutput
from .modeling_outputs_emo_llama import EmoLlamaEncodings
from .processing_emo_llama import EmoLlamaProcessor

AutoConfig.register("emo_llama", EmoLlamaConfig, exist_ok=True)
AutoConfig.register("facexformer", FaceXFormerConfig, exist_ok=True)
# As Hub chat models do, `AutoModel` gives the model that can generate. Clients of language models,
# as PEFT's AutoPeftModelForCausalLM, ask for a causal one.
for auto_class in (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
):
    auto_class.register(EmoLlamaConfig, EmoLlamaForConditionalGeneration, exist_ok=True)
AutoModel.register(FaceXFormerConfig, FaceXFormerModel, exist_ok=True)
AutoImageProcessor.register(
    EmoLlamaConfig, image_processor_classes={"pil": EmoLlamaImageProcessor}, exist_ok=True
)
AutoProcessor.register(EmoLlamaConfig, EmoLlamaProcessor, exist_ok=True)

__all__ = [
    "EmoLlamaConfig",
    "EmoLlamaEncodings",
    "EmoLlamaForConditionalGeneration",
    "EmoLlamaImageProcessor",
    "EmoLlamaModel",
    "EmoLlamaPreTrainedModel",
    "EmoLlamaProcessor",
    "FaceInfoMining",
    "FaceInfoMiningConfig",
    "FaceXFormerConfig",
    "FaceXFormerModel",
    "FaceXFormerOutput",
]
