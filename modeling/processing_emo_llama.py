# Copyright 2026 The emo-llama authors. Licensed under the Apache License, Version 2.0.
"""Processor of EMO-LLaMA: a conversation with pictures and clips becomes the model's inputs.

Decides how a conversation is written down (the chat template), how a clip is sampled, how many
placeholder tokens stand for a picture or a clip, and which question the Q-Former reads for each of
them. The pixels are the image processor's business; finding faces is the caller's. Input names and
shapes: `configuration_emo_llama.py`.
"""

import copy
import json
from collections.abc import Sequence
from string import Template
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
from huggingface_hub import get_session
from PIL import Image
from transformers.image_processing_base import BatchFeature
from transformers.image_utils import ImageInput
from transformers.processing_utils import MultiModalData, ProcessorMixin
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.video_utils import VideoInput, make_batched_videos

from .media_emo_llama import sample_video
from .modeling_outputs_emo_llama import EmoLlamaEncodings

VICUNA_SYSTEM_PROMPT = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions."
)
# Of the models that are made here; the processor of another may name others.
PLACEHOLDERS = IMAGE_TOKEN, VIDEO_TOKEN = "<image>", "<video>"
EVERY_FRAME = 1000.0  # frames a second, more than videos have
USER_MARKER = "USER:"
ASSISTANT_MARKER = "ASSISTANT:"

# What every template of this family begins with: the text of a message, with its placeholders.
RENDER_MACRO = r"""{%- macro render(content) -%}
{%- if content is string -%}{{ content }}
{%- else -%}
{%- for block in content -%}
{%- if block.type == 'text' -%}{{ block.text }}
{%- elif block.type in ('image', 'video') -%}
{{ '\n' if not loop.first }}{{ $image if block.type == 'image' else $video }}
{%- if not loop.last and loop.nextitem.type == 'text' -%}{{ '\n' }}{%- endif -%}
{%- else -%}
{{ raise_exception('Content must be text, image or video blocks, got ' ~ block.type) }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
"""
# Vicuna's two-separator style. The space before an answer belongs to the answer: the tokenizers of
# Llama and of byte-level BPE both join it to the first word. `generation` marks what is learned.
_CHAT_TEMPLATE = Template(
    RENDER_MACRO
    + r"""{{- bos_token -}}
{%- set system = $system -%}
{%- if messages[0].role == 'system' -%}
{%- set system = render(messages[0].content) -%}
{%- set messages = messages[1:] -%}
{%- endif -%}
{{- system -}}
{%- for message in messages -%}
{%- if message.role == 'user' -%}
{{- (' ' if system and loop.first else '') ~ $user ~ ' ' ~ render(message.content) ~ ' ' -}}
{%- elif message.role == 'assistant' -%}
{{- $assistant -}}
{%- generation -%}{{- ' ' ~ render(message.content) ~ eos_token -}}{%- endgeneration -%}
{%- else -%}
{{ raise_exception('Roles are system (first only), user and assistant, got ' ~ message.role) }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ $assistant }}{%- endif -%}
"""
)


def chat_template(
    system_prompt: str = VICUNA_SYSTEM_PROMPT,
    image_token: str = IMAGE_TOKEN,
    video_token: str = VIDEO_TOKEN,
    user_marker: str = USER_MARKER,
    assistant_marker: str = ASSISTANT_MARKER,
) -> str:
    r"""Write the chat template of this model family.

    Args:
        system_prompt (`str`, *optional*, defaults to Vicuna's):
            What stands before the first turn where a conversation has no system message of its
            own. May be empty.
        image_token (`str`, *optional*, defaults to `"<image>"`):
            Placeholder of an image.
        video_token (`str`, *optional*, defaults to `"<video>"`):
            Placeholder of a video.
        user_marker (`str`, *optional*, defaults to `"USER:"`):
            What a user's turn starts with.
        assistant_marker (`str`, *optional*, defaults to `"ASSISTANT:"`):
            What an answer starts with.

    Returns:
        `str`: A Jinja template with generation marks around each answer and its end token.

    Example:
    ```python
    >>> from emo_llama.modeling.processing_emo_llama import chat_template

    >>> "{%- generation -%}" in chat_template(system_prompt="")
    True

    ```
    """
    values = {
        "system": system_prompt,
        "image": image_token,
        "video": video_token,
        "user": user_marker,
        "assistant": assistant_marker,
    }
    return _CHAT_TEMPLATE.substitute({name: json.dumps(text) for name, text in values.items()})


class EmoLlamaProcessor(ProcessorMixin):
    r"""Puts images, videos, face boxes and text together into the inputs of EMO-LLaMA.

    Args:
        image_processor ([`EmoLlamaImageProcessor`]):
            Prepares images, frames and face crops.
        tokenizer (`PreTrainedTokenizerBase`):
            The language model's. Both placeholders must be tokens of it. Its padding side is set to
            left, as answers are generated behind the prompts; a call may name another one.
        qformer_tokenizer (`PreTrainedTokenizerBase`):
            The Q-Former's. It pads on the right, and its truncation side is set to left: of a long
            question the end counts.
        chat_template (`str`, *optional*, defaults to [`chat_template`]'s result):
            A Jinja template.
        num_tokens_per_frame (`int`, *optional*, defaults to 4):
            Visual tokens of an image or frame: `EmoLlamaConfig.num_tokens_per_frame`.
        image_token (`str`, *optional*, defaults to `"<image>"`):
            Placeholder of an image.
        video_token (`str`, *optional*, defaults to `"<video>"`):
            Placeholder of a whole video.
        video_fps (`float`, *optional*, defaults to 1.0):
            Frames a second taken from a video file.
        max_frames (`int`, *optional*, defaults to 64):
            Most frames taken from a video file. A longer one gives frames spread over all of it.
        max_question_length (`int`, *optional*, defaults to 256):
            Most Q-Former tokens of a question.
        user_marker (`str`, *optional*, defaults to `"USER:"`):
            What a user's turn starts with in the chat template. The question of a placeholder is
            the text of its turn.
        assistant_marker (`str`, *optional*, defaults to `"ASSISTANT:"`):
            What an answer starts with.
        placeholder_suffix (`str`, *optional*, defaults to `""`):
            Text behind the tokens of a picture. LLaMA-VID tokenizes what follows a picture as a
            text of its own, which a Llama tokenizer begins with a space.

    Raises:
        ValueError: The tokenizer lacks a placeholder token.

    Example:
    ```python
    >>> from PIL import Image
    >>> from emo_llama.testing import tiny_processor

    >>> processor = tiny_processor()
    >>> question = {"type": "text", "text": "Which expression is it?"}
    >>> picture = {"type": "image", "image": Image.new("RGB", (48, 48))}
    >>> inputs = processor.apply_chat_template(
    ...     [{"role": "user", "content": [picture, question]}],
    ...     add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
    ... )
    >>> int((inputs["input_ids"] == processor.image_token_id).sum())
    4

    ```
    """

    qformer_tokenizer: PreTrainedTokenizerBase

    def __init__(
        self,
        image_processor: Any,
        tokenizer: PreTrainedTokenizerBase,
        qformer_tokenizer: PreTrainedTokenizerBase,
        chat_template: str | None = None,
        num_tokens_per_frame: int = 4,
        image_token: str = IMAGE_TOKEN,
        video_token: str = VIDEO_TOKEN,
        video_fps: float = 1.0,
        max_frames: int = 64,
        max_question_length: int = 256,
        user_marker: str = USER_MARKER,
        assistant_marker: str = ASSISTANT_MARKER,
        placeholder_suffix: str = "",
    ) -> None:
        if qformer_tokenizer is tokenizer:
            qformer_tokenizer = copy.deepcopy(tokenizer)
        qformer_tokenizer.truncation_side, qformer_tokenizer.padding_side = "left", "right"
        tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = "left"  # the second: saved
        self.num_tokens_per_frame = num_tokens_per_frame
        self.image_token = image_token
        self.video_token = video_token
        self.image_token_id = _token_id(tokenizer, image_token)
        self.video_token_id = _token_id(tokenizer, video_token)
        self.video_fps = video_fps
        self.max_frames = max_frames
        self.max_question_length = max_question_length
        self.user_marker = user_marker
        self.assistant_marker = assistant_marker
        self.placeholder_suffix = placeholder_suffix
        if chat_template is None:
            chat_template = _default_template(self)
        super().__init__(image_processor, tokenizer, qformer_tokenizer, chat_template=chat_template)

    @property
    def video_processor(self) -> Any:
        """The image processor, as frames are images; transformers' own need torchvision."""
        return self.image_processor

    @property
    def unused_input_names(self) -> list[str]:
        """`list[str]`: What the image processor gives and the model does not read."""
        return ["face_regions", "face_regions_videos"]

    @property
    def model_input_names(self) -> list[str]:
        """`list[str]`: Every input that the model may get from here."""
        images = self.image_processor.model_input_names
        questions = ["qformer_input_ids", "qformer_attention_mask"]
        return [
            *self.tokenizer.model_input_names,
            *images,
            *questions,
            *(f"{name}_videos" for name in (*images, *questions)),
            "frame_counts",
        ]

    def __call__(
        self,
        images: ImageInput | None = None,
        text: str | list[str] | None = None,
        videos: VideoInput | None = None,
        audio: None = None,
        face_boxes: Sequence[Sequence[float] | None] | None = None,
        video_face_boxes: Sequence[Sequence[Sequence[float] | None] | None] | None = None,
        questions: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        r"""Prepare a batch.

        Args:
            images (`ImageInput` or [`EmoLlamaEncodings`], *optional*):
                Images in prompt order: PIL, arrays, tensors, paths or URLs; may be nested by
                prompt. Or what the model's `encode` gave of them, whole or by rows, for a prompt
                about pictures that were prepared before.
            text (`str` or `list[str]`, *optional*):
                Prompts with one placeholder for each image and each video.
            videos (`VideoInput` or `list[EmoLlamaEncodings]`, *optional*):
                Paths, or clips of frames, which are taken as they are; or what `encode` gave of
                the frames of each.
            audio (`None`, *optional*):
                Not used by this model.
            face_boxes (`Sequence`, *optional*):
                One xyxy box in pixels, or `None` for no face, for each image. Without it each
                whole image is taken for a face.
            video_face_boxes (`Sequence`, *optional*):
                For each video one box or `None` a frame, or `None` for a video without any face.
            questions (`Sequence[str]`, *optional*):
                What the Q-Former reads for each placeholder, in prompt order, in place of the
                text of its turn.
            kwargs (`dict`, *optional*):
                As in every processor: `padding`, `return_tensors`, `fps`, `num_frames`,
                `images_kwargs` and so on.

        Returns:
            `BatchFeature`: `input_ids` and `attention_mask` (B, T), and what the pictures and
            clips give: see `configuration_emo_llama.py` for names and shapes.

        Raises:
            ValueError: Placeholders and pictures, boxes or questions differ in number, or a video
                cannot be decoded.
        """
        texts = [text] if isinstance(text, str) else text
        keep_offsets = kwargs.pop("return_text_replacement_offsets", False)
        if face_boxes is not None:
            kwargs["images_kwargs"] = {**kwargs.get("images_kwargs", {}), "face_boxes": face_boxes}
        if video_face_boxes is not None:
            extra = {"face_boxes": video_face_boxes}
            kwargs["videos_kwargs"] = {**kwargs.get("videos_kwargs", {}), **extra}
        inputs = super().__call__(
            images=images,
            text=text,
            videos=videos,
            audio=audio,
            return_text_replacement_offsets=True,
            **kwargs,
        )
        if texts is None:
            return inputs
        offsets = inputs["text_replacement_offsets"]
        if not keep_offsets:
            del inputs["text_replacement_offsets"]
        inputs.update(self._question_inputs(texts, offsets, questions, _tensor_type(kwargs)))
        return inputs

    def prepare_inputs_layout(
        self, images: Any = None, text: Any = None, videos: Any = None, audio: Any = None, **_: Any
    ) -> tuple[Any, ...]:
        r"""As the parent, which would fetch encodings as pictures.

        Args:
            images (`ImageInput` or [`EmoLlamaEncodings`], *optional*):
                As in the call.
            text (`str` or `list[str]`, *optional*):
                Likewise.
            videos (`VideoInput` or `list[EmoLlamaEncodings]`, *optional*):
                Likewise.
            audio (`None`, *optional*):
                Likewise.
            _ (`dict`, *optional*):
                Settings, of which none matters here.

        Returns:
            `tuple`: Images, text, videos and audio.
        """
        encoded = _encodings(images)
        others = {"text": text, "videos": videos, "audio": audio}
        images, *rest = super().prepare_inputs_layout(None if encoded else images, **others)
        return encoded or images, *rest

    def validate_inputs(
        self,
        images: Any = None,
        text: Any = None,
        videos: Any = None,
        audio: Any = None,
        **kwargs: Any,
    ) -> None:
        r"""As the parent, which would count encodings as pictures.

        Args:
            images (`ImageInput` or [`EmoLlamaEncodings`], *optional*):
                As in the call.
            text (`list[str]`, *optional*):
                Likewise.
            videos (`VideoInput` or `list[EmoLlamaEncodings]`, *optional*):
                Likewise.
            audio (`None`, *optional*):
                Likewise.
            kwargs (`dict`, *optional*):
                Settings.

        Raises:
            ValueError: Placeholders and pictures differ in number.
        """
        counts = {}
        if encoded := _encodings(images):
            images, counts[self.image_token] = None, sum(part.num_frames for part in encoded)
        if encoded := _encodings(videos):
            videos, counts[self.video_token] = None, len(encoded)
        for token, count in counts.items():
            if text is None:
                raise ValueError("Encodings need a prompt with a placeholder for each picture.")
            found = sum(sample.count(token) for sample in text)
            if found != count:
                raise ValueError(f"The prompts hold {found} {token}, and {count} came encoded.")
            text = [sample.replace(token, "") for sample in text]
        super().validate_inputs(images, text, videos, audio, **kwargs)

    def _process_images(self, images: Any, **kwargs: Any) -> tuple[dict[str, Any], list[str]]:
        """The images through the image processor, unless they were; and their placeholders."""
        encoded = _encodings(images)
        if not encoded:
            return super()._process_images(images, **kwargs)
        rows = EmoLlamaEncodings.cat(encoded)
        placeholders = [self.replace_image_token({}, index) for index in range(rows.num_frames)]
        return {"encodings": rows}, placeholders

    def _adjust_assistant_masks_indices(
        self, processed_dict: dict[str, Any], generation_indices: list[list[int]]
    ) -> dict[str, Any]:
        # transformers walks over the offsets one by one, which takes milliseconds on a tensor.
        processed_dict["offset_mapping"] = np.asarray(processed_dict["offset_mapping"]).tolist()
        return super()._adjust_assistant_masks_indices(processed_dict, generation_indices)

    def post_process_image_text_to_text(
        self, generated_outputs: Any, skip_special_tokens: bool = True, **kwargs: Any
    ) -> str | list[str]:
        r"""Decode what was generated.

        The space before the last answer is left out, as the tokenizer leaves it out where an answer
        is decoded alone: transformers' pipeline cuts the prompt off what is decoded here.

        Args:
            generated_outputs (`torch.LongTensor` of shape `(B, T)` or `(T,)`):
                Token ids.
            skip_special_tokens (`bool`, *optional*, defaults to `True`):
                Whether special tokens are left out.
            kwargs (`dict`, *optional*):
                As in the tokenizer's `decode`.

        Returns:
            `str` or `list[str]`: The text, or one a row.
        """
        decoded = super().post_process_image_text_to_text(
            generated_outputs, skip_special_tokens, **kwargs
        )
        if isinstance(decoded, str):
            return self._without_space(decoded)
        return [self._without_space(text) for text in decoded]

    def _without_space(self, text: str) -> str:
        """A decoded conversation without the space that its last answer begins with."""
        before, marker, answer = text.rpartition(self.assistant_marker)
        return before + marker + (answer.removeprefix(" ") if marker else answer)

    def save_pretrained(self, save_directory: Any, push_to_hub: bool = False, **kwargs: Any) -> Any:
        """Save the processor; the files depend on its settings alone, not on how it was called.

        A fast tokenizer keeps the padding and truncation of its last call, and would save them.

        Args:
            save_directory (`str` or `PathLike`):
                Where to.
            push_to_hub (`bool`, *optional*, defaults to `False`):
                Whether to upload it.
            kwargs (`dict`, *optional*):
                As in every processor.

        Returns:
            `list[str]`: The files.
        """
        for tokenizer in (self.tokenizer, self.qformer_tokenizer):
            if tokenizer.is_fast:
                tokenizer.backend_tokenizer.no_padding()
                tokenizer.backend_tokenizer.no_truncation()
        return super().save_pretrained(save_directory, push_to_hub, **kwargs)

    def replace_image_token(self, image_inputs: dict, image_idx: int, **kwargs: Any) -> str:
        """The placeholder once for every visual token of one image."""
        return self.image_token * self.num_tokens_per_frame + self.placeholder_suffix

    def replace_video_token(self, video_inputs: dict, video_idx: int, **kwargs: Any) -> str:
        """The placeholder once for every visual token of all frames of one video."""
        frames = int(video_inputs["frame_counts"][video_idx])
        tokens = self.video_token * (self.num_tokens_per_frame * frames)
        return tokens + self.placeholder_suffix

    def _get_num_multimodal_tokens(
        self,
        image_sizes: Sequence[Sequence[int]] | None = None,
        video_sizes: Sequence[Sequence[int]] | None = None,
        **kwargs: Any,
    ) -> MultiModalData:
        """Placeholders of images (H, W) and of videos (frames, H, W); vLLM asks for them."""
        counts: dict[str, list[int]] = {}
        if image_sizes is not None:
            counts["num_image_tokens"] = [self.num_tokens_per_frame] * len(image_sizes)
            counts["num_image_patches"] = [1] * len(image_sizes)  # rows of pixel_values
        if video_sizes is not None:
            counts["num_video_tokens"] = [
                self.num_tokens_per_frame * frames for frames, *_ in video_sizes
            ]
        return MultiModalData(**counts)

    def _process_videos(
        self,
        videos: VideoInput,
        fps: float | None = None,
        num_frames: int | None = None,
        do_sample_frames: bool | None = None,
        face_boxes: Sequence[Sequence[Sequence[float] | None] | None] | None = None,
        **kwargs: Any,
    ) -> tuple[dict[str, Any], list[str]]:
        """Frames of all videos through the image processor, and each video's placeholders."""
        if encoded := _encodings(videos):
            given: dict[str, Any] = {"encodings_videos": EmoLlamaEncodings.cat(encoded)}
            given["frame_counts"] = [clip.num_frames for clip in encoded]
            return given, [self.replace_video_token(given, i) for i in range(len(encoded))]
        sampling = (fps, num_frames, do_sample_frames)
        clips = [
            self._decode(clip, *sampling) if isinstance(clip, str) else clip
            for clip in make_batched_videos(videos)
        ]
        counts = [len(clip) for clip in clips]
        if 0 in counts:
            raise ValueError(f"Video {counts.index(0)} of {len(counts)} has no frames.")
        known = self.image_processor.valid_kwargs.__annotations__
        settings = {k: v for k, v in kwargs.items() if k in known and v is not None}
        settings.setdefault("do_pad", False)  # LLaVA pads images and crops frames
        frames = [frame for clip in clips for frame in clip]
        boxes = None if face_boxes is None else _frame_boxes(face_boxes, counts)
        processed = self.image_processor(frames, face_boxes=boxes, **settings)
        inputs: dict[str, Any] = {f"{name}_videos": v for name, v in processed.items()}
        inputs["frame_counts"] = counts
        return inputs, [self.replace_video_token(inputs, index) for index in range(len(clips))]

    def _decode(
        self,
        source: str,
        fps: float | None,
        num_frames: int | None,
        do_sample_frames: bool | None,
    ) -> list[Image.Image]:
        """The sampled frames of one video file, as displayed."""
        rate, most = fps or self.video_fps, num_frames or self.max_frames
        if do_sample_frames is False:
            rate, most = EVERY_FRAME, None
        try:
            with _open_video(source) as file:
                return [frame.image for frame in sample_video(file, source, rate, most)]
        except (OSError, ValueError) as error:
            raise ValueError(
                f"Could not decode the video {source!r} ({error}). Expected a file with a video "
                "stream that FFmpeg can read; check that it exists and plays."
            ) from error

    def _question_inputs(
        self,
        texts: Sequence[str],
        offsets: Sequence[Sequence[dict[str, Any]]],
        questions: Sequence[str] | None,
        return_tensors: str | None,
    ) -> dict[str, Any]:
        """Q-Former ids and masks of the images and of the videos, each in prompt order."""
        places = [(text, place) for text, row in zip(texts, offsets, strict=True) for place in row]
        if questions is None:
            questions = [self._question(text, place["span"][0]) for text, place in places]
        if len(questions) != len(places):
            raise ValueError(
                f"`questions` needs one entry for each image and video of the prompts, in order: "
                f"got {len(questions)} for {len(places)}."
            )
        inputs = {}
        for kind, suffix in (("image", ""), ("video", "_videos")):
            asked = [
                q for q, (_, place) in zip(questions, places, strict=True) if place["type"] == kind
            ]
            if not asked:
                continue
            encoded = self.qformer_tokenizer(
                asked,
                padding=True,
                truncation=True,
                max_length=self.max_question_length,
                return_tensors=return_tensors,
            )
            inputs[f"qformer_input_ids{suffix}"] = encoded["input_ids"]
            inputs[f"qformer_attention_mask{suffix}"] = encoded["attention_mask"]
        return inputs

    def _question(self, text: str, position: int) -> str:
        """The text of the turn around a placeholder, without placeholders and line ends."""
        start = text.rfind(self.user_marker, 0, position)
        start = 0 if start < 0 else start + len(self.user_marker)
        ends = [text.find(marker, position) for marker in (self.assistant_marker, self.user_marker)]
        turn = text[start : min((end for end in ends if end >= 0), default=len(text))]
        # The last two wrap control tokens that a user typed (`sanitize_control_tokens`).
        for unwanted in (self.image_token, self.video_token, "\n", "\U000f0000", "\U000f0001"):
            turn = turn.replace(unwanted, "")
        return turn.strip()


def _default_template(processor: EmoLlamaProcessor) -> str:
    """The family's chat template with the tokens and markers of one processor."""
    return chat_template(
        image_token=processor.image_token,
        video_token=processor.video_token,
        user_marker=processor.user_marker,
        assistant_marker=processor.assistant_marker,
    )


def _token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    """The id of a placeholder, which must be one token."""
    token_id = tokenizer.convert_tokens_to_ids(token)
    if not isinstance(token_id, int) or token_id == tokenizer.unk_token_id:
        raise ValueError(
            f"The tokenizer has no token {token!r}. Add it first: "
            f"tokenizer.add_tokens([{token!r}], special_tokens=True)."
        )
    return token_id


def _tensor_type(kwargs: dict[str, Any]) -> str | None:
    """The `return_tensors` of a processor call, wherever transformers lets it stand."""
    nested = (kwargs.get("text_kwargs", {}), kwargs.get("common_kwargs", {}))
    return next((d["return_tensors"] for d in (kwargs, *nested) if d.get("return_tensors")), None)


def _encodings(pictures: Any) -> list[EmoLlamaEncodings]:
    """What stands for pictures as encodings, in order, whatever it is nested in; else nothing."""
    if isinstance(pictures, EmoLlamaEncodings):
        return [pictures]
    if not isinstance(pictures, (list, tuple)):
        return []
    return [encodings for part in pictures for encodings in _encodings(part)]


def _open_video(source: str) -> IO[bytes]:
    """A video as a file of the operating system: opened, or fetched from its address."""
    if not source.startswith(("http://", "https://")):
        return open(source, "rb")
    response = get_session().get(source, follow_redirects=True)
    response.raise_for_status()
    file = TemporaryFile()
    file.write(response.content)
    return file


def _frame_boxes(
    face_boxes: Sequence[Sequence[Sequence[float] | None] | None], counts: Sequence[int]
) -> list[Sequence[float] | None]:
    """One box or `None` for every frame of every video."""
    if len(face_boxes) != len(counts):
        raise ValueError(
            f"`video_face_boxes` needs one entry a video: got {len(face_boxes)} for {len(counts)}."
        )
    flat: list[Sequence[float] | None] = []
    for index, (boxes, count) in enumerate(zip(face_boxes, counts, strict=True)):
        if boxes is not None and len(boxes) != count:
            raise ValueError(
                f"`video_face_boxes[{index}]` needs one box or `None` a frame: got {len(boxes)} "
                f"for {count} frames."
            )
        flat.extend([None] * count if boxes is None else boxes)
    return flat


__all__ = ["EmoLlamaProcessor", "chat_template"]
