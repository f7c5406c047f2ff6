"""The face network of a model that is put together: its configuration, weights and pictures.

It comes from a folder that `emo-llama convert facexformer` wrote, or out of a finished model.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emo_llama.conversion.checkpoints import Tensors, read_shards, shard_files
from emo_llama.errors import DataFormatError
from emo_llama.loading import find_model
from emo_llama.modeling import EmoLlamaConfig, EmoLlamaImageProcessor, FaceXFormerConfig

__all__ = ["PREFIX", "FacePart"]

PREFIX = "model.face_model."
_PICTURES = ("face_image_mean", "face_image_std", "face_margin", "do_grayscale_face")


@dataclass(frozen=True, slots=True)
class FacePart:
    """A face network in a folder.

    Args:
        folder (`Path`): The folder.
        config ([`FaceXFormerConfig`]): The network's configuration.
    """

    folder: Path
    config: FaceXFormerConfig

    @classmethod
    def read(cls, model: str | Path | None) -> "FacePart":
        """Finds a face network; its weights are not read yet.

        Args:
            model (`str` or `Path`, *optional*):
                A folder or Hub repository with a face network or a finished model; `None` for the
                embedded model.

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
        if config is None or config.get("model_type") != FaceXFormerConfig.model_type:
            raise DataFormatError(
                f"{path}: expected a face network, found {kind!r}. Name a folder that "
                "`emo-llama convert facexformer` wrote, or a finished model."
            )
        return cls(folder, FaceXFormerConfig.from_dict(config))

    def tensors(self) -> Tensors:
        """The weights by their names in [`EmoLlamaForConditionalGeneration`].

        Returns:
            `dict[str, torch.Tensor]`: The weights.

        Raises:
            InputNotFoundError: There is no weight file.
            DataFormatError: A weight file is damaged.
        """
        tensors: Tensors = {}
        for shard in read_shards(shard_files(self.folder)):
            for key, tensor in shard.items():
                if key.startswith(PREFIX):
                    tensors[key] = tensor
                elif not key.startswith(("model.", "lm_head.")):
                    tensors[PREFIX + key] = tensor
        return tensors

    def picture_settings(self) -> dict[str, Any]:
        """How face crops must be prepared for this network.

        Returns:
            `dict[str, Any]`: Settings of [`EmoLlamaImageProcessor`].
        """
        settings: dict[str, Any] = {"do_face_crop": True, "face_size": self.config.image_size}
        if (self.folder / "processor_config.json").is_file():  # a model of this project
            known = EmoLlamaImageProcessor.from_pretrained(self.folder)
            settings |= {key: getattr(known, key) for key in _PICTURES}
        return settings
