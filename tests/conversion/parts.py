"""Small parts for composed models: language models with tokenizers, and vision towers."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    Gemma3TextConfig,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    SmolLM3Config,
)

CHATML = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nBe helpful.<|im_end|>\n' }}"
    "{% endif %}{% for m in messages %}"
    "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}"
    "{% endif %}{% for m in messages %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' "
    "else m.role) + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
INST = (
    "{% if messages[0].role == 'system' %}{% set system = '<<SYS>>\n' + messages[0].content + "
    "'\n<</SYS>>\n\n' %}{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}"
    "{% for m in messages %}{% if m.role == 'user' %}"
    "{{ bos_token + '[INST] ' + (system if loop.first else '') + m.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}"
)
# name: special tokens, template, configuration, options
LANGUAGE_MODELS = {
    "llama": (["<s>", "</s>"], INST, LlamaConfig, {}),
    "llama-base": (["<s>", "</s>"], None, LlamaConfig, {}),
    "qwen2": (["<|endoftext|>", "<|im_end|>", "<|im_start|>"], CHATML, Qwen2Config, {}),
    "qwen3": (
        ["<|endoftext|>", "<|im_end|>", "<|im_start|>"],
        CHATML,
        Qwen3Config,
        {"head_dim": 16, "vocab_size": 300},
    ),
    "smollm3": (
        ["<|endoftext|>", "<|im_end|>", "<|im_start|>"],
        CHATML,
        SmolLM3Config,
        {"tie_word_embeddings": True},
    ),
    "gemma3": (
        ["<bos>", "<eos>", "<end_of_turn>", "<start_of_turn>", "<pad>", "<image>", "<video>"],
        GEMMA,
        Gemma3TextConfig,
        {"head_dim": 16, "tie_word_embeddings": True, "sliding_window": 32},
    ),
}
TOWERS = ("siglip", "siglip-whole", "clip", "clip-whole", "dinov2", "eva")


def byte_tokenizer(special, template):
    """One token a byte; with a beginning it is put before every text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*special, *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    begin = next((token for token in special if token in ("<s>", "<bos>")), None)
    if begin:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", special_tokens=[(begin, vocabulary[begin])]
        )
    names = {"bos_token": begin, "eos_token": special[1]}
    if "<pad>" in special:
        names["pad_token"] = "<pad>"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        extra_special_tokens=[token for token in special if token not in names.values()],
        **{key: value for key, value in names.items() if value},
    )
    tokenizer.chat_template = template
    return tokenizer


def write_language_model(folder, kind, dtype=torch.float32, seed=1):
    """A language model folder as the Hub's are, its embedding as large as its tokenizer."""
    special, template, config_class, options = LANGUAGE_MODELS[kind]
    tokenizer = byte_tokenizer(special, template)
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 4096,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": 0 if template is CHATML else 1,
        "pad_token_id": tokenizer.pad_token_id,
    }
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config_class(**(sizes | options)), dtype=dtype)
    model.generation_config.repetition_penalty = 1.5
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Small\n")
    return folder


def write_tower(folder, kind, dtype=torch.float32, pictures=True):
    """A folder with a tower of 4 x 4 patches, and the picture settings of its kind."""
    vision = {
        "hidden_size": 24,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 56,
        "patch_size": 14,
    }
    text = {**vision, "vocab_size": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    torch.manual_seed(2)
    if kind == "siglip":
        model = SiglipVisionModel(SiglipVisionConfig(**vision))
    elif kind == "siglip-whole":
        model = SiglipModel(SiglipConfig(vision_config=vision, text_config=text))
    elif kind == "clip":
        model = CLIPVisionModel(CLIPVisionConfig(**vision))
    elif kind == "clip-whole":
        model = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=8))
    elif kind == "dinov2":  # trained at another size than it is used at
        model = Dinov2Model(Dinov2Config(**(vision | {"image_size": 70})))
    else:
        qformer = {key: text[key] for key in text if key not in ("image_size", "patch_size")}
        llama = {"model_type": "llama", **qformer}
        model = InstructBlipForConditionalGeneration(
            InstructBlipConfig(
                vision_config=vision | {"initializer_range": 0.02},
                qformer_config=qformer,
                text_config=llama,
            )
        )
    model.to(dtype).save_pretrained(folder)
    if pictures and kind.startswith("siglip"):
        SiglipImageProcessor(size={"height": 56, "width": 56}).save_pretrained(folder)
    elif pictures:
        CLIPImageProcessor(
            size={"shortest_edge": 64},
            crop_size={"height": 56, "width": 56},
            image_mean=[0.4, 0.5, 0.6],
            resample=2,
        ).save_pretrained(folder)
    return folder
