"""The face stage: framing, augmentation, and a run that goes on where it was cut off."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset, Features, List, Value
from datasets import Image as ImageFeature
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import MobileNetV1Config, MobileNetV1Model
from transformers.models.mobilenet_v1.modeling_mobilenet_v1 import apply_tf_padding

from emo_llama.errors import DataFormatError, ModelNotFoundError
from emo_llama.modeling import FaceXFormerConfig, FaceXFormerModel
from emo_llama.modeling.modeling_facexformer import LANDMARK_MIRROR
from emo_llama.testing import tiny_face_config
from emo_llama.training.averaging import AVERAGE
from emo_llama.training.data.augmentation import AugmentedFaces, augment, mix, recolour
from emo_llama.training.data.sampling import FaceSampler
from emo_llama.training.scratch.face_stage import FaceBatches, FaceStage, begin, train_face
from emo_llama.training.scratch.face_tables import FaceTable, fairface_table, ferplus_table


def face_table(count: int, size: int = 64, seed: int = 0, color: bool = False) -> FaceTable:
    """Faces whose brightness is their expression, dark or bright, so that it can be learned."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    images = np.clip(generator.normal(60 + 120 * labels, 20, (size, size, count)), 0, 255)
    images = images.astype(np.uint8).transpose(2, 0, 1).copy()
    return FaceTable(
        images=images[..., None] * np.array([1, 0, 1], np.uint8) if color else images,
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
    batches = FaceBatches(face_table(10), face_table(5, seed=1))
    assert len(batches) == 15
    assert batches[14]["votes"].shape == (8,)


def everything(work_dir, **overrides):
    """A run with all that is random: colours, draws, mixed faces; 16 steps, a checkpoint at 5."""
    settings = {"color": True, "mixup": 0.5, "balance": 0.5, "attribute_share": 0.35}
    settings |= {"early_rate": 0.5, "ema_decay": 0.9, "save_steps": 5, "sizes": [[0.0, 32]]}
    train, extra = face_table(96), face_table(40, seed=2, color=True)
    places = (work_dir / "face", work_dir / "checkpoints")
    train_face(stage(**settings | overrides), train, extra, face_table(32, seed=1), *places)


@pytest.mark.slow
def test_a_killed_run_ends_like_a_whole_one(tmp_path):
    """The kill comes without notice in the middle of an epoch."""
    everything(tmp_path / "whole")
    code = (
        "from pathlib import Path; from test_face_stage import everything; import sys; "
        "everything(Path(sys.argv[1]))"
    )
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    cut = tmp_path / "cut"
    process = subprocess.Popen([sys.executable, "-c", code, str(cut)], env=here)
    while not (cut / "checkpoints" / "checkpoint-5" / AVERAGE).exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (cut / "face").exists()
    everything(cut)
    whole, resumed = (
        load_file(folder / "face" / "model.safetensors") for folder in (tmp_path / "whole", cut)
    )
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, msg=name)


def test_every_validation_face_counts(tmp_path):
    """Training leaves out the faces of a batch that is not full; scoring does not."""
    places = (tmp_path / "face", tmp_path / "checkpoints")
    settings = stage(epochs=1, sizes=[[0.0, 32]])
    train_face(settings, face_table(40), None, face_table(37, seed=1), *places)
    figures = json.loads((tmp_path / "face" / "evaluation.json").read_text())
    assert (figures["n"], figures["rule"]) == (37, "majority")
    assert np.sum(figures["confusion"]) == 37 and len(figures["intervals"]["uar"]) == 2
    state = json.loads((tmp_path / "checkpoints/checkpoint-2/trainer_state.json").read_text())
    assert state["max_steps"] == 2
    scored = [entry["eval_accuracy"] for entry in state["log_history"] if "eval_accuracy" in entry]
    assert scored == [figures["war"]]


@pytest.fixture(scope="module")
def backbone_dir(tmp_path_factory):
    """A backbone as transformers saves its own, with norms that have seen something."""
    torch.manual_seed(3)
    model = MobileNetV1Model(MobileNetV1Config(depth_multiplier=0.125)).train()
    for _ in range(3):
        model(torch.rand(8, 3, 32, 32))
    folder = tmp_path_factory.mktemp("backbone")
    model.save_pretrained(folder)
    return folder


def pretrained(folder, multiplier=0.125, **settings) -> FaceStage:
    made = stage(epochs=1, sizes=[[0.0, 32]], backbone=str(folder), **settings)
    made.model["backbone_config"] = {"model_type": "mobilenet_v1", "depth_multiplier": multiplier}
    return made


def test_a_stage_begins_with_a_pretrained_backbone(backbone_dir):
    """It says what it said, and its norms know the training faces."""
    train = face_table(64, size=32)
    known = MobileNetV1Model.from_pretrained(backbone_dir).eval()
    begun = begin(pretrained(backbone_dir), train)
    pixels = begun.normalised(begun.pixels(torch.as_tensor(train.images)))
    with torch.no_grad():
        answers = begun.face.backbone.eval()(pixels).pooler_output
        torch.testing.assert_close(answers, known(pixels).pooler_output, atol=1e-3, rtol=0)
        seen = known.conv_stem.convolution(apply_tf_padding(pixels, known.conv_stem.convolution))
    mean = begun.face.backbone.conv_stem.normalization.running_mean
    torch.testing.assert_close(mean, seen.mean((0, 2, 3)), atol=1e-4, rtol=0)
    assert not torch.allclose(mean, known.conv_stem.normalization.running_mean, atol=0.01)


def test_early_layers_learn_slowly(backbone_dir, tmp_path):
    rates = {"learning_rate": 1e-4, "early_rate": 0.01, "weight_decay": 0.0}
    places = (tmp_path / "face", tmp_path / "checkpoints")
    train_face(pretrained(backbone_dir, **rates), face_table(32), None, None, *places)
    known = MobileNetV1Model.from_pretrained(backbone_dir)
    found = FaceXFormerModel.from_pretrained(tmp_path / "face").backbone
    moved = {
        name: float((found.get_parameter(name) - value).detach().abs().max())
        for name, value in known.named_parameters()
        if "convolution" in name
    }
    first, *_, last = moved.values()
    assert 0 < 20 * first < last < 1e-3


def test_another_backbone_is_named_with_both_shapes(backbone_dir, tmp_path):
    places = (tmp_path / "face", tmp_path / "checkpoints")
    with pytest.raises(DataFormatError, match=r"(?s)\[8, 8, 1, 1\]\).*\[16, 8, 1, 1\]"):
        train_face(pretrained(backbone_dir, 0.25), face_table(16), None, None, *places)
    weights = load_file(backbone_dir / "model.safetensors")
    del weights["layer.4.convolution.weight"]
    shutil.copytree(backbone_dir, tmp_path / "half")
    save_file(weights, tmp_path / "half" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataFormatError, match=r"1 are missing, layer\.4\.convolution\.weight"):
        begin(pretrained(tmp_path / "half"), face_table(16))
    with pytest.raises(ModelNotFoundError):
        train_face(pretrained(tmp_path / "none"), face_table(16), None, None, *places)


def test_an_epoch_has_every_face_once_among_draws_of_the_other_table():
    sampler = FaceSampler(rows=10, extra_rows=100, draws=4, count=12, seed=0)
    first, again = list(sampler), list(sampler)
    assert first == again and len(first) == len(sampler) == 12
    sampler.set_epoch(1)
    assert list(sampler) != first
    rows = [index for index in FaceSampler(10, 100, 4, 14, seed=0)]
    assert sorted(index for index in rows if index < 10) == list(range(10))
    assert len({index for index in rows if index >= 10}) > 2 and max(rows) < 110
    weights = np.eye(10)[3]
    assert [index for index in FaceSampler(10, 0, 0, 10, 0, weights)] == [3] * 10


def test_faces_change_their_colours_and_half_of_them_lose_these():
    torch.manual_seed(0)
    faces = torch.rand(200, 3, 1, 1).expand(-1, -1, 4, 4) * torch.linspace(0.2, 1, 4)
    changed = recolour(faces)
    assert changed.min() >= 0 and changed.max() <= 1
    ratio = changed / changed[:, :1]
    is_grey = (ratio - 1).abs().amax((1, 2, 3)) < 1e-5
    assert 0.15 < is_grey.float().mean() < 0.35  # half of those in grey are tinted afterwards
    greys = torch.rand(200, 1, 4, 4).expand(-1, 3, -1, -1)
    tinted = (recolour(greys) / greys).flatten(2)
    torch.testing.assert_close(tinted.amax(2), tinted.amin(2).clamp(max=1.15), atol=0.2, rtol=0)
    assert 0.4 < ((tinted - 1).abs().amax((1, 2)) < 1e-5).float().mean() < 0.6


def test_mixed_faces_keep_the_stronger_ones_targets():
    torch.manual_seed(0)
    votes = torch.eye(8)[torch.arange(64) % 8]
    votes[::4] = 0  # FairFace
    images = torch.arange(64.0)[:, None, None, None].expand(-1, 1, 2, 2)
    mixed, shares = mix(images, votes, 0.5)
    unchanged = (mixed == images).all((1, 2, 3))
    assert unchanged[::4].all() and (shares[::4] == 0).all()
    assert 0.1 < 1 - unchanged.float().mean() < 0.6
    known = votes.sum(1) > 0
    torch.testing.assert_close(shares[known].sum(1), torch.ones(int(known.sum())))
    assert ((shares * votes).sum(1)[known] >= 0.5).all()
    assert torch.equal(mix(images, votes, 0.0)[0], images)


@pytest.mark.slow
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
    colored = fairface_table(tmp_path, tmp_path, 64, color=True)
    assert colored.images.shape == (1, 64, 64, 3)
    assert np.abs(colored.images[0].mean(-1) - table.images[0]).max() < 2
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
