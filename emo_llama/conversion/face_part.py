"""The face network of a model that is put together: its configuration, weights and pictures.

It comes from a folder that `emo-llama convert` wrote, out of a finished model, or is made around a
convolutional backbone of transformers, whose knowledge it takes; its own heads are fresh then.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from emo_llama.conversion.checkpoints import Tensors, read_shards, shard_files
from emo_llama.conversion.parts import PICTURE_FILES, TowerPart
from emo_llama.errors import DataFormatError
from emo_llama.loading import find_model
from emo_llama.modeling import (
    EmoLlamaConfig,
    EmoLlamaImageProcessor,
    FaceXFormerConfig,
    FaceXFormerModel,
)

__all__ = ["FRESH", "PREFIX", "FacePart", "face_network"]

PREFIX = "model.face_model."
FRESH: dict[str, Any] = {
    "hidden_size": 128,
    "num_attention_heads": 4,
    "mlp_dim": 256,
    "use_pooled_map": True,
    "untrained_heads": [
        *("landmarks", "head_pose", "attributes", "visibility"),
        *("age", "gender", "race", "segmentation"),
    ],
}
"""What is put around a backbone that knows pictures but answers no task."""
_PICTURES = ("face_image_mean", "face_image_std", "face_margin", "do_grayscale_face")


@dataclass(frozen=True, slots=True)
class FacePart:
    """A face network in a folder.

    Args:
        folder (`Path`): The folder.
        config ([`FaceXFormerConfig`]): The network's configuration.
        tower ([`TowerPart`], *optional*):
            The backbone, where the folder holds nothing else.
    """

    folder: Path
    config: FaceXFormerConfig
    tower: TowerPart | None = None

    @classmethod
    def read(cls, model: str | Path | None) -> "FacePart":
        """Finds a face network; its weights are not read yet.

        Args:
            model (`str` or `Path`, *optional*):
                A folder or Hub repository with a face network, a finished model or a convolutional
                backbone of transformers; `None` for the embedded model.

        Returns:
            [`FacePart`]: The network.

        Raises:
            ModelNotFoundError: There is no such folder.
            DataFormatError: It holds no face network.
        """
        folder = find_model(model)
        path = folder / "config.json"
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
            kind = config.get("model_type")
            if kind == EmoLlamaConfig.model_type:
                config = config["face_config"]
                kind = "emo_llama without a face network" if config is None else kind
        except (ValueError, KeyError, AttributeError) as error:
            raise DataFormatError(
                f"{path}: expected a configuration ({error!r}). Fetch the file again."
            ) from error
        if isinstance(kind, str) and kind in CONFIG_MAPPING_NAMES:
            return cls._around(folder, kind)
        if config is None or config.get("model_type") != FaceXFormerConfig.model_type:
            raise DataFormatError(
                f"{path}: expected a face network, found {kind!r}. Name a folder that "
                "`emo-llama convert` wrote, or a finished model."
            )
        return cls(folder, FaceXFormerConfig.from_dict(config))

    @classmethod
    def _around(cls, folder: Path, kind: str) -> "FacePart":
        """A backbone of transformers with fresh parts around it."""
        try:
            tower = TowerPart(str(folder))
            config = FaceXFormerConfig(
                backbone_config=tower.settings(), image_size=tower.image_settings["size"], **FRESH
            )
            with torch.device("meta"):
                FaceXFormerModel(config)
        except (ValueError, RuntimeError, TypeError, AttributeError) as error:
            raise DataFormatError(
                f"{folder / 'config.json'}: expected a face network, or a convolutional backbone "
                f"with maps at strides 4 to 32, found {kind!r} ({str(error).splitlines()[0]}). "
                "Name a folder that `emo-llama convert` wrote, or a finished model."
            ) from error
        return cls(folder, config, tower)

    def tensors(self) -> Tensors:
        """The weights by their names in [`EmoLlamaForConditionalGeneration`].

        Returns:
            `dict[str, torch.Tensor]`: The weights.

        Raises:
            InputNotFoundError: There is no weight file.
            DataFormatError: A weight file is damaged.
        """
        if self.tower is not None:
            network = face_network(self.config, self.tower.load(None).state_dict())
            return {PREFIX + key: tensor for key, tensor in network.state_dict().items()}
        tensors: Tensors = {}
        for shard in read_shards(shard_files(self.folder)):
            for key, tensor in shard.items():
                if key.startswith(PREFIX):
                    tensors[key] = tensor
                elif not key.startswith(("model.", "lm_head.")):
                    tensors[PREFIX + key] = tensor
        return tensors

    def image_settings(self) -> dict[str, Any]:
        """How face crops must be prepared for this network.

        Returns:
            `dict[str, Any]`: Settings of [`EmoLlamaImageProcessor`].
        """
        settings: dict[str, Any] = {"do_face_crop": True, "face_size": self.config.image_size}
        if self.tower is not None:
            known = self.tower.image_settings
            return settings | {f"face_{key}": known[key] for key in ("image_mean", "image_std")}
        if any((self.folder / name).is_file() for name in PICTURE_FILES):  # of this project
            own = EmoLlamaImageProcessor.from_pretrained(self.folder)
            settings |= {key: getattr(own, key) for key in _PICTURES}
        return settings


def face_network(config: FaceXFormerConfig, backbone: Tensors, seed: int = 0) -> FaceXFormerModel:
    """Puts fresh parts around a backbone.

    Args:
        config ([`FaceXFormerConfig`]): Of the whole network.
        backbone (`dict[str, torch.Tensor]`): The backbone's weights, by its own names.
        seed (`int`, *optional*, defaults to 0):
            Of the fresh parts; the global generator is left as it was.

    Returns:
        [`FaceXFormerModel`]: In evaluation.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = FaceXFormerModel(config).eval()
    network.backbone.load_state_dict(backbone)
    return network
