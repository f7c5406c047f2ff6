# Copyright 2026 The emo-llama authors. Licensed under the Apache License, Version 2.0.
"""EMO-LLaMA: images and videos of faces in, text out.

The whole way: tower -> text-guided frame tokens -> face tokens (Face Info Mining) -> scattered over
the placeholders of the prompt -> language model. Decides where visual tokens enter; the sub-models
are transformers' own, by configuration. It leaves out how pictures become tensors (the processor)
and how the model is trained.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, Cache, GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.modeling_utils import slice_logits_to_keep
from transformers.processing_utils import Unpack
from transformers.utils import (
    ModelOutput,
    TransformersKwargs,
    can_return_tuple,
    torch_compilable_check,
)

from .configuration_emo_llama import EmoLlamaConfig
from .modeling_face_info_mining import FaceInfoMining, keep_scale
from .modeling_facexformer import FaceXFormerModel
from .modeling_frame_tokens import EmoLlamaFrameTokens, build_vision_tower
from .modeling_outputs_emo_llama import (
    CACHE_NAME,
    CACHE_NAMES,
    FACE_FIELDS,
    EmoLlamaCausalLMOutputWithPast,
    EmoLlamaEncodings,
    EmoLlamaModelOutputWithPast,
)


class EmoLlamaPreTrainedModel(PreTrainedModel):
    """Base of both model classes: configuration, initialisation and what is supported."""

    config: EmoLlamaConfig
    config_class = EmoLlamaConfig
    base_model_prefix = "model"
    input_modalities = ("image", "video", "text")
    supports_gradient_checkpointing = True
    _no_split_modules = ["InstructBlipEncoderLayer", "InstructBlipQFormerLayer", "FaceInfoMining"]
    _skip_keys_device_placement = list(CACHE_NAMES)
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        std = self.config.qformer_config.initializer_range
        if isinstance(module, EmoLlamaFrameTokens):
            init.normal_(module.query_tokens, std=std)
            keep_scale(module)
            keep_scale(module.content_projector)  # it has no parameter of its own: never passed
        elif isinstance(module, FaceInfoMining):
            module.init_weights(std)


class EmoLlamaModel(EmoLlamaPreTrainedModel):
    """Tower, frame tokens, face tokens and language model, without the language modelling head.

    Args:
        config ([`EmoLlamaConfig`]): What it is put together from.
    """

    def __init__(self, config: EmoLlamaConfig) -> None:
        super().__init__(config)
        has_frames = config.use_frame_tokens
        self.vision_tower = build_vision_tower(config) if has_frames else None
        self.frame_tokens = EmoLlamaFrameTokens(config) if has_frames else None
        has_face, has_fim = config.face_config is not None, config.num_face_tokens > 0
        self.face_model = FaceXFormerModel._from_config(config.face_config) if has_face else None
        self.face_info_mining = FaceInfoMining(config) if has_fim else None
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    def train(self, mode: bool = True) -> "EmoLlamaModel":
        """Set the training mode; frozen encoders stay in evaluation mode.

        Otherwise the batch statistics of a frozen convolutional network would drift while the rest
        is trained.

        Args:
            mode (`bool`, *optional*, defaults to `True`): Training or evaluation.

        Returns:
            [`EmoLlamaModel`]: Itself.
        """
        super().train(mode)
        qformer = self.frame_tokens.qformer if self.frame_tokens is not None else None
        for encoder in (self.vision_tower, self.face_model, qformer):
            if encoder is not None and not _is_trainable(encoder):
                encoder.eval()
        return self

    def encode(
        self,
        pixel_values: torch.Tensor | None = None,
        face_pixel_values: torch.Tensor | None = None,
        face_mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> EmoLlamaEncodings:
        """Run the encoders, each once: what every question about the pictures is answered from.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(N, 3, H, W)`, *optional*):
                Images or frames; read where the model has a tower.
            face_pixel_values (`torch.FloatTensor` of shape `(N, 3, h, w)`, *optional*):
                Their face crops; read where the model has a face network.
            face_mask (`torch.BoolTensor` of shape `(N,)`, *optional*): False where the crop holds
                no face. Without it every crop does; without crops no picture has a face.
            kwargs (`dict`, *optional*): For the tower, as `output_hidden_states`.

        Returns:
            [`EmoLlamaEncodings`]: A row a picture.
        """
        vision = ModelOutput()
        if self.vision_tower is not None and pixel_values is not None:
            vision = self._run_tower(pixel_values, **kwargs)
        return EmoLlamaEncodings(
            vision_states=vision.get("last_hidden_state"),
            hidden_states=vision.get("hidden_states"),
            attentions=vision.get("attentions"),
            **self._encode_faces(pixel_values, face_pixel_values, face_mask),
        )

    def _encode_faces(
        self,
        pixel_values: torch.Tensor | None,
        face_pixel_values: torch.Tensor | None,
        face_mask: torch.Tensor | None,
    ) -> dict[str, torch.Tensor]:
        """The fields that the face network fills, without gradients where it is frozen."""
        if self.face_model is None:
            return {}
        if face_pixel_values is None:
            is_seen = pixel_values is None or self.vision_tower is not None
            # Where there is no tower, the mask alone tells how many pictures there are.
            return {} if is_seen else {"face_mask": _rows_of(pixel_values, False)}
        with torch.set_grad_enabled(torch.is_grad_enabled() and _is_trainable(self.face_model)):
            seen = self.face_model.encode(face_pixel_values.to(self.face_model.dtype))
            guesses = self.face_model.read_attributes(seen[1])
        mask = _rows_of(face_pixel_values, True) if face_mask is None else face_mask.bool()
        return dict(zip(FACE_FIELDS, (*seen, *guesses, mask), strict=True))

    def get_frame_features(
        self,
        pixel_values: torch.Tensor | None = None,
        qformer_input_ids: torch.Tensor | None = None,
        qformer_attention_mask: torch.Tensor | None = None,
        vision_states: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Tokens of each frame before the Face Info Mining module.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(N, 3, H, W)`, *optional*): Frames.
            qformer_input_ids (`torch.LongTensor` of shape `(N, L)` or `(1, L)`, *optional*):
                The question asked of each frame, or one asked of all. One frame may also be asked
                several questions.
            qformer_attention_mask (`torch.LongTensor` of the same shape, *optional*): Its mask.
            vision_states (`torch.FloatTensor` of shape `(N, S, C)` or `(N, C, h, w)`, *optional*):
                Features of the tower that were computed before (long videos), instead of
                `pixel_values`.

        Returns:
            `torch.FloatTensor` of shape `(N, 1 + content, D)`: Context token first.

        Raises:
            ValueError: Neither or both inputs are given, or questions and frames do not match.
        """
        if (pixel_values is None) == (vision_states is None):
            raise ValueError("Give exactly one of pixel_values and vision_states.")
        if vision_states is None:
            vision_states = self._run_tower(pixel_values).last_hidden_state
        if vision_states.ndim == 4:  # a convolutional tower: (N, C, h, w)
            vision_states = vision_states.flatten(2).transpose(1, 2)
        if qformer_input_ids is not None and vision_states.shape[0] == 1:
            vision_states = vision_states.expand(qformer_input_ids.shape[0], -1, -1)
        frames = vision_states.shape[0]
        return self.frame_tokens(
            vision_states,
            _match_rows(qformer_input_ids, frames),
            _match_rows(qformer_attention_mask, frames),
        )

    def get_face_features(
        self,
        encodings: EmoLlamaEncodings,
        qformer_input_ids: torch.Tensor | None = None,
        qformer_attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Face tokens of each frame.

        Args:
            encodings ([`EmoLlamaEncodings`]): What [`EmoLlamaModel.encode`] gave.
            qformer_input_ids (`torch.LongTensor` of shape `(N, L)`, *optional*): The question.
            qformer_attention_mask (`torch.LongTensor` of shape `(N, L)`, *optional*): Its mask.

        Returns:
            `torch.FloatTensor` of shape `(N, face_tokens_per_frame, D)`: The learned "no face"
            embedding where there is none.
        """
        seen = (encodings.feature_map, encodings.task_tokens, encodings.landmarks)
        features = None if encodings.feature_map is None else seen
        questions = (qformer_input_ids, qformer_attention_mask, encodings.num_frames)
        return self.face_info_mining(features, encodings.face_mask, *questions)

    @can_return_tuple
    def get_image_features(
        self,
        pixel_values: torch.Tensor | None = None,
        qformer_input_ids: torch.Tensor | None = None,
        qformer_attention_mask: torch.Tensor | None = None,
        face_pixel_values: torch.Tensor | None = None,
        face_mask: torch.Tensor | None = None,
        encodings: EmoLlamaEncodings | Mapping[str, torch.Tensor] | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPooling | tuple:
        """Visual tokens of each image.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(N, 3, H, W)`, *optional*): Images.
            qformer_input_ids (`torch.LongTensor` of shape `(N, L)`, *optional*): Questions.
            qformer_attention_mask (`torch.LongTensor` of shape `(N, L)`, *optional*): Their mask.
            face_pixel_values (`torch.FloatTensor` of shape `(N, 3, h, w)`, *optional*): Faces.
            face_mask (`torch.BoolTensor` of shape `(N,)`, *optional*): False where there is none.
            encodings ([`EmoLlamaEncodings`] or `dict`, *optional*):
                What [`EmoLlamaModel.encode`] gave, instead of images and faces.
            kwargs (`dict`, *optional*): For the tower, as `output_hidden_states`.

        Returns:
            `BaseModelOutputWithPooling`: `last_hidden_state` of the tower (`None` where the model
            has none) and, in `pooler_output`, all tokens `(N, num_tokens_per_frame, D)`.

        Raises:
            ValueError: Neither or both of pixels and encodings came.
        """
        if encodings is None and pixel_values is not None:
            faces = (face_pixel_values, face_mask) if self.face_info_mining is not None else ()
            seen = self.encode(pixel_values, *faces, **kwargs)
        else:
            seen = _only(encodings, pixel_values, face_pixel_values, face_mask)
        frames, tokens = seen.num_frames, []
        ids = _match_rows(qformer_input_ids, frames)
        mask = _match_rows(qformer_attention_mask, frames)
        if self.vision_tower is not None:
            tokens.append(self.get_frame_features(None, ids, mask, seen.vision_states))
        if self.face_info_mining is not None:
            faces = self.get_face_features(seen, ids, mask)
            tokens.append(faces.to(tokens[0].dtype) if tokens else faces)
        return BaseModelOutputWithPooling(
            last_hidden_state=seen.vision_states,
            pooler_output=torch.cat(tokens, dim=1),  # (N, tokens, D)
            hidden_states=seen.hidden_states,
            attentions=seen.attentions,
        )

    @can_return_tuple
    def get_video_features(
        self,
        pixel_values_videos: torch.Tensor | None = None,
        frame_counts: torch.Tensor | None = None,
        qformer_input_ids_videos: torch.Tensor | None = None,
        qformer_attention_mask_videos: torch.Tensor | None = None,
        face_pixel_values_videos: torch.Tensor | None = None,
        face_mask_videos: torch.Tensor | None = None,
        encodings_videos: EmoLlamaEncodings | Mapping[str, torch.Tensor] | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPooling | tuple:
        """Visual tokens of each video: those of its frames, one frame after another.

        Args:
            pixel_values_videos (`torch.Tensor` of shape `(n_frames, 3, H, W)`, *optional*): All
                frames. Videos of one length may also come as `(n_videos, frames, 3, H, W)`, their
                faces and face masks likewise.
            frame_counts (`torch.LongTensor` of shape `(n_videos,)`, *optional*):
                Frames of each video. Without it all frames of four dimensions are one video's.
            qformer_input_ids_videos (`torch.LongTensor` of shape `(n_videos, L)`, *optional*):
                One question a video.
            qformer_attention_mask_videos (`torch.LongTensor` of the same shape, *optional*):
                Their mask.
            face_pixel_values_videos (`torch.Tensor` of shape `(n_frames, 3, h, w)`, *optional*):
                Faces.
            face_mask_videos (`torch.BoolTensor` of shape `(n_frames,)`, *optional*):
                False where there is none.
            encodings_videos ([`EmoLlamaEncodings`] or `dict`, *optional*):
                What [`EmoLlamaModel.encode`] gave for all frames, instead of frames and faces.
            kwargs (`dict`, *optional*): For the tower, as `output_hidden_states`.

        Returns:
            `BaseModelOutputWithPooling`: As for images; in `pooler_output` a tuple of
            `(frames * num_tokens_per_frame, D)`, one a video.

        Raises:
            ValueError: `frame_counts` do not sum to the number of frames, the number of questions
                is not the number of videos, or neither or both of pixels and encodings came.
        """
        frames, faces, mask = pixel_values_videos, face_pixel_values_videos, face_mask_videos
        if frames is None:
            encodings_videos = _only(encodings_videos, frames, faces, mask)
        leading = (encodings_videos.num_frames,) if frames is None else frames.shape[:-3]
        counts = _count_frames(leading, frame_counts)
        outputs = self.get_image_features(
            None if frames is None else frames.flatten(0, -4),  # (n_frames, 3, H, W)
            _repeat_for_frames(qformer_input_ids_videos, counts),
            _repeat_for_frames(qformer_attention_mask_videos, counts),
            None if faces is None else faces.flatten(0, -4),
            None if mask is None else mask.flatten(),
            encodings_videos,
            return_dict=True,
            **kwargs,
        )
        videos = outputs.pooler_output.split(counts)  # (frames, tokens, D) each
        outputs.pooler_output = tuple(video.flatten(0, 1) for video in videos)
        return outputs

    def get_placeholder_mask(
        self,
        input_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor,
        features: torch.Tensor,
        token_id: int,
    ) -> torch.Tensor:
        """Where the visual tokens of one kind belong.

        Args:
            input_ids (`torch.LongTensor` of shape `(B, T)` or `None`): The prompt's ids; `None`
                finds placeholders by their embedding.
            inputs_embeds (`torch.FloatTensor` of shape `(B, T, D)`): The prompt's embeddings.
            features (`torch.FloatTensor` of shape `(n_tokens, D)`): The visual tokens.
            token_id (`int`): The placeholder.

        Returns:
            `torch.BoolTensor` of shape `(B, T, 1)`: True at the placeholders.

        Raises:
            ValueError: The numbers of placeholders and of visual tokens differ.
        """
        if input_ids is None:
            token = torch.tensor(token_id, device=inputs_embeds.device)
            mask = (inputs_embeds == self.get_input_embeddings()(token)).all(-1)
        else:
            mask = input_ids == token_id
        kind = "image" if token_id == self.config.image_token_id else "video"
        torch_compilable_check(
            mask.sum() == features.shape[0],
            lambda: (
                f"The prompt holds {int(mask.sum())} {kind} placeholder tokens, but the {kind}s "
                f"give {features.shape[0]} visual tokens ({self.config.num_tokens_per_frame} a "
                "frame). Let the processor expand the prompt."
            ),
        )
        return mask.unsqueeze(-1).to(inputs_embeds.device)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        pixel_values_videos: torch.Tensor | None = None,
        frame_counts: torch.Tensor | None = None,
        qformer_input_ids: torch.Tensor | None = None,
        qformer_attention_mask: torch.Tensor | None = None,
        qformer_input_ids_videos: torch.Tensor | None = None,
        qformer_attention_mask_videos: torch.Tensor | None = None,
        face_pixel_values: torch.Tensor | None = None,
        face_mask: torch.Tensor | None = None,
        face_pixel_values_videos: torch.Tensor | None = None,
        face_mask_videos: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        cache: Cache | None = None,
        encodings: EmoLlamaEncodings | Mapping[str, torch.Tensor] | None = None,
        encodings_videos: EmoLlamaEncodings | Mapping[str, torch.Tensor] | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> EmoLlamaModelOutputWithPast | tuple:
        """Run the language model over a prompt whose placeholders hold visual tokens.

        The inputs are those of the table in `configuration_emo_llama`, and of every causal language
        model of transformers. `encodings` and `encodings_videos` may be what `encode` gave of the
        images and of the frames, instead of pixels; `mm_encoder_outputs` may hold what
        `get_image_features` ("image") and `get_video_features` ("video") gave: generation uses it.

        Returns:
            [`EmoLlamaModelOutputWithPast`]: Hidden states, cache and the visual tokens.

        Raises:
            ValueError: Not exactly one of `input_ids` and `inputs_embeds` came, pixels or encodings
                came together with one another or with `mm_encoder_outputs`, placeholders and visual
                tokens differ, or a visual token is not finite.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give exactly one of input_ids and inputs_embeds.")
        encoded = dict(mm_encoder_outputs or {})
        has_images = pixel_values is not None or encodings is not None
        has_videos = pixel_values_videos is not None or encodings_videos is not None
        if encoded and (has_images or has_videos):
            raise ValueError("Give either pixels, encodings or mm_encoder_outputs, not both.")
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)  # (B, T, D)
        if has_images:
            questions = (qformer_input_ids, qformer_attention_mask)
            faces = (face_pixel_values, face_mask)
            encoded["image"] = self.get_image_features(
                pixel_values, *questions, *faces, encodings, return_dict=True
            )
        if has_videos:
            questions = (qformer_input_ids_videos, qformer_attention_mask_videos)
            faces = (face_pixel_values_videos, face_mask_videos, encodings_videos)
            encoded["video"] = self.get_video_features(
                pixel_values_videos, frame_counts, *questions, *faces, return_dict=True
            )
        inputs_embeds, features = self._scatter(input_ids, inputs_embeds, encoded)
        outputs = self.language_model(
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            **{CACHE_NAME: _either_cache(cache, past_key_values)},
            **kwargs,
        )
        return EmoLlamaModelOutputWithPast(
            last_hidden_state=outputs.last_hidden_state,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            **{CACHE_NAME: outputs.get(CACHE_NAME)},
            image_hidden_states=features.get("image"),
            video_hidden_states=features.get("video"),
            image_outputs=encoded.get("image"),
            video_outputs=encoded.get("video"),
        )

    def _scatter(
        self,
        input_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor,
        encoded: dict[str, BaseModelOutputWithPooling],
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Put visual tokens in the placeholders' stead; also give them as one tensor a kind."""
        token_ids = {"image": self.config.image_token_id, "video": self.config.video_token_id}
        features = {
            kind: _join(output.pooler_output).to(inputs_embeds)  # (n_tokens, D)
            for kind, output in encoded.items()
        }
        masks = {
            kind: self.get_placeholder_mask(input_ids, inputs_embeds, tokens, token_ids[kind])
            for kind, tokens in features.items()
        }
        for kind, mask in masks.items():
            if not self.training:  # there a scaler of gradients looks for overflow
                self._check_finite(kind, features[kind])
            inputs_embeds = inputs_embeds.masked_scatter(mask, features[kind])
        return inputs_embeds, features

    def _check_finite(self, kind: str, features: torch.Tensor) -> None:
        """One number that is none would make every score none, and the first label the answer."""
        torch_compilable_check(
            features.isfinite().all(),
            lambda: (
                f"{int((~features.isfinite()).any(-1).sum())} of {len(features)} {kind} tokens "
                "hold NaN or infinity. Check that pixels and weights are finite, and try another "
                "dtype where the model runs in half precision."
            ),
        )

    def _run_tower(self, pixel_values: torch.Tensor, **kwargs: Any) -> ModelOutput:
        """Run the tower, without gradients where it is frozen."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and _is_trainable(self.vision_tower)):
            pixel_values = pixel_values.to(self.vision_tower.dtype)
            return self.vision_tower(pixel_values, return_dict=True, **kwargs)


class EmoLlamaForConditionalGeneration(EmoLlamaPreTrainedModel, GenerationMixin):
    """EMO-LLaMA with its language modelling head: answers questions about faces.

    Args:
        config ([`EmoLlamaConfig`]): What it is put together from.

    Example:
    ```python
    >>> import torch
    >>> from emo_llama.testing import tiny_model

    >>> model = tiny_model()
    >>> image = [model.config.image_token_id] * model.config.num_tokens_per_frame
    >>> prompt = torch.tensor([[1, *image, 7, 8]])
    >>> model.generate(prompt, pixel_values=torch.zeros(1, 3, 56, 56), max_new_tokens=3).shape
    torch.Size([1, 10])

    ```
    """

    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}
    _tp_plan = {"lm_head": "colwise_gather_output"}

    def __init__(self, config: EmoLlamaConfig) -> None:
        super().__init__(config)
        text = config.text_config
        self.model = EmoLlamaModel(config)
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)
        # Where something else than `forward` scores or proposes tokens, as prompt lookup does.
        self.generation_config.suppress_tokens = config.placeholder_ids
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        """The language modelling head.

        Returns:
            `nn.Module`: A linear layer from D to the vocabulary.
        """
        return self.lm_head

    def get_frame_features(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Tokens of each frame before the face tokens; see [`EmoLlamaModel.get_frame_features`].

        Args:
            args (`tuple`): `pixel_values`, `qformer_input_ids`, `qformer_attention_mask`.
            kwargs (`dict`): The same by name, or `vision_states`.

        Returns:
            `torch.FloatTensor` of shape `(N, 1 + content, D)`: Context token first.
        """
        return self.model.get_frame_features(*args, **kwargs)

    def encode(self, *args: Any, **kwargs: Any) -> EmoLlamaEncodings:
        """Run the encoders, each once; see [`EmoLlamaModel.encode`].

        Args:
            args (`tuple`): `pixel_values`, `face_pixel_values`, `face_mask`.
            kwargs (`dict`): The same by name.

        Returns:
            [`EmoLlamaEncodings`]: A row a picture.
        """
        return self.model.encode(*args, **kwargs)

    @torch.no_grad()
    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Write on behind a prompt, as every model of transformers; `encodings` may be given.

        Args:
            args (`tuple`): The prompt first.
            kwargs (`dict`): Inputs of `forward` by name, and settings as `max_new_tokens`.

        Returns:
            `torch.LongTensor` of shape `(B, T + new)`, or an output class on request.
        """
        # transformers encodes before the first step, and only pixels.
        ready = dict(kwargs.pop("mm_encoder_outputs", None) or {})
        for kind, name in (("image", "encodings"), ("video", "encodings_videos")):
            if kwargs.get(name) is not None:
                encode = getattr(self.model, f"get_{kind}_features")
                known = kwargs.keys() & inspect.signature(encode).parameters.keys()
                ready[kind] = encode(**{key: kwargs[key] for key in known}, return_dict=True)
                del kwargs[name]
        if ready:
            kwargs["mm_encoder_outputs"] = ready
        return super().generate(*args, **kwargs)

    def get_image_features(
        self, pixel_values: torch.Tensor | None = None, *args: Any, **kwargs: Any
    ) -> BaseModelOutputWithPooling | tuple:
        """Visual tokens of each image; see [`EmoLlamaModel.get_image_features`].

        Args:
            pixel_values (`torch.FloatTensor` of shape `(N, 3, H, W)`, *optional*): Images.
            args (`tuple`): Questions and faces, by place.
            kwargs (`dict`): Questions, faces, encodings and options for the tower, by name.

        Returns:
            `BaseModelOutputWithPooling`: One entry an image in `pooler_output`.
        """
        return self.model.get_image_features(pixel_values, *args, **kwargs)

    def get_video_features(
        self, pixel_values_videos: torch.Tensor | None = None, *args: Any, **kwargs: Any
    ) -> BaseModelOutputWithPooling | tuple:
        """Visual tokens of each video; see [`EmoLlamaModel.get_video_features`].

        Args:
            pixel_values_videos (`torch.Tensor` of shape `(n_frames, 3, H, W)`, *optional*): Frames.
            args (`tuple`): Frame counts, questions and faces, by place.
            kwargs (`dict`): The same, encodings and options for the tower, by name.

        Returns:
            `BaseModelOutputWithPooling`: One entry a video in `pooler_output`.
        """
        return self.model.get_video_features(pixel_values_videos, *args, **kwargs)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        pixel_values_videos: torch.Tensor | None = None,
        frame_counts: torch.Tensor | None = None,
        qformer_input_ids: torch.Tensor | None = None,
        qformer_attention_mask: torch.Tensor | None = None,
        qformer_input_ids_videos: torch.Tensor | None = None,
        qformer_attention_mask_videos: torch.Tensor | None = None,
        face_pixel_values: torch.Tensor | None = None,
        face_mask: torch.Tensor | None = None,
        face_pixel_values_videos: torch.Tensor | None = None,
        face_mask_videos: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        cache: Cache | None = None,
        encodings: EmoLlamaEncodings | Mapping[str, torch.Tensor] | None = None,
        encodings_videos: EmoLlamaEncodings | Mapping[str, torch.Tensor] | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> EmoLlamaCausalLMOutputWithPast | tuple:
        """Score the next tokens of a prompt with images and videos, and their loss.

        Args:
            input_ids (`torch.LongTensor` of shape `(B, T)`, *optional*):
                The prompt, placeholders expanded.
            attention_mask (`torch.LongTensor` of shape `(B, T)`, *optional*): 0 at padding.
            pixel_values (`torch.FloatTensor` of shape `(n_images, 3, H, W)`, *optional*): Images.
            pixel_values_videos (`torch.FloatTensor` of shape `(n_frames, 3, H, W)`, *optional*):
                Frames of all videos; or `(n_videos, frames, 3, H, W)`, with faces likewise.
            frame_counts (`torch.LongTensor` of shape `(n_videos,)`, *optional*): Frames of each.
            qformer_input_ids (`torch.LongTensor` of shape `(n_images, L)`, *optional*):
                The question asked of each image.
            qformer_attention_mask (`torch.LongTensor` of the same shape, *optional*): Its mask.
            qformer_input_ids_videos (`torch.LongTensor` of shape `(n_videos, L)`, *optional*):
                The question asked of each video.
            qformer_attention_mask_videos (`torch.LongTensor`, likewise, *optional*): Its mask.
            face_pixel_values (`torch.FloatTensor` of shape `(n_images, 3, h, w)`, *optional*):
                Face crops of the images.
            face_mask (`torch.BoolTensor` of shape `(n_images,)`, *optional*): False: no face.
            face_pixel_values_videos (`torch.Tensor` of shape `(n_frames, 3, h, w)`, *optional*):
                Face crops of the frames.
            face_mask_videos (`torch.BoolTensor` of shape `(n_frames,)`, *optional*): Likewise.
            position_ids (`torch.LongTensor` of shape `(B, T)`, *optional*): Positions.
            past_key_values (`Cache`, *optional*): Keys and values of what came before.
            inputs_embeds (`torch.FloatTensor` of shape `(B, T, D)`, *optional*):
                Instead of `input_ids`.
            labels (`torch.LongTensor` of shape `(B, T)`, *optional*): Targets; -100 is ignored.
            logits_to_keep (`int` or `torch.LongTensor`, *optional*, defaults to 0):
                Only the last so many positions, or those named; 0 keeps all.
            mm_encoder_outputs (`dict[str, BaseModelOutputWithPooling]`, *optional*):
                "image" and "video" as `get_image_features` and `get_video_features` gave them.
            cache (`Cache`, *optional*): `past_key_values` by its name in transformers 5.24.
            encodings ([`EmoLlamaEncodings`] or `dict`, *optional*):
                What `encode` gave of the images, instead of their pixels, faces and face mask.
            encodings_videos ([`EmoLlamaEncodings`] or `dict`, *optional*): Of all frames, likewise.
            kwargs (`dict`, *optional*): For the language model, as `use_cache`.

        Returns:
            [`EmoLlamaCausalLMOutputWithPast`]: Loss, logits, cache and the visual tokens.

        Raises:
            ValueError: Not exactly one of `input_ids` and `inputs_embeds` came, pixels or encodings
                came together with one another or with `mm_encoder_outputs`, placeholders and visual
                tokens differ, or a visual token is not finite.
        """
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            pixel_values=pixel_values,
            pixel_values_videos=pixel_values_videos,
            frame_counts=frame_counts,
            qformer_input_ids=qformer_input_ids,
            qformer_attention_mask=qformer_attention_mask,
            qformer_input_ids_videos=qformer_input_ids_videos,
            qformer_attention_mask_videos=qformer_attention_mask_videos,
            face_pixel_values=face_pixel_values,
            face_mask=face_mask,
            face_pixel_values_videos=face_pixel_values_videos,
            face_mask_videos=face_mask_videos,
            position_ids=position_ids,
            past_key_values=past_key_values,
            cache=cache,
            inputs_embeds=inputs_embeds,
            mm_encoder_outputs=mm_encoder_outputs,
            encodings=encodings,
            encodings_videos=encodings_videos,
            **kwargs,
        )
        logits = self.lm_head(slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep))
        # Generation suppresses them as well; label scores and the loss know of no such setting.
        logits[..., self.config.placeholder_ids] = torch.finfo(logits.dtype).min
        loss = None
        if labels is not None:
            labels = self._ignore_placeholders(labels)
            kwargs["shift_labels"] = self._ignore_placeholders(kwargs.get("shift_labels"))
            loss = self.loss_function(logits, labels, vocab_size=logits.shape[-1], **kwargs)
        return EmoLlamaCausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            **{name: value for name, value in outputs.items() if name != "last_hidden_state"},
        )

    def _ignore_placeholders(self, labels: torch.Tensor | None) -> torch.Tensor | None:
        """Labels without placeholders: TRL's collator leaves these to the model."""
        if labels is None:
            return None
        placeholders = labels.new_tensor(self.config.placeholder_ids)
        return labels.masked_fill(torch.isin(labels, placeholders), -100)


def _either_cache(cache: Cache | None, past_key_values: Cache | None) -> Cache | None:
    """The cache by whichever name it came."""
    if cache is not None and past_key_values is not None:
        raise ValueError("Give the cache once, as cache or as past_key_values, not as both.")
    return past_key_values if cache is None else cache


def _join(features: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
    """Tokens of images or videos one after another: (n_tokens, D)."""
    # One tensor is not taken apart: its number of images stays free when a graph is exported.
    is_tensor = isinstance(features, torch.Tensor)
    return features.flatten(0, 1) if is_tensor else torch.cat(tuple(features))


def _is_trainable(module: nn.Module) -> bool:
    """Whether any parameter of the module is trained."""
    return any(parameter.requires_grad for parameter in module.parameters())


def _rows_of(pictures: torch.Tensor, is_face: bool) -> torch.Tensor:
    """One mask for all pictures: (N,) bool."""
    return torch.full((pictures.shape[0],), is_face, dtype=torch.bool, device=pictures.device)


def _only(
    encodings: EmoLlamaEncodings | Mapping[str, torch.Tensor] | None,
    *pixels: torch.Tensor | None,
) -> EmoLlamaEncodings:
    """The encodings, where they came without pixels; loaders of batches make them a dictionary."""
    if encodings is None:
        raise ValueError("Give exactly one of pixels and encodings, got neither.")
    if any(tensor is not None for tensor in pixels):
        raise ValueError("Encodings stand for pixels, face crops and face mask: leave these out.")
    return EmoLlamaEncodings(**encodings)


def _match_rows(rows: torch.Tensor | None, frames: int) -> torch.Tensor | None:
    """One row of a question for each frame, from as many rows or from one for all."""
    if rows is None or rows.shape[0] == frames:
        return rows
    if rows.shape[0] != 1:
        raise ValueError(
            f"Questions and frames do not match: {rows.shape[0]} rows of qformer_input_ids for "
            f"{frames} frames. Give one row for each, or one for all."
        )
    return rows.expand(frames, -1)


def _count_frames(leading: Sequence[int], frame_counts: torch.Tensor | None) -> list[int]:
    """Frames of each video: from the counts, or from two leading sizes, or all of one video."""
    videos, frames = leading if len(leading) == 2 else (1, *leading)
    if frame_counts is None:
        return [frames] * videos
    counts = frame_counts.tolist()
    if sum(counts) != videos * frames or (len(leading) == 2 and counts != [frames] * videos):
        raise ValueError(
            f"frame_counts {counts} sum to {sum(counts)}, but came {videos * frames} frames "
            f"{tuple(leading)}. Give videos of unequal length one frame after another."
        )
    return counts


def _repeat_for_frames(rows: torch.Tensor | None, counts: list[int]) -> torch.Tensor | None:
    """One row a video -> one row a frame."""
    if rows is None:
        return None
    if rows.shape[0] != len(counts):
        raise ValueError(
            f"Questions and videos do not match: {rows.shape[0]} rows for {len(counts)} videos. "
            "Give one row of qformer_input_ids_videos for each video."
        )
    return rows.repeat_interleave(torch.tensor(counts, device=rows.device), dim=0)


__all__ = ["EmoLlamaForConditionalGeneration", "EmoLlamaModel", "EmoLlamaPreTrainedModel"]
