"""The face stage: framing, augmentation, and a run that goes on where it was cut off."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset, Features, List, Value
from datasets import Image as ImageFeature
from PIL import Image
from safetensors.torch import load_file

from emo_llama.errors import DataFormatError
from emo_llama.modeling import FaceXFormerConfig, FaceXFormerModel
from emo_llama.modeling.modeling_facexformer import LANDMARK_MIRROR
from emo_llama.testing import tiny_face_config
from emo_llama.training.data.augmentation import AugmentedFaces, augment
from emo_llama.training.scratch.face_stage import FaceBatches, FaceStage, train_face
from emo_llama.training.scratch.face_tables import FaceTable, fairface_table, ferplus_table


def face_table(count: int, size: int = 64, seed: int = 0) -> FaceTable:
    """Faces whose brightness is their expression, dark or bright, so that it can be learned."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    images = np.clip(generator.normal(60 + 120 * labels, 20, (size, size, count)), 0, 255)
    return FaceTable(
        images=images.astype(np.uint8).transpose(2, 0, 1).copy(),
        votes=np.eye(8, dtype=np.float32)[labels],
        labels=labels,
        landmarks=generator.uniform(-0.5, 0.5, (count, 68, 2)).astype(np.float32),
        found=np.ones(count, bool),
        attributes=np.full((count, 3), -1),
    )


def stage(**overrides) -> FaceStage:
    config = tiny_face_config(num_expressions=8).to_dict()
    known = (
        "backbone_config",
        "hidden_size",
        "image_size",
        "num_attention_heads",
        "mlp_dim",
        "num_expressions",
    )
    settings = {"epochs": 2, "batch_size": 16, "warmup_steps": 2, "sizes": [[0.0, 32], [0.5, 64]]}
    return FaceStage(model={name: config[name] for name in known}, **(settings | overrides))


def test_mirroring_twice_gives_the_face_back():
    assert [LANDMARK_MIRROR[LANDMARK_MIRROR[i]] for i in range(68)] == list(range(68))


def test_with_its_mirror_a_face_has_no_side():
    """A mirrored crop has the mirrored map and landmarks, and the same tokens of no side."""
    torch.manual_seed(0)
    config = tiny_face_config(num_expressions=8, use_mirror=True)
    model = FaceXFormerModel(config).eval()
    pixels = torch.rand(2, 3, config.image_size, config.image_size)
    with torch.no_grad():
        maps, tokens, points = model.encode(pixels)
        other_maps, other_tokens, other_points = model.encode(pixels.flip(-1))
        everything = model(pixels)
        config.use_mirror = False
        plain = model(pixels)
    torch.testing.assert_close(other_maps, maps.flip(-1))
    same = [2, 4, 5, 6, 7]
    torch.testing.assert_close(other_tokens[:, same], tokens[:, same])
    assert not torch.allclose(other_tokens[:, 0], tokens[:, 0])
    mirrored = points[:, list(LANDMARK_MIRROR)] * torch.tensor([-1, 1])
    torch.testing.assert_close(other_points, mirrored)
    torch.testing.assert_close(everything.landmarks, points)
    torch.testing.assert_close(everything.expression_logits, model.expression_head(tokens[:, 7]))
    assert not torch.allclose(everything.expression_logits, plain.expression_logits)
    torch.testing.assert_close(everything.segmentation_logits, plain.segmentation_logits)


def test_only_known_landmarks_can_be_mirrored():
    with pytest.raises(Exception, match="68 landmarks, not of 5"):
        FaceXFormerConfig(num_landmarks=5, use_mirror=True)


def test_landmarks_follow_their_pixels():
    """A bright dot at a landmark is still at that landmark after augmentation."""
    torch.manual_seed(0)
    images = torch.zeros(64, 1, 80, 80)
    images[:, 0, 30:34, 50:54] = 1.0
    place = torch.tensor([51.5 / 79 * 2 - 1, 31.5 / 79 * 2 - 1])
    moved_images, moved = augment(images, place.expand(64, 68, 2).clone(), 80)
    for image, points in zip(moved_images[:, 0], moved[:, 8], strict=True):
        x, y = ((points + 1) / 2 * 79).round().long().tolist()
        window = image[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
        is_blanked = bool((image == 0.5).any())
        assert is_blanked or window.max() >= image.max() - 1e-4


def test_a_batch_holds_faces_of_both_tables():
    batches = FaceBatches(face_table(10), face_table(5, seed=1), share=0.5)
    assert len(batches) == 15
    assert batches[14]["votes"].shape == (8,)


@pytest.mark.slow
def test_a_cut_run_ends_like_a_whole_one(tmp_path):
    train, validation = face_table(96), face_table(32, seed=1)
    train_face(stage(), train, None, validation, tmp_path / "whole", tmp_path / "whole-work")
    checkpoints = sorted((tmp_path / "whole-work").glob("checkpoint-*"))
    cut = tmp_path / "cut-work"
    cut.mkdir()
    checkpoints[0].rename(cut / checkpoints[0].name)  # as if the run had ended there
    train_face(stage(), train, None, validation, tmp_path / "cut", cut)
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, msg=name)


def test_a_further_stage_may_add_the_pooled_map(tmp_path):
    """What the network knew stays; the way from the pooled map is fresh and is trained."""
    train = face_table(32)
    first = stage(epochs=1, sizes=[[0.0, 32]])
    train_face(first, train, None, None, tmp_path / "first", tmp_path / "first-work")
    settings = {"epochs": 1, "decoder_start": 0.0, "learning_rate": 1e-5, "sizes": [[0.0, 32]]}
    second = stage(**settings)
    second.model["use_pooled_map"] = True
    places = (tmp_path / "second", tmp_path / "second-work", tmp_path / "first")
    train_face(second, train, None, None, *places)
    before, after = (FaceXFormerModel.from_pretrained(tmp_path / x) for x in ("first", "second"))
    for name, value in before.named_parameters():
        torch.testing.assert_close(after.get_parameter(name), value, atol=1e-3, rtol=0, msg=name)
    pixels = torch.rand(2, 3, 32, 32)
    plain = after.encode(pixels)[1]
    with torch.no_grad():
        bias = torch.zeros(8, after.config.hidden_size)
        bias[7] = 1  # the expression token's alone
        after.pooled_projection.bias += bias.flatten()
    torch.testing.assert_close(after.encode(pixels)[1] - plain, bias.expand(2, -1, -1))
    torch.testing.assert_close(after(pixels).task_tokens, after.encode(pixels)[1])


def test_ferplus_rows_become_crops(tmp_path, write_ferplus, monkeypatch):
    monkeypatch.setattr(
        "emo_llama.training.scratch.face_tables.mesh_landmarks",
        lambda image, border: np.zeros((68, 2), np.float32),
    )
    table = ferplus_table(write_ferplus(), tmp_path, "Training", 64)
    assert table.images.shape == (len(table), 64, 64)
    np.testing.assert_allclose(table.votes.sum(1), 1, rtol=1e-6)
    assert (table.labels < 8).all()
    assert table.found.all()


def test_fairface_faces_are_framed_by_their_eyes_and_mouth(tmp_path):
    points = np.zeros((68, 2), np.float32)
    points[36:42], points[42:48], points[48:] = (-0.3, -0.2), (0.1, -0.2), (-0.1, 0.3)
    np.savez(
        tmp_path / "landmarks-fairface.npz",
        found=np.array([True, False]),
        landmarks=np.stack([points, points]),
        row_index=np.arange(2),
    )
    buffer = io.BytesIO()
    Image.new("RGB", (96, 96), "grey").save(buffer, "JPEG")
    column = [buffer.getvalue()] * 2
    rows = {"image_jpeg": column, "age": ["3-9", "20-29"], "gender": ["Female", "Male"]}
    pq.write_table(pa.table(rows | {"race": ["East Asian", "White"]}), tmp_path / "train-0.parquet")
    table = fairface_table(tmp_path, tmp_path, 64)
    assert len(table) == 1
    assert table.attributes.tolist() == [[0, 1, 3]]
    eyes, mouth = table.landmarks[0, 36:48].mean(0), table.landmarks[0, 48:].mean(0)
    assert abs((eyes + mouth)[0]) < 0.01  # centred between eyes and mouth
    assert 0.6 < mouth[1] - eyes[1] < 1.0


def test_a_folder_without_fairface_is_named(tmp_path):
    with pytest.raises(DataFormatError, match=r"train-\*\.parquet"):
        fairface_table(tmp_path, tmp_path, 64)


def test_augmented_faces_change_the_pictures_of_a_row_and_nothing_else():
    image = Image.fromarray(np.arange(48 * 48, dtype=np.uint8).reshape(48, 48))
    rows = Dataset.from_dict(
        {"images": [[image], [image, image]], "messages": ["a", "b"]},
        features=Features({"images": List(ImageFeature()), "messages": Value("string")}),
    ).with_transform(AugmentedFaces(32))
    first, again = rows[:2], rows[:2]
    assert first["messages"] == ["a", "b"]
    assert [len(pictures) for pictures in first["images"]] == [1, 2]
    assert {picture.size for pictures in first["images"] for picture in pictures} == {(32, 32)}
    assert np.asarray(first["images"][0][0]).std() > 10
    same = [
        np.array_equal(*pair) for pair in zip(first["images"][0], again["images"][0], strict=True)
    ]
    assert all(same)  # a run that goes on reads them again
    rows.format["format_kwargs"]["transform"].epoch = 1
    assert not np.array_equal(first["images"][0][0], rows[:2]["images"][0][0])
