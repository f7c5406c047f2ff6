from functools import partial

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText

from emo_llama.loading import load_model
from emo_llama.modeling import (
    EmoLlamaConfig,
    EmoLlamaForConditionalGeneration,
    FaceXFormerModel,
)
from emo_llama.testing import tiny_config, tiny_face_config, tiny_model

TEXT_START = 6  # the first ids are special tokens
IMAGE_SIZE, FACE_SIZE = 56, 64


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def pictures(count, seed=0, size=IMAGE_SIZE):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def question(*ids):
    return torch.tensor([ids])


def image_run(config):
    return [config.image_token_id] * config.num_tokens_per_frame


def prompt(config, images=1):
    ids = [1, 7]
    for index in range(images):
        ids += [*image_run(config), 8 + index]
    return torch.tensor([ids])


def test_placeholders_and_images_must_match(model):
    with pytest.raises(
        ValueError, match=r"holds 8 image placeholder tokens.* give 4 visual tokens"
    ):
        model(input_ids=prompt(model.config, images=2), pixel_values=pictures(1))


def test_questions_and_frames_must_match(model):
    with pytest.raises(ValueError, match="2 rows of qformer_input_ids for 3 frames"):
        model.get_frame_features(pictures(3), torch.full((2, 4), 9))


def test_frame_counts_must_sum_to_the_frames(model):
    with pytest.raises(ValueError, match=r"\[2, 2\] sum to 4, but came 3 frames"):
        model.get_video_features(pictures(3), frame_counts=torch.tensor([2, 2]))


def test_videos_and_questions_must_match(model):
    ids = torch.full((1, 4), 9)
    with pytest.raises(ValueError, match="1 rows for 2 videos"):
        model.get_video_features(
            pictures(3), frame_counts=torch.tensor([2, 1]), qformer_input_ids_videos=ids
        )


def test_pixels_and_encoded_features_exclude_each_other(model):
    encoded = {"image": model.get_image_features(pictures(1))}
    with pytest.raises(ValueError, match="not both"):
        model(prompt(model.config), pixel_values=pictures(1), mm_encoder_outputs=encoded)


def test_a_batch_of_mixed_image_counts_equals_its_samples_alone(model):
    """No image, one image and two images in one left-padded batch."""
    config, images, questions = (
        model.config,
        pictures(3),
        torch.tensor([[9, 10], [11, 12], [13, 14]]),
    )
    samples = [prompt(config, images=count) for count in (0, 1, 2)]
    length = max(sample.shape[1] for sample in samples)
    ids = torch.cat([torch.nn.functional.pad(s, (length - s.shape[1], 0)) for s in samples])
    with torch.no_grad():
        together = model(
            input_ids=ids,
            attention_mask=(ids != 0).long(),
            pixel_values=images,
            qformer_input_ids=questions,
        ).logits[:, -1]
        alone = [
            model(samples[0]).logits[:, -1],
            model(samples[1], pixel_values=images[:1], qformer_input_ids=questions[:1]).logits[
                :, -1
            ],
            model(samples[2], pixel_values=images[1:], qformer_input_ids=questions[1:]).logits[
                :, -1
            ],
        ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)


def test_a_video_is_its_frames_one_after_another(model):
    frames, faces = pictures(5), pictures(5, seed=1, size=FACE_SIZE)
    mask = torch.tensor([True, False, True, True, True])
    questions = torch.tensor([[9, 10, 0], [11, 12, 13]])
    seen = torch.tensor([[1, 1, 0], [1, 1, 1]])
    with torch.no_grad():
        videos = model.get_video_features(
            frames,
            frame_counts=torch.tensor([2, 3]),
            qformer_input_ids_videos=questions,
            qformer_attention_mask_videos=seen,
            face_pixel_values_videos=faces,
            face_mask_videos=mask,
        ).pooler_output
        rows = torch.tensor([0, 0, 1, 1, 1])
        images = model.get_image_features(
            frames,
            qformer_input_ids=questions[rows],
            qformer_attention_mask=seen[rows],
            face_pixel_values=faces,
            face_mask=mask,
        ).pooler_output
    count = model.config.num_tokens_per_frame
    assert [len(video) for video in videos] == [2 * count, 3 * count]
    torch.testing.assert_close(torch.cat(videos), images.flatten(0, 1))


def test_an_image_and_a_video_in_one_prompt(model):
    config = model.config
    video = [config.video_token_id] * (2 * config.num_tokens_per_frame)
    ids = torch.tensor([[1, *video, 7, *image_run(config), 8]])
    with torch.no_grad():
        output = model(ids, pixel_values=pictures(1), pixel_values_videos=pictures(2, seed=1))
    assert output.image_hidden_states.shape == (config.num_tokens_per_frame, 16)
    assert output.video_hidden_states.shape == (2 * config.num_tokens_per_frame, 16)
    # transformers 5.24 names what the encoders gave, and not their tokens alone.
    image, video = output.image_outputs.pooler_output, output.video_outputs.pooler_output
    assert torch.equal(image.flatten(0, 1), output.image_hidden_states)
    assert torch.equal(torch.cat(video), output.video_hidden_states)


def test_videos_of_one_length_have_five_dimensions(model):
    """As the video models of transformers have them."""
    frames, faces = pictures(6), pictures(6, seed=1, size=FACE_SIZE)
    mask, questions = torch.tensor([True, False, True] * 2), torch.tensor([[9, 10], [11, 12]])
    with torch.no_grad():
        flat = model.get_video_features(
            frames, torch.tensor([3, 3]), questions, None, faces, mask
        ).pooler_output
        five = model.get_video_features(
            frames.unflatten(0, (2, 3)),
            qformer_input_ids_videos=questions,
            face_pixel_values_videos=faces.unflatten(0, (2, 3)),
            face_mask_videos=mask.view(2, 3),
        ).pooler_output
    assert len(five) == 2
    assert torch.equal(torch.cat(five), torch.cat(flat))
    with pytest.raises(ValueError, match=r"\[2, 4\].*unequal length one frame after another"):
        model.get_video_features(frames.unflatten(0, (2, 3)), torch.tensor([2, 4]))


@pytest.mark.parametrize(
    ("mask", "faceless"), [(None, [False, False]), (torch.tensor([True, False]), [False, True])]
)
def test_no_face_embedding_where_there_is_no_face(model, mask, faceless):
    with torch.no_grad():
        rows = model.get_image_features(
            pictures(2), face_pixel_values=pictures(2, seed=1, size=FACE_SIZE), face_mask=mask
        ).pooler_output
        without = model.get_image_features(pictures(2)).pooler_output
    no_face = model.model.face_info_mining.no_face
    assert [torch.equal(row[2:], no_face) for row in rows] == faceless
    assert all(torch.equal(row[2:], no_face) for row in without)


@pytest.mark.parametrize("conv_tower", [False, True])
@pytest.mark.parametrize(("compress", "content"), [("mean", 1), ("grid:2", 4), ("all", None)])
def test_compress_modes(conv_tower, compress, content):
    model = tiny_model(tiny_config(conv_tower=conv_tower, compress=compress))
    content = content or (4 if conv_tower else 16)
    assert model.config.num_tokens_per_frame == 1 + content + 2
    with torch.no_grad():
        assert model.get_frame_features(pictures(2)).shape == (2, 1 + content, 16)


def test_a_grid_finer_than_the_patches_is_refused():
    model = tiny_model(tiny_config(compress="grid:5"))
    with pytest.raises(ValueError, match="5 cells a side, but the tower gives 4"):
        model.get_frame_features(pictures(1))


def test_grid_keeps_the_places_of_patches(model):
    patches = torch.arange(16.0).view(1, 16, 1)
    frame_tokens = tiny_model(tiny_config(compress="grid:2")).model.frame_tokens
    assert frame_tokens._content(patches, 4).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


def fim_config(**switches):
    values = {"hidden_size": 8, "num_attention_heads": 2, "num_aggregator_layers": 1}
    return values | {"intermediate_size": 16, "pool_size": 4} | switches


@pytest.mark.parametrize(
    ("switches", "tokens"),
    [
        ({}, 2),
        ({"face_tokens_per_frame": 5}, 5),
        ({"use_global": False}, 2),
        ({"use_local": False}, 2),
        ({"use_text": False}, 2),
        ({"num_aggregator_layers": 0}, 2),
        ({"use_global": False, "use_local": False}, 0),
    ],
)
def test_each_switch_of_the_face_info_mining(switches, tokens):
    config = tiny_config(fim_config=fim_config(**switches))
    model = tiny_model(config)
    assert config.num_tokens_per_frame == 2 + tokens
    faces = pictures(1, seed=1, size=FACE_SIZE)
    with torch.no_grad():
        output = model(
            prompt(config),
            pixel_values=pictures(1),
            face_pixel_values=faces,
            qformer_input_ids=question(9, 10),
        )
    assert output.image_hidden_states.shape == (2 + tokens, 16)
    names = {name.split(".")[2] for name, _ in model.named_parameters() if "face_info" in name}
    assert ("global_clues" in names) == (config.fim_config.use_global and tokens > 0)
    assert ("local_clues" in names) == (config.fim_config.use_local and tokens > 0)


@pytest.mark.parametrize("use_text", [True, False])
def test_the_question_reaches_the_face_tokens_where_asked(use_text):
    model = tiny_model(tiny_config(fim_config=fim_config(use_text=use_text)))
    faces = pictures(1, seed=1, size=FACE_SIZE)
    with torch.no_grad():
        seen = model.encode(face_pixel_values=faces)
        one, other = (
            model.model.get_face_features(seen, ids, torch.ones_like(ids))
            for ids in (question(9, 10), question(40, 41))
        )
    assert torch.equal(one, other) != use_text


def test_the_question_reaches_the_context_token_alone(model):
    with torch.no_grad():
        one, other = (
            model.get_frame_features(pictures(1), ids)[0] for ids in (question(9), question(40))
        )
    assert not torch.equal(one[0], other[0])
    torch.testing.assert_close(one[1:], other[1:])


def test_padding_of_a_question_changes_nothing(model):
    ids, mask = torch.tensor([[9, 10, 0, 0]]), torch.tensor([[1, 1, 0, 0]])
    with torch.no_grad():
        short = model.get_frame_features(pictures(1), question(9, 10))
        padded = model.get_frame_features(pictures(1), ids, mask)
    torch.testing.assert_close(short, padded, atol=1e-6, rtol=0)


def test_without_a_face_network():
    config = tiny_config(face_config=None)
    model = tiny_model(config)
    assert config.num_tokens_per_frame == 2
    assert model.model.face_model is None
    assert model(prompt(config), pixel_values=pictures(1)).logits.isfinite().all()


def test_an_expression_token_is_one_more_clue():
    config = tiny_config(face_config=tiny_face_config(num_expressions=8))
    identity = tiny_model(config).model.face_info_mining.global_clues.identity
    assert identity.shape[0] == 8 + 4**2


def training_inputs(config):
    ids = prompt(config).repeat(2, 1)
    return {
        "input_ids": ids,
        "labels": ids.masked_fill(ids == config.image_token_id, -100),
        "pixel_values": pictures(2),
        "qformer_input_ids": torch.tensor([[9, 10], [11, 12]]),
        "face_pixel_values": pictures(2, seed=1, size=FACE_SIZE),
        "face_mask": torch.tensor([True, False]),
    }


def test_frozen_encoders_stay_in_evaluation_mode_and_get_no_gradient():
    model = tiny_model(tiny_config(conv_tower=True))
    model.model.vision_tower.requires_grad_(False)
    model.model.face_model.requires_grad_(False)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.train()
    assert model.model.language_model.training
    assert not model.model.vision_tower.training
    assert not any(module.training for module in model.model.face_model.modules())
    model(**training_inputs(model.config)).loss.backward()
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())
    trained = {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None}
    assert {"frame_tokens", "face_info_mining", "language_model"} <= trained
    assert not {"vision_tower", "face_model"} & trained


def test_an_encoder_with_one_trained_weight_trains():
    model = tiny_model()
    model.model.face_model.requires_grad_(False)
    next(model.model.face_model.parameters()).requires_grad_(True)
    assert model.train().model.face_model.training


def test_every_part_but_the_face_heads_learns():
    model = tiny_model().train()
    model(**training_inputs(model.config)).loss.backward()
    idle = {name for name, p in model.named_parameters() if p.grad is None}
    assert all(name.startswith("model.face_model.") and "_head." in name for name in idle)


def test_gradient_checkpointing_gives_the_same_gradients():
    gradients = []
    for checkpointing in (False, True):
        model = tiny_model(tiny_config(conv_tower=True))
        model.model.face_model.requires_grad_(False)
        model.model.vision_tower.requires_grad_(False)
        if checkpointing:
            model.gradient_checkpointing_enable()
            model.enable_input_require_grads()
        for module in model.modules():  # dropout would draw other numbers
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            if hasattr(module, "attention_dropout"):
                module.attention_dropout = 0.0
        model.train()
        model(**training_inputs(model.config)).loss.backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.slow
def test_a_few_steps_overfit():
    """Two pictures, two answers: the visual path carries the difference."""
    torch.manual_seed(0)
    config = tiny_config()
    model = tiny_model(config).train()
    inputs = training_inputs(config) | {"face_mask": None}
    inputs["input_ids"][:, -1] = torch.tensor([20, 30])
    inputs["labels"] = inputs["input_ids"].clone()
    inputs["labels"][:, :-1] = -100
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(50):
        loss = model(**inputs).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.3


def test_generation_with_cache_equals_generation_without(model):
    inputs = {"pixel_values": pictures(1), "qformer_input_ids": question(9, 10)}
    ids = prompt(model.config)
    options = {"max_new_tokens": 6, "do_sample": False}
    cached = model.generate(ids, **inputs, **options)
    assert torch.equal(cached, model.generate(ids, **inputs, **options, use_cache=False))


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_the_cache_goes_by_either_name(model, name):
    """transformers 5.24 says `cache`, earlier versions `past_key_values`; models meet both."""
    ids, images = prompt(model.config), pictures(1)
    with torch.no_grad():
        whole = model(ids, pixel_values=images).logits[:, -1]
        for part in (model, model.model):
            before = part(ids[:, :-1], pixel_values=images, use_cache=True)
            last = model(ids[:, -1:], **{name: getattr(before, name)}).logits[:, -1]
            torch.testing.assert_close(last, whole, atol=1e-5, rtol=0)
            assert getattr(before, name).get_seq_length() == ids.shape[1]
    assert not hasattr(before, "no_such_name")


def test_a_cache_by_both_names_is_refused(model):
    cache = model(prompt(model.config), pixel_values=pictures(1), use_cache=True).cache
    with pytest.raises(ValueError, match="as cache or as past_key_values, not as both"):
        model(torch.tensor([[7]]), cache=cache, past_key_values=cache)


def test_beams_keep_the_images_of_their_sample(model):
    """Two samples of one and two images; three beams each."""
    config = model.config
    short, long = prompt(config, images=1), prompt(config, images=2)
    pad = long.shape[1] - short.shape[1]
    ids = torch.cat([torch.nn.functional.pad(short, (pad, 0)), long])
    options = {"max_new_tokens": 4, "num_beams": 3, "do_sample": False, "min_new_tokens": 4}
    images = pictures(3)
    together = model.generate(ids, attention_mask=(ids != 0).long(), pixel_values=images, **options)
    alone = [
        model.generate(short, pixel_values=images[:1], **options)[0, -4:],
        model.generate(long, pixel_values=images[1:], **options)[0, -4:],
    ]
    assert torch.equal(together[:, -4:], torch.stack(alone))


def test_generation_from_a_video(model):
    config = model.config
    ids = torch.tensor([[1, *[config.video_token_id] * (3 * config.num_tokens_per_frame), 7]])
    output = model.generate(
        ids,
        pixel_values_videos=pictures(3),
        frame_counts=torch.tensor([3]),
        qformer_input_ids_videos=question(9, 10),
        face_pixel_values_videos=pictures(3, seed=1, size=FACE_SIZE),
        max_new_tokens=3,
        min_new_tokens=3,
    )
    assert output.shape == (1, ids.shape[1] + 3)


def test_placeholders_are_never_predicted(model):
    logits = model(prompt(model.config), pixel_values=pictures(1)).logits
    lowest = torch.finfo(logits.dtype).min
    tokens = [model.config.image_token_id, model.config.video_token_id]
    assert (logits[..., tokens] == lowest).all()


def test_placeholders_are_suppressed_wherever_tokens_are_proposed(model, tmp_path):
    placeholders = [model.config.image_token_id, model.config.video_token_id]
    assert model.generation_config.suppress_tokens == placeholders
    model.save_pretrained(tmp_path)
    assert AutoModel.from_pretrained(tmp_path).generation_config.suppress_tokens == placeholders
    shipped, _ = load_model()
    assert shipped.generation_config.suppress_tokens == shipped.config.placeholder_ids


@pytest.mark.parametrize("images", [1, 2])
def test_prompt_lookup_gives_the_greedy_result(model, images):
    """The prompt ends as it goes before its first image: the lookup proposes placeholders."""
    ids = torch.cat([prompt(model.config, images), torch.tensor([[20, 1, 7]])], dim=1)
    options = {"pixel_values": pictures(images), "do_sample": False, "max_new_tokens": 8}
    greedy = model.generate(ids, **options)
    assert torch.equal(model.generate(ids, **options, prompt_lookup_num_tokens=4), greedy)


def test_visual_tokens_that_are_not_finite_are_refused(model):
    images = pictures(2)
    images[1, 0, 0, 0] = torch.nan
    ids = prompt(model.config, images=2)
    for call in (model, partial(model.generate, max_new_tokens=1)):
        with pytest.raises(ValueError, match="2 of 8 image tokens hold NaN or infinity"):
            call(ids, pixel_values=images)


def test_labels_may_hold_placeholders(model):
    """TRL's collator takes the ids for labels and leaves the placeholders in."""
    inputs = training_inputs(model.config)
    masked = model(**inputs).loss
    assert torch.equal(model(**inputs | {"labels": inputs["input_ids"]}).loss, masked)
    shifted = torch.nn.functional.pad(inputs["input_ids"], (0, 1), value=-100)[:, 1:]
    torch.testing.assert_close(model(**inputs, shift_labels=shifted).loss, masked)


def test_one_question_for_several_images(model):
    images, faces = pictures(2), pictures(2, seed=1, size=FACE_SIZE)
    with torch.no_grad():
        one = model.get_image_features(images, question(9, 10), face_pixel_values=faces)
        each = model.get_image_features(
            images, question(9, 10).repeat(2, 1), face_pixel_values=faces
        )
    torch.testing.assert_close(one.pooler_output, each.pooler_output)
    with pytest.raises(ValueError, match="2 rows of qformer_input_ids for 1 frames"):
        model.get_image_features(images[:1], question(9, 10).repeat(2, 1))


@pytest.mark.parametrize("conv_tower", [False, True])
def test_sdpa_equals_eager(conv_tower, tmp_path):
    tiny_model(tiny_config(conv_tower=conv_tower)).save_pretrained(tmp_path)
    sdpa = AutoModel.from_pretrained(tmp_path, attn_implementation="sdpa")
    eager = AutoModel.from_pretrained(tmp_path, attn_implementation="eager")
    assert sdpa.config.text_config._attn_implementation == "sdpa"
    assert eager.config.text_config._attn_implementation == "eager"
    inputs = training_inputs(sdpa.config)
    with torch.no_grad():
        expected = eager(**inputs).logits
        torch.testing.assert_close(sdpa(**inputs).logits, expected, atol=1e-5, rtol=0)
        sdpa.set_attn_implementation("eager")
        assert torch.equal(sdpa(**inputs).logits, expected)
    sdpa.set_attn_implementation("sdpa")


@pytest.mark.parametrize("backbone", ["regnet", "swin"])
def test_flex_attention_reaches_what_has_it(backbone, tmp_path):
    """Its kernel is compiled for minutes on a CPU, so that nothing is computed here."""
    swin = {"model_type": "swin", "image_size": 64, "embed_dim": 8, "depths": [1, 1, 1, 1]}
    swin |= {"num_heads": [1, 1, 2, 2], "window_size": 2}
    options = {"backbone_config": swin} if backbone == "swin" else {}
    tiny_model(tiny_config(face_config=tiny_face_config(**options))).save_pretrained(tmp_path)
    model = AutoModel.from_pretrained(tmp_path, attn_implementation="flex_attention").model
    for part in (model.language_model, model.vision_tower, model.frame_tokens.qformer):
        assert part.config._attn_implementation == "flex_attention"
    if backbone == "swin":
        assert model.face_model.backbone.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("model_class", [EmoLlamaForConditionalGeneration, FaceXFormerModel])
def test_flash_attention_may_be_asked_for(model_class):
    assert model_class._supports_flash_attn


class ImageFeatures(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model.model

    def forward(self, pixel_values, *rest):
        return self.model.get_image_features(pixel_values, *rest, return_dict=True).pooler_output


@pytest.mark.slow
@pytest.mark.parametrize("conv_tower", [False, True])
def test_the_image_path_is_exported_for_any_number_of_images(conv_tower):
    features = ImageFeatures(tiny_model(tiny_config(conv_tower=conv_tower, compress="grid:2")))

    def inputs(count):
        ids = torch.randint(4, 90, (count, 5), generator=torch.Generator().manual_seed(count))
        faces = pictures(count, seed=1, size=FACE_SIZE)
        return pictures(count), ids, torch.ones_like(ids), faces

    rows = {0: torch.export.Dim.DYNAMIC}
    with torch.no_grad():
        program = torch.export.export(features, inputs(3), dynamic_shapes=(rows, (rows,) * 3))
        for count in (2, 3, 5):
            expected = features(*inputs(count))
            graph = program.module()(*inputs(count))
            torch.testing.assert_close(graph, expected, atol=1e-5, rtol=0)
    attentions = [
        node.args[0].meta["val"].ndim
        for node in program.graph.nodes
        if "scaled_dot_product_attention" in str(node.target)
    ]
    assert set(attentions) == {4}  # ONNX has no other


@pytest.mark.slow
def test_the_face_network_with_a_mirror_is_exported_without_splitting_the_batch():
    model = FaceXFormerModel(tiny_face_config(use_mirror=True)).eval()
    rows = {0: torch.export.Dim.DYNAMIC}
    with torch.no_grad():
        faces = pictures(3, size=FACE_SIZE)
        program = torch.export.export(model, (faces,), dynamic_shapes={"pixel_values": rows})
        for count in (2, 5):
            faces = pictures(count, size=FACE_SIZE)
            told = program.module()(faces).landmarks
            torch.testing.assert_close(told, model(faces).landmarks, atol=1e-5, rtol=0)
    split = [node.args for node in program.graph.nodes if "chunk" in str(node.target)]
    assert all(len(args) == 3 for args in split), split  # the batch, dimension 0, would go unsaid


def test_saved_as_safetensors_and_loaded_by_the_auto_classes(model, tmp_path):
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").exists()
    assert type(AutoConfig.from_pretrained(tmp_path)) is type(model.config)
    inputs = training_inputs(model.config)
    with torch.no_grad():
        expected = model(**inputs).logits
        for auto_class in (AutoModel, AutoModelForImageTextToText):
            loaded = auto_class.from_pretrained(tmp_path)
            assert type(loaded) is EmoLlamaForConditionalGeneration
            assert torch.equal(loaded(**inputs).logits, expected)


def test_a_tied_head_shares_the_embedding(tmp_path):
    config = tiny_config()
    config.text_config.tie_word_embeddings = True
    config = type(config)(**config.to_dict())
    model = tiny_model(config)
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert loaded.lm_head.weight is loaded.model.language_model.embed_tokens.weight


def parts_of(model):
    """Names of the modules of the first three levels that hold parameters."""
    modules = [(name, module) for name, module in model.named_modules() if name.count(".") <= 2]
    return [name for name, module in modules if name and any(True for _ in module.parameters())]


def map_with_one_part_on_disk(model, part):
    """Each module beside the way down to the part stays in memory, weights on that way as well."""
    devices, module, way = {}, model, ""
    for name in part.split("."):
        for other, _ in [*module.named_children(), *module.named_parameters(recurse=False)]:
            devices[f"{way}{other}"] = "cpu"
        way, module = f"{way}{name}.", module.get_submodule(name)
        del devices[way[:-1]]
    return devices | {part: "disk"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("saved")
    model.save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("part", parts_of(tiny_model()))
def test_a_part_offloaded_to_disk_answers_as_in_memory(part, model, saved, tmp_path):
    pytest.importorskip("accelerate", reason="offloading needs it: pip install accelerate")
    inputs = training_inputs(model.config)
    offloaded = EmoLlamaForConditionalGeneration.from_pretrained(
        saved, device_map=map_with_one_part_on_disk(model, part), offload_folder=tmp_path
    )
    weights = offloaded.get_submodule(part).parameters()
    assert {weight.device.type for weight in weights} == {"meta"}
    with torch.no_grad():
        assert torch.equal(offloaded(**inputs).logits, model(**inputs).logits)


def test_what_little_memory_does_not_hold_is_offloaded(model, saved, tmp_path):
    pytest.importorskip("accelerate", reason="offloading needs it: pip install accelerate")
    inputs = training_inputs(model.config)
    offloaded = EmoLlamaForConditionalGeneration.from_pretrained(
        saved,
        device_map="auto",
        max_memory={"cpu": model.get_memory_footprint() // 4},
        offload_folder=tmp_path,
    )
    on_disk = {name for name, device in offloaded.hf_device_map.items() if device == "disk"}
    assert any(name.startswith("model.face_model") for name in on_disk)
    with torch.no_grad():
        assert torch.equal(offloaded(**inputs).logits, model(**inputs).logits)


def test_half_precision_takes_single_precision_pixels():
    model = tiny_model().to(torch.bfloat16)
    inputs = training_inputs(model.config)
    assert model(**inputs).logits.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    model = tiny_model().train()
    with torch.autocast("cpu", dtype=dtype):
        loss = model(**training_inputs(model.config)).loss
    loss.backward()
    assert loss.isfinite()


def test_parts_kept_more_precise_than_the_rest():
    """As when the encoders and the language model are quantised and the new parts are not."""
    model = tiny_model()
    for part in (model.model.vision_tower, model.model.face_model, model.model.language_model):
        part.to(torch.bfloat16)
    model.lm_head.to(torch.bfloat16)
    assert model(**training_inputs(model.config)).logits.dtype == torch.bfloat16


def test_the_default_parts_have_the_size_of_the_reference():
    with torch.device("meta"):
        parts = EmoLlamaForConditionalGeneration(EmoLlamaConfig()).model
    sizes = {
        name: sum(p.numel() for p in part.parameters()) for name, part in parts.named_children()
    }
    key_biases = 39 * 1408  # kept as zeros here, left out there
    assert sizes["vision_tower"] == 985_894_528 + key_biases
    assert sizes["face_model"] == 91_985_943
    assert sum(p.numel() for p in parts.frame_tokens.qformer.parameters()) == 185_660_160
    assert sum(p.numel() for p in parts.frame_tokens.content_projector.parameters()) == 22_552_576


def test_fresh_projectors_keep_the_scale_of_their_input():
    frames = tiny_model().model.frame_tokens
    for linear in (frames.content_projector.linear_1, frames.value_projection):
        assert linear.weight.std().item() == pytest.approx(linear.in_features**-0.5, rel=0.15)


def encoded_inputs(config, kind):
    """A prompt about two frames, of which one has a face, and their pixels."""
    suffix, token_id = ("", config.image_token_id)
    if kind == "video":
        suffix, token_id = "_videos", config.video_token_id
    ids = torch.tensor([[1, 7, *[token_id] * (2 * config.num_tokens_per_frame), 8]])
    pixels = {
        f"pixel_values{suffix}": pictures(2),
        f"face_pixel_values{suffix}": pictures(2, seed=1, size=FACE_SIZE),
        f"face_mask{suffix}": torch.tensor([True, False]),
    }
    asked = question(9, 10) if kind == "video" else question(9, 10).expand(2, -1)
    return suffix, {"input_ids": ids, f"qformer_input_ids{suffix}": asked}, pixels


@pytest.mark.parametrize("kind", ["image", "video"])
def test_encodings_stand_for_pixels(model, kind):
    """In `forward`, as an output class and as a dictionary, and in `generate`."""
    suffix, inputs, pixels = encoded_inputs(model.config, kind)
    settings = {"max_new_tokens": 4, "num_beams": 2, "do_sample": False}
    with torch.no_grad():
        seen = model.encode(*pixels.values())
        expected = model(**inputs, **pixels).logits
        for encodings in (seen, dict(seen)):
            assert torch.equal(
                model(**inputs, **{f"encodings{suffix}": encodings}).logits, expected
            )
        written = model.generate(**inputs, **pixels, **settings)
        again = model.generate(**inputs, **settings, **{f"encodings{suffix}": seen})
    assert torch.equal(again, written)


@pytest.mark.parametrize("kind", ["image", "video"])
@pytest.mark.parametrize("extra", [0, 1, 2])
def test_encodings_and_pixels_exclude_each_other(model, kind, extra):
    suffix, inputs, pixels = encoded_inputs(model.config, kind)
    with torch.no_grad():
        inputs[f"encodings{suffix}"] = model.encode(*pixels.values())
    name = list(pixels)[extra]
    for method in (model, partial(model.generate, max_new_tokens=1)):
        with pytest.raises(ValueError, match="leave these out"):
            method(**inputs, **{name: pixels[name]})
    with pytest.raises(ValueError, match="got neither"):
        getattr(model, f"get_{kind}_features")()
