# Copyright 2026 The emo-llama authors. Licensed under the Apache License, Version 2.0.
"""Image processor of EMO-LLaMA: what the vision tower sees and what the face network sees.

This file decides how one picture, or one frame, becomes two arrays: `pixel_values` for the vision
tower (the whole picture padded or cropped to a square, or the face crop) and `face_pixel_values`
for the face network (the face box grown by a margin, then resized). It works on PIL alone, so that
it needs no torchvision. Finding faces is not its job: boxes come from the caller. Reading videos is
the processor's.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from transformers.image_processing_backends import PilBackend
from transformers.image_processing_base import BatchFeature
from transformers.image_processing_utils import get_size_dict
from transformers.image_transforms import to_pil_image
from transformers.image_utils import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
    ChannelDimension,
    PILImageResampling,
    SizeDict,
    infer_channel_dimension_format,
    make_flat_list_of_images,
    to_numpy_array,
)
from transformers.processing_utils import ImagesKwargs

from .media_emo_llama import to_rgb, upright

VISION_INPUTS = ("image", "face")
LARGEST_SQUARE = 8192  # pixels; padding a strip to a square would fill the memory


class EmoLlamaImageProcessorKwargs(ImagesKwargs, total=False):
    """Settings of [`EmoLlamaImageProcessor`] beside those of every image processor.

    Args:
        vision_input (`str`, *optional*, defaults to `"image"`):
            What the vision tower sees: `"image"`, the whole picture, or `"face"`, the same crop as
            the face network.
        do_face_crop (`bool`, *optional*, defaults to `True`):
            Whether to give `face_pixel_values` and `face_mask`. A model without a face network
            needs neither.
        do_grayscale_face (`bool`, *optional*, defaults to `False`):
            Whether the face crop is turned grey, in three equal channels.
        face_size (`dict[str, int]`, *optional*, defaults to `{"height": 224, "width": 224}`):
            Size of the face crop in pixels, after resizing.
        face_image_mean (`list[float]`, *optional*, defaults to ImageNet's):
            Mean of each channel for the face network.
        face_image_std (`list[float]`, *optional*, defaults to ImageNet's):
            Standard deviation of each channel for the face network.
        face_margin (`float`, *optional*, defaults to 0.5):
            Fraction of a box's width and height by which it grows in total, half on each side.
        face_boxes (`list`, *optional*):
            One entry an image: `(x0, y0, x1, y1)` in pixels of the image as displayed, or `None`
            where no face was found. Without `face_boxes` each whole image is taken for a face.
    """

    vision_input: str | None
    do_face_crop: bool | None
    do_grayscale_face: bool | None
    face_size: int | dict[str, int] | SizeDict | None
    face_image_mean: list[float] | tuple[float, ...] | None
    face_image_std: list[float] | tuple[float, ...] | None
    face_margin: float | None
    face_boxes: list[Any] | tuple[Any, ...] | None


class EmoLlamaImageProcessor(PilBackend):
    """Turns images and face boxes into the arrays that the vision tower and the face network take.

    The whole picture is padded to a square with the mean colour (`do_pad`), or resized by its
    shorter edge and cropped at the centre (`do_center_crop`), or, with neither, stretched. The face
    crop is stretched, as FaceXFormer does. Where an image has no face (a box of `None`), its
    `face_pixel_values` are zeros, and a tower with `vision_input="face"` sees the whole image.
    `face_regions` (N, 4) tell what was cut for each face: xyxy in whole pixels of the image as
    displayed, the whole image where no box was given. The model does not read them.

    Args:
        kwargs ([`EmoLlamaImageProcessorKwargs`], *optional*):
            `size`, `resample`, `image_mean`, `image_std`, `do_pad`, `do_center_crop`, `do_resize`,
            `do_rescale` and `do_normalize` as in every image processor, and the settings of the
            face crop.

    Raises:
        ValueError: A box is not four finite numbers or lies outside its image, the number of boxes
            is not the number of images, a size lacks its height or width, or `vision_input` is
            unknown.

    Example:
    ```python
    >>> from PIL import Image
    >>> from emo_llama.modeling import EmoLlamaImageProcessor

    >>> image_processor = EmoLlamaImageProcessor(size=56, face_size=32)
    >>> picture = Image.new("RGB", (120, 80))
    >>> inputs = image_processor([picture], face_boxes=[(10, 10, 50, 50)], return_tensors="pt")
    >>> inputs["pixel_values"].shape, inputs["face_pixel_values"].shape
    (torch.Size([1, 3, 56, 56]), torch.Size([1, 3, 32, 32]))

    ```
    """

    valid_kwargs = EmoLlamaImageProcessorKwargs
    model_input_names = ["pixel_values", "face_pixel_values", "face_mask"]

    size = {"height": 224, "width": 224}
    resample = PILImageResampling.BICUBIC
    image_mean = OPENAI_CLIP_MEAN
    image_std = OPENAI_CLIP_STD
    do_resize = True
    do_rescale = True
    do_normalize = True
    do_pad = True
    do_center_crop = True
    vision_input = "image"
    do_face_crop = True
    do_grayscale_face = False
    face_size = {"height": 224, "width": 224}
    face_image_mean = IMAGENET_DEFAULT_MEAN
    face_image_std = IMAGENET_DEFAULT_STD
    face_margin = 0.5

    def _standardize_kwargs(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        kwargs = super()._standardize_kwargs(*args, **kwargs)
        face_size = kwargs["face_size"]
        if face_size is not None and not isinstance(face_size, SizeDict):
            kwargs["face_size"] = SizeDict(**get_size_dict(face_size, param_name="face_size"))
        for name in ("face_image_mean", "face_image_std"):
            if isinstance(kwargs[name], list):
                kwargs[name] = tuple(kwargs[name])
        for name in ("size", "face_size"):
            if kwargs[name] is not None and not (kwargs[name].height and kwargs[name].width):
                raise ValueError(
                    f"`{name}` needs a height and a width in pixels, got {kwargs[name]}."
                )
        if kwargs["vision_input"] not in VISION_INPUTS:
            raise ValueError(
                f"`vision_input` must be one of {VISION_INPUTS}, got {kwargs['vision_input']!r}."
            )
        return kwargs

    def _validate_preprocess_kwargs(self, *args: Any, **kwargs: Any) -> None:
        # The base class asks for a `crop_size`; here the centre crop has the tower's `size`.
        super()._validate_preprocess_kwargs(*args, **{**kwargs, "crop_size": kwargs["size"]})

    def _preprocess_image_like_inputs(
        self,
        images: Any,
        *args: Any,
        face_boxes: Sequence[Sequence[float] | None] | None = None,
        return_tensors: str | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        flat: Any = make_flat_list_of_images(self.fetch_images(images))
        pictures = [_to_pil(image, kwargs.get("input_data_format")) for image in flat]
        if face_boxes is not None and len(face_boxes) != len(pictures):
            raise ValueError(
                "`face_boxes` needs one entry an image (`None` where there is no face): got "
                f"{len(face_boxes)} boxes for {len(pictures)} images."
            )
        boxes = [None] * len(pictures) if face_boxes is None else face_boxes
        regions = [
            (0, 0, *picture.size)
            if box is None
            else _grow_box(box, kwargs["face_margin"], picture.size)
            for picture, box in zip(pictures, boxes, strict=True)
        ]
        crops = [
            self._crop_face(picture, region, **kwargs)
            for picture, region in zip(pictures, regions, strict=True)
        ]
        sources = crops if kwargs["vision_input"] == "face" else pictures
        data = {
            "pixel_values": np.stack([self._vision_array(source, **kwargs) for source in sources])
        }
        if kwargs["do_face_crop"]:
            found = np.array([face_boxes is None or box is not None for box in boxes])
            data["face_pixel_values"] = np.stack(
                [
                    self._face_array(crop, present, **kwargs)
                    for crop, present in zip(crops, found, strict=True)
                ]
            )
            data["face_mask"] = found
            data["face_regions"] = np.array(regions)  # (N, 4)
        return BatchFeature(data=data, tensor_type=return_tensors)

    def _crop_face(
        self,
        image: Image.Image,
        region: tuple[int, int, int, int],
        do_grayscale_face: bool,
        **kwargs: Any,
    ) -> Image.Image:
        """The region of a face, as FaceXFormer cuts it."""
        if region != (0, 0, *image.size):
            image = image.crop(region)
        return image.convert("L") if do_grayscale_face else image

    def _vision_array(
        self,
        image: Image.Image,
        size: SizeDict,
        resample: int,
        vision_input: str,
        do_resize: bool,
        do_pad: bool,
        do_center_crop: bool,
        image_mean: Sequence[float],
        image_std: Sequence[float],
        **kwargs: Any,
    ) -> np.ndarray:
        """One image as the vision tower takes it, float32 (C, H, W)."""
        height, width = size["height"], size["width"]
        if do_resize and vision_input == "image":
            if do_pad:
                image = _pad_to_square(image, image_mean)
            if do_center_crop:
                image = _resize_and_crop(image, height, width, resample)
        if do_resize and image.size != (width, height):
            image = image.resize((width, height), resample)
        return _to_array(image, image_mean, image_std, **kwargs)

    def _face_array(
        self,
        crop: Image.Image,
        present: bool,
        face_size: SizeDict,
        resample: int,
        face_image_mean: Sequence[float],
        face_image_std: Sequence[float],
        **kwargs: Any,
    ) -> np.ndarray:
        """One face crop as the face network takes it, float32 (C, h, w); no face: zeros."""
        height, width = face_size["height"], face_size["width"]
        if not present:
            return np.zeros((3, height, width), dtype=np.float32)
        if crop.size != (width, height):
            crop = crop.resize((width, height), resample)
        return _to_array(crop, face_image_mean, face_image_std, **kwargs)


def _to_pil(image: Any, input_data_format: str | ChannelDimension | None) -> Image.Image:
    """Any image as PIL in mode L or RGB, upright, transparency laid over white."""
    if isinstance(image, Image.Image):
        image = upright(image)
    else:
        array = to_numpy_array(image)
        if input_data_format is None:
            input_data_format = infer_channel_dimension_format(array, num_channels=(1, 3, 4))
        image = to_pil_image(array, input_data_format=input_data_format)
    if image.mode == "L" and "transparency" not in image.info:
        return image  # a third of the work of three equal channels
    return to_rgb(image)


def _grow_box(
    box: Sequence[float], margin: float, image_size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Grows an xyxy box by `margin` of its size in total, clips it to the image, cuts to pixels."""
    width, height = image_size
    if len(box) != 4 or not np.isfinite(box).all():
        raise ValueError(
            f"A face box must be four finite numbers (x0, y0, x1, y1) in pixels, got {box}."
        )
    x0, y0, x1, y1 = (float(value) for value in box)
    grow_x, grow_y = margin * (x1 - x0) / 2, margin * (y1 - y0) / 2
    grown = (
        max(0, int(x0 - grow_x)),
        max(0, int(y0 - grow_y)),
        min(width, int(x1 + grow_x)),
        min(height, int(y1 + grow_y)),
    )
    if x1 <= x0 or y1 <= y0 or grown[2] <= grown[0] or grown[3] <= grown[1]:
        raise ValueError(
            f"The face box {tuple(box)} covers no pixel of its image of {width}x{height} pixels; "
            "expected (x0, y0, x1, y1) with x0 < x1 and y0 < y1, or None where there is no face."
        )
    return grown


def _pad_to_square(image: Image.Image, mean: Sequence[float]) -> Image.Image:
    """Pads to a square around the centre with the mean colour, as LLaVA does."""
    width, height = image.size
    if width == height:
        return image
    side = max(width, height)
    if side > LARGEST_SQUARE:
        width, height = (max(1, round(v * LARGEST_SQUARE / side)) for v in image.size)
        image, side = image.resize((width, height), Image.Resampling.BOX), LARGEST_SQUARE
    canvas = Image.new("RGB", (side, side), tuple(int(value * 255) for value in mean))
    canvas.paste(image, ((side - width) // 2, (side - height) // 2))
    return canvas


def _resize_and_crop(image: Image.Image, height: int, width: int, resample: int) -> Image.Image:
    """Resizes so that the image just covers `height` x `width`, then crops at the centre."""
    scale = max(width / image.width, height / image.height)
    covered = (max(width, int(image.width * scale)), max(height, int(image.height * scale)))
    if covered != image.size:
        image = image.resize(covered, resample)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    if (left, top) == (0, 0) and image.size == (width, height):
        return image
    return image.crop((left, top, left + width, top + height))


def _to_array(
    image: Image.Image,
    mean: Sequence[float],
    std: Sequence[float],
    do_rescale: bool,
    rescale_factor: float,
    do_normalize: bool,
    **kwargs: Any,
) -> np.ndarray:
    """Pixels as float32 (3, H, W), rescaled and normalised by one product and one sum."""
    array = np.asarray(image)  # (H, W) or (H, W, 3)
    array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    scale = np.full(3, rescale_factor if do_rescale else 1.0)
    shift = np.zeros(3)
    if do_normalize:
        scale, shift = scale / np.asarray(std), -np.asarray(mean) / np.asarray(std)
    # (3, H, W): one grey channel becomes three; without the order PIL's channels-last layout stays
    pixels = np.multiply(array, scale.astype(np.float32)[:, None, None], order="C")
    pixels += shift.astype(np.float32)[:, None, None]
    return pixels


__all__ = ["EmoLlamaImageProcessor", "EmoLlamaImageProcessorKwargs"]
