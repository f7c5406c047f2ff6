"""The model card of an exported folder, where the model brings none of its own.

Says only what the folder itself can tell: parts, sizes, labels, how to use it and what it is not
for. Measured numbers belong into the card that a training run writes.
"""

from string import Template
from typing import Any

from huggingface_hub import ModelCardData

from emo_llama.modeling import EmoLlamaConfig

__all__ = ["MODEL_FACTS", "model_card", "with_repository"]

MODEL_FACTS: dict[str, Any] = {
    "library_name": "transformers",
    "pipeline_tag": "image-text-to-text",
    "tags": ["emo-llama", "facial-expression-recognition", "custom_code"],
}
"""What the Hub is told of every model of this project."""

_CARD = Template(
    """
# $name

An EMO-LLaMA model: it names the facial expression of a person in an image or video and says what
shows it. The architecture follows [EMO-LLaMA](https://arxiv.org/abs/2408.11424) as far as it is
public; the weights are not those of its authors. The code in this folder is Apache-2.0. The weights
are bound by the licences of the models and data that they were made from.

| part | here |
|---|---|
| parameters | $parameters |
| vision tower | $vision |
| language model | $text |
| face network | $face |
| visual tokens a frame | $tokens ($compress) |
| labels | $labels |

## Use

```python
from transformers import AutoModelForImageTextToText, AutoProcessor

path = "."  # this folder
model = AutoModelForImageTextToText.from_pretrained(path, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(path, trust_remote_code=True)
messages = [
    {
        "role": "user",
        "content": [
            {"type": "image", "image": "photo.jpg"},
            {"type": "text", "text": "Describe the expression of the person in this image."},
        ],
    }
]
inputs = processor.apply_chat_template(
    messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
)
print(processor.batch_decode(model.generate(**inputs, max_new_tokens=64)))
```

`trust_remote_code=True` runs the Python files of this folder: read them, and name a `revision` when
you load them from the Hub. Without `face_boxes` the processor takes the whole image for the face;
give boxes by `processor_kwargs={"face_boxes": [(x0, y0, x1, y1)]}`. `pip install emo-llama` brings
face detection, label probabilities and the command line.

## Limits

- The model names how a face looks to others, not what a person feels.
- Its answers follow its training data, also in how well they fit people of different age, gender
  and skin. Measure this on your own data before you rely on it.
- Inferring emotions at work and in education is prohibited in the European Union (AI Act, Article
  5(1)(f)) except for medical and safety reasons.
"""
)


def model_card(name: str, config: EmoLlamaConfig, num_parameters: int) -> str:
    """Write a model card from what a model's configuration says.

    Args:
        name (`str`):
            Title of the card.
        config ([`EmoLlamaConfig`]):
            The model's configuration.
        num_parameters (`int`):
            Number of weights.

    Returns:
        `str`: Markdown with the front matter that the Hub reads.

    Example:
    ```python
    >>> from emo_llama.hub.card import model_card
    >>> from emo_llama.testing import tiny_config

    >>> model_card("tiny", tiny_config(), 1000).splitlines()[0]
    '---'

    ```
    """
    face = config.face_config
    head = ModelCardData(**MODEL_FACTS)
    body = _CARD.substitute(
        name=name,
        parameters=f"{num_parameters:,}",
        vision=config.vision_config.model_type,
        text=config.text_config.model_type,
        face="none" if face is None else f"FaceXFormer over {face.backbone_config.model_type}",
        tokens=config.num_tokens_per_frame,
        compress=f"compress {config.compress}",
        labels=", ".join(config.id2label[index] for index in sorted(config.id2label)),
    )
    return f"---\n{head.to_yaml()}\n---\n{body}"


IN_A_FOLDER = {
    'path = "."  # this folder': 'path = "{repo}"',
    'load_dataset("this folder"': 'load_dataset("{repo}"',
    'load("USER/facial_expression")  # or the path of this folder': 'load("{repo}")',
    "from emo_llama.dataset_builders.stripping import join_pictures": (
        "from huggingface_hub import snapshot_download\n\n"
        "from emo_llama.dataset_builders.stripping import join_pictures"
    ),
    'join_pictures("this folder"': (
        'join_pictures(snapshot_download("{repo}", repo_type="dataset")'
    ),
}
"""Usage in the cards of a folder, and the same of a repository."""


def with_repository(card: str, repo: str) -> str:
    """Makes the usage in a card that of a repository; a card in other words stays as it is.

    Args:
        card (`str`):
            A card of a folder.
        repo (`str`):
            The repository, as `team/name`.

    Returns:
        `str`: The card to publish.

    Example:
    ```python
    >>> from emo_llama.hub.card import with_repository

    >>> with_repository('path = "."  # this folder', "team/name")
    'path = "team/name"'

    ```
    """
    for folder, repository in IN_A_FOLDER.items():
        card = card.replace(folder, repository.format(repo=repo))
    return card
