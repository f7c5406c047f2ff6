"""The processor: templates, placeholders and their counts, questions, videos, TRL's collator."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from emo_llama.media import read_video
from emo_llama.modeling.processing_emo_llama import (
    VICUNA_SYSTEM_PROMPT,
    EmoLlamaProcessor,
    chat_template,
)
from emo_llama.testing import tiny_model, tiny_processor

IMAGE, VIDEO = {"type": "image"}, {"type": "video"}


@pytest.fixture(scope="module")
def processor():
    return tiny_processor()


@pytest.fixture
def picture():
    return Image.new("RGB", (60, 40), (200, 120, 40))


def text(words):
    return {"type": "text", "text": words}


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


def answer(words):
    return {"role": "assistant", "content": [text(words)]}


def count(inputs, token_id):
    return (inputs["input_ids"] == token_id).sum(-1).tolist()


def questions(processor, inputs, suffix=""):
    return processor.qformer_tokenizer.batch_decode(
        inputs[f"qformer_input_ids{suffix}"], skip_special_tokens=True
    )


def squeeze(words):
    """Texts without spaces and case: what any tokenizer gives back."""
    return [word.replace(" ", "").lower() for word in words]


def write_video(path, seconds, rate=10, size=(48, 32), dark=0):
    """A clip whose frames grow brighter, so that a frame's value tells its time.

    The first `dark` columns are black.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        total = seconds * rate
        for index in range(total):
            values = np.full((size[1], size[0], 3), 20 + 200 * index // total, dtype=np.uint8)
            values[:, :dark] = 0
            container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="rgb24")))
        container.mux(stream.encode())
    return str(path)


# --- the chat template


def test_the_template_is_vicunas(processor):
    conversation = [
        user(IMAGE, text("What is it?")),
        answer("Anger."),
        {"role": "user", "content": "Why?"},
    ]
    bos, eos = processor.tokenizer.bos_token or "", processor.tokenizer.eos_token
    expected = (
        f"{bos}{VICUNA_SYSTEM_PROMPT} USER: <image>\nWhat is it? ASSISTANT: Anger.{eos}"
        "USER: Why? ASSISTANT:"
    )
    template = chat_template()
    assert expected == processor.apply_chat_template(
        conversation, chat_template=template, add_generation_prompt=True
    )


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ([IMAGE, IMAGE, text("Who?")], "<image>\n<image>\nWho?"),
        ([text("Who?"), VIDEO], "Who?\n<video>"),
        ([text("a"), IMAGE, text("b")], "a\n<image>\nb"),
        ([IMAGE], "<image>"),
    ],
)
def test_line_ends_separate_pictures_from_text(processor, blocks, expected):
    template = chat_template(system_prompt="")
    prompt = processor.apply_chat_template([user(*blocks)], chat_template=template)
    assert prompt == f"{processor.tokenizer.bos_token or ''}USER: {expected} "


def test_a_system_message_takes_the_place_of_the_default(processor):
    conversation = [{"role": "system", "content": "Be brief."}, user(text("Who?"))]
    prompt = processor.apply_chat_template(conversation, chat_template=chat_template())
    assert prompt == f"{processor.tokenizer.bos_token or ''}Be brief. USER: Who? "


def test_the_final_answer_can_be_continued(processor):
    conversation = [user(text("Who?")), answer("The person looks")]
    prompt = processor.apply_chat_template(conversation, continue_final_message=True)
    assert prompt.endswith("ASSISTANT: The person looks")


def test_unknown_roles_and_blocks_are_refused(processor):
    for message in ({"role": "tool", "content": "x"}, user({"type": "smell", "text": "x"})):
        with pytest.raises(Exception, match="got (tool|smell)"):
            processor.apply_chat_template([message])


# --- placeholders and counts


def test_each_image_becomes_its_tokens(processor, picture):
    prompts = ["USER: <image>\n<image>\nWho? ASSISTANT:", "USER: <image>\nWhy now? ASSISTANT:"]
    inputs = processor(
        images=[[picture, picture], [picture]], text=prompts, padding=True, return_tensors="pt"
    )
    tokens = processor.num_tokens_per_frame
    assert count(inputs, processor.image_token_id) == [2 * tokens, tokens]
    assert inputs["pixel_values"].shape[0] == inputs["face_pixel_values"].shape[0] == 3
    assert inputs["face_mask"].tolist() == [True] * 3
    assert squeeze(questions(processor, inputs)) == ["who?", "who?", "whynow?"]


def test_the_number_of_tokens_is_a_setting(processor, picture):
    other = EmoLlamaProcessor(
        processor.image_processor,
        processor.tokenizer,
        processor.qformer_tokenizer,
        num_tokens_per_frame=7,
    )
    inputs = other(images=picture, text="<image> Who?", return_tensors="pt")
    assert count(inputs, other.image_token_id) == [7]


@pytest.mark.parametrize(
    ("prompt", "number"), [("<image> Who?", 2), ("<image><image> Who?", 1), ("Who?", 1)]
)
def test_a_wrong_number_of_images_names_both_counts(processor, picture, prompt, number):
    placeholders = prompt.count("<image>")
    with pytest.raises(ValueError, match=f"{placeholders} <image> tokens and {number} images"):
        processor(images=[picture] * number, text=prompt)


def test_truncated_placeholders_are_noticed(processor, picture):
    prompt = "USER: <image>\nWho? ASSISTANT:"
    with pytest.raises(ValueError, match="image"):
        processor(images=picture, text=prompt, truncation=True, max_length=4)


def test_text_alone_gives_no_pixels(processor):
    inputs = processor(text=["Who?"], return_tensors="pt")
    assert set(inputs) <= {"input_ids", "attention_mask", "token_type_ids"}


def test_images_alone_give_no_ids(processor, picture):
    inputs = processor(images=[picture], return_tensors="pt")
    assert set(inputs) == {"pixel_values", "face_pixel_values", "face_mask"}


def test_without_return_tensors_lists_come_back(processor, picture):
    inputs = processor(images=picture, text="<image> Who?")
    assert isinstance(inputs["input_ids"], list) and isinstance(inputs["qformer_input_ids"], list)


def test_a_batch_may_mix_prompts_with_and_without_images(processor, picture):
    conversations = [[user({**IMAGE, "image": picture}, text("Who?"))], [user(text("Hello"))]]
    inputs = processor.apply_chat_template(
        conversations,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True},
    )
    assert count(inputs, processor.image_token_id) == [processor.num_tokens_per_frame, 0]
    assert inputs["pixel_values"].shape[0] == inputs["qformer_input_ids"].shape[0] == 1


def test_face_boxes_reach_the_crops(processor, picture):
    picture.paste((10, 20, 250), (0, 0, 20, 20))
    call = {"images": [picture, picture], "text": "<image><image> Who?", "return_tensors": "pt"}
    inputs = processor(**call, face_boxes=[(5, 5, 15, 15), None])
    expected = processor.image_processor(
        [picture], face_boxes=[(5, 5, 15, 15)], return_tensors="pt"
    )
    torch.testing.assert_close(inputs["face_pixel_values"][:1], expected["face_pixel_values"])
    assert inputs["face_mask"].tolist() == [True, False]


def test_the_numbers_that_vllm_asks_for_are_those_of_a_call(processor, picture):
    call = {"return_tensors": "pt", "return_mm_token_type_ids": True, "padding": True}
    prompts = ["<image> Who?", "<image><image> Who?"]
    inputs = processor(images=[picture] * 3, text=prompts, **call)
    asked = processor._get_num_multimodal_tokens(image_sizes=[(40, 60)] * 3)
    per_image = asked["num_image_tokens"]
    assert inputs["mm_token_type_ids"].sum(-1).tolist() == [per_image[0], sum(per_image[1:])]
    assert sum(asked["num_image_patches"]) == inputs["pixel_values"].shape[0]
    assert "num_video_tokens" not in asked
    inputs = processor(videos=[[picture] * 3], text="<video> Who?", **call)
    asked = processor._get_num_multimodal_tokens(video_sizes=[(3, 40, 60)])
    assert asked["num_video_tokens"] == [count(inputs, processor.video_token_id)[0]]


# --- questions for the Q-Former


def test_every_placeholder_is_asked_the_question_of_its_turn(processor, picture):
    shown = {**IMAGE, "image": picture}
    conversation = [
        user(shown, text("First\nquestion?")),
        answer("Yes."),
        user(text("Second one?"), shown),
    ]
    inputs = processor.apply_chat_template(
        conversation, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert squeeze(questions(processor, inputs)) == ["firstquestion?", "secondone?"]


def test_questions_can_be_given(processor, picture):
    call = {"images": [picture], "text": "<image> Who?", "return_tensors": "pt"}
    inputs = processor(**call, questions=["something else"])
    assert squeeze(questions(processor, inputs)) == ["somethingelse"]
    with pytest.raises(ValueError, match="got 2 for 1"):
        processor(**call, questions=["a", "b"])


def test_long_questions_lose_their_beginning(processor, picture):
    words = " ".join(["word"] * 400) + " the end"
    inputs = processor(images=[picture], text=f"<image> {words}", return_tensors="pt")
    assert inputs["qformer_input_ids"].shape[1] == processor.max_question_length
    assert squeeze(questions(processor, inputs))[0].endswith("wordtheend")


def test_one_tokenizer_may_serve_twice(processor):
    shared = EmoLlamaProcessor(processor.image_processor, processor.tokenizer, processor.tokenizer)
    assert shared.qformer_tokenizer.truncation_side == "left"
    assert shared.tokenizer.truncation_side == "right"


def test_typed_placeholders_can_be_made_harmless(processor, picture):
    conversation = [user({**IMAGE, "image": picture}, text("A <image> or </s>?"))]
    with pytest.raises(ValueError, match="2 <image> tokens and 1 images"):
        processor.apply_chat_template(conversation, tokenize=True, return_dict=True)
    inputs = processor.apply_chat_template(
        conversation,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        sanitize_control_tokens=True,
    )
    assert count(inputs, processor.image_token_id) == [processor.num_tokens_per_frame]


# --- videos


def test_a_video_file_is_decoded_at_one_frame_a_second(processor, tmp_path):
    path = write_video(tmp_path / "clip.mp4", seconds=4)
    inputs = processor.apply_chat_template(
        [user({**VIDEO, "video": path}, text("How do they look?"))],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    assert inputs["frame_counts"].tolist() == [4]
    assert count(inputs, processor.video_token_id) == [4 * processor.num_tokens_per_frame]
    assert (
        inputs["pixel_values_videos"].shape[0] == inputs["face_pixel_values_videos"].shape[0] == 4
    )
    assert squeeze(questions(processor, inputs, "_videos")) == ["howdotheylook?"]
    brightness = inputs["pixel_values_videos"].mean((1, 2, 3))
    assert (brightness.diff() > 0.1).all()
    assert "pixel_values" not in inputs


@pytest.mark.parametrize(
    ("settings", "frames"),
    [
        ({"fps": 5}, 20),
        ({"num_frames": 3}, 3),
        ({"do_sample_frames": False}, 40),
        ({"fps": 0.1}, 1),
    ],
)
def test_sampling_can_be_set_for_a_call(processor, tmp_path, settings, frames):
    path = write_video(tmp_path / "clip.mp4", seconds=4)
    inputs = processor(videos=[path], text="<video> Who?", return_tensors="pt", **settings)
    assert inputs["frame_counts"].tolist() == [frames]


def test_long_videos_give_frames_from_all_of_it(processor, tmp_path):
    path = write_video(tmp_path / "clip.mp4", seconds=12)
    short = tiny_processor()
    short.max_frames = 3
    inputs = short(videos=[path], text="<video> Who?", return_tensors="pt")
    whole = processor(videos=[path], text="<video> Who?", return_tensors="pt")
    picked = whole["pixel_values_videos"][[0, 4, 8]]
    torch.testing.assert_close(inputs["pixel_values_videos"], picked)


def test_a_turned_video_is_seen_as_displayed(processor, tmp_path):
    """As phones write portrait videos: the frames lie, and a matrix in the header turns them."""
    path = Path(write_video(tmp_path / "clip.mp4", seconds=2, dark=24))
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 44  # behind version, times, track, duration and volume
    one = 1 << 16
    content[matrix : matrix + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    _, frame = read_video(path, fps=1)
    assert frame.image.size == (32, 48)
    upper, lower = frame.image.getpixel((16, 4))[0], frame.image.getpixel((16, 44))[0]
    assert upper < 40 < 100 < lower  # by 90 degrees clockwise: the left side is above
    turned = processor(videos=[str(path)], text="<video> Who?", return_tensors="pt")
    direct = processor(videos=[[frame.image]], text="<video> Who?", return_tensors="pt")
    torch.testing.assert_close(turned["pixel_values_videos"][1:], direct["pixel_values_videos"])


def test_containers_without_a_frame_count_work(processor, tmp_path):
    path = write_video(tmp_path / "clip.mkv", seconds=4)
    with av.open(path) as container:
        assert container.streams.video[0].frames == 0
    inputs = processor(videos=[path], text="<video> Who?", return_tensors="pt")
    assert inputs["frame_counts"].tolist() == [4]


def test_frames_are_taken_as_they_are(processor, picture):
    clips = [[picture] * 2, np.asarray(picture)[None].repeat(3, axis=0)]
    inputs = processor(
        videos=clips, text=["<video> a", "<video> b"], padding=True, return_tensors="pt"
    )
    assert inputs["frame_counts"].tolist() == [2, 3]
    assert inputs["pixel_values_videos"].shape[0] == 5
    torch.testing.assert_close(*inputs["pixel_values_videos"][[0, 4]])


def test_frames_are_cropped_and_images_padded(processor, picture):
    inputs = processor(
        images=[picture], videos=[[picture]], text="<image><video> Who?", return_tensors="pt"
    )
    square = picture.crop((10, 0, 50, 40))
    cropped = processor.image_processor([square], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(inputs["pixel_values_videos"], cropped, atol=1e-5, rtol=0)
    assert not torch.allclose(inputs["pixel_values"], cropped)


def test_images_and_videos_keep_their_questions_apart(processor, picture):
    shown, clip = {**IMAGE, "image": picture}, {**VIDEO, "video": [picture, picture]}
    conversation = [user(clip, text("One?")), answer("a"), user(shown, text("Two?"))]
    inputs = processor.apply_chat_template(
        conversation, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert squeeze(questions(processor, inputs, "_videos")) == ["one?"]
    assert squeeze(questions(processor, inputs)) == ["two?"]
    assert set(inputs) <= set(processor.model_input_names)


def test_boxes_of_frames(processor, picture):
    call = {"videos": [[picture] * 2, [picture]], "text": "<video><video> Who?"}
    boxes = [[(0, 0, 20, 20), None], None]
    inputs = processor(**call, video_face_boxes=boxes, return_tensors="pt")
    assert inputs["face_mask_videos"].tolist() == [True, False, False]
    with pytest.raises(ValueError, match="got 1 for 2"):
        processor(**call, video_face_boxes=boxes[:1])
    with pytest.raises(ValueError, match="got 1 for 2 frames"):
        processor(**call, video_face_boxes=[[None], None])


def test_a_file_that_is_no_video_is_named(processor, tmp_path):
    path = tmp_path / "notes.mp4"
    path.write_text("no video")
    with pytest.raises(ValueError, match="notes.mp4"):
        processor(videos=[str(path)], text="<video> Who?")
    with pytest.raises(ValueError, match="Video 0 of 1 has no frames"):
        processor(videos=[np.zeros((0, 8, 8, 3), np.uint8)], text="<video> Who?")


# --- batches of conversations, and answers


def test_a_padded_batch_is_answered_as_its_rows_alone(processor, picture):
    model = tiny_model()
    asked = ["Who?", "Which of the eight expressions does the person show?", "Sad or not?"]
    conversations = [
        [user({**IMAGE, "image": picture.rotate(90 * index)}, text(words))]
        for index, words in enumerate(asked)
    ]

    def generate(conversations):
        inputs = processor.apply_chat_template(
            conversations,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )
        done = model.generate(
            **inputs,
            max_new_tokens=4,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
        new = done.sequences[:, inputs["input_ids"].shape[1] :]
        return inputs, processor.batch_decode(new), torch.stack(done.logits, dim=1)

    inputs, answers, logits = generate(conversations)
    assert inputs["attention_mask"].sum(-1).unique().numel() == 3
    assert inputs["attention_mask"][:, -1].all()
    assert inputs["qformer_attention_mask"][:, 0].all()
    for index, conversation in enumerate(conversations):
        _, alone, its_logits = generate([conversation])
        assert answers[index] == alone[0]
        torch.testing.assert_close(logits[index], its_logits[0], atol=1e-5, rtol=1e-4)


def test_both_tokenizers_keep_their_side(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    sides = [
        AutoTokenizer.from_pretrained(tmp_path / name).padding_side
        for name in ("", "qformer_tokenizer")
    ]
    assert sides == ["left", "right"]
    again = EmoLlamaProcessor.from_pretrained(tmp_path)
    assert (again.tokenizer.padding_side, again.qformer_tokenizer.padding_side) == tuple(sides)


def test_a_call_may_pad_on_the_right(processor):
    inputs = processor(
        text=["Who?", "Who is it?"], padding=True, padding_side="right", return_tensors="pt"
    )
    assert inputs["attention_mask"][:, 0].all() and not inputs["attention_mask"].all()


def test_answers_come_without_the_templates_space(processor):
    prompt = processor.apply_chat_template([user(text("Who?"))], add_generation_prompt=True)
    whole = processor.apply_chat_template([user(text("Who?")), answer("anger")])
    ids = [processor.tokenizer(words)["input_ids"] for words in (prompt, whole)]
    new = ids[1][len(ids[0]) :]
    assert processor.tokenizer(" anger")["input_ids"] == new[:-1]  # learned and scored with it
    assert processor.batch_decode([new], skip_special_tokens=True) == ["anger"]
    # transformers' pipeline cuts the decoded prompt off.
    decoded = processor.post_process_image_text_to_text(ids)
    assert decoded == ["USER: Who? ASSISTANT:", "USER: Who? ASSISTANT:anger"]
    assert processor.post_process_image_text_to_text(ids[1]) == decoded[1]
    assert processor.post_process_image_text_to_text([new]) == ["anger"]


# --- training and saving


def rows(picture):
    return [
        {
            "images": [picture],
            "messages": [
                {"role": "user", "content": "Which expression?"},
                {"role": "assistant", "content": label},
            ],
        }
        for label in ("happiness", "fear")
    ]


def test_trls_collator_works_unmodified(processor, picture):
    batch = DataCollatorForVisionLanguageModeling(processor)(rows(picture))
    assert batch["pixel_values"].shape[0] == batch["face_pixel_values"].shape[0] == 2
    assert batch["qformer_input_ids"].shape[0] == 2
    assert count(batch, processor.image_token_id) == [processor.num_tokens_per_frame] * 2
    assert batch["labels"].shape == batch["input_ids"].shape
    assert "text_replacement_offsets" not in batch


def test_only_answers_are_learned(processor, picture):
    collator = DataCollatorForVisionLanguageModeling(processor, assistant_only_loss=True)
    batch = collator(rows(picture))
    learned = [processor.tokenizer.decode(ids[ids != -100]).strip() for ids in batch["labels"]]
    eos = processor.tokenizer.eos_token
    assert learned == [f"happiness{eos}", f"fear{eos}"]
    # Whatever side a prompt is padded on, training pads behind the answers.
    assert batch["attention_mask"][:, 0].all() and not batch["attention_mask"].all()
    bos = processor.tokenizer.bos_token_id
    if bos is not None:
        assert (batch["input_ids"] == bos).sum(-1).tolist() == [1, 1]


def test_trls_collator_takes_prompts_and_completions(processor, picture):
    examples = [
        {"images": row["images"], "prompt": row["messages"][:1], "completion": row["messages"][1:]}
        for row in rows(picture)
    ]
    collator = DataCollatorForVisionLanguageModeling(processor, completion_only_loss=True)
    batch = collator(examples)
    assert batch["qformer_input_ids"].shape[0] == 2
    assert count(batch, processor.image_token_id) == [processor.num_tokens_per_frame] * 2
    learned = [processor.tokenizer.decode(ids[ids != -100]) for ids in batch["labels"]]
    assert [words.replace(processor.tokenizer.eos_token, "").strip() for words in learned] == [
        "happiness",
        "fear",
    ]


def test_a_tokenizer_without_placeholders_is_refused(processor):
    with pytest.raises(ValueError, match=r"no token '<picture>'.*add_tokens"):
        EmoLlamaProcessor(
            processor.image_processor,
            processor.tokenizer,
            processor.qformer_tokenizer,
            image_token="<picture>",
        )


def test_everything_survives_saving(picture, tmp_path):
    processor = tiny_processor()
    processor.video_fps, processor.max_frames, processor.user_marker = 4.0, 9, "HUMAN:"
    processor.num_tokens_per_frame = 5
    processor.chat_template = chat_template("", user_marker="HUMAN:")
    processor.save_pretrained(tmp_path)
    again = EmoLlamaProcessor.from_pretrained(tmp_path)
    assert again.chat_template == processor.chat_template
    assert again.to_dict() == processor.to_dict()
    assert again.qformer_tokenizer.truncation_side == "left"
    call = {"images": [picture], "text": "HUMAN: <image> Who?", "return_tensors": "pt"}
    for name, value in processor(**call).items():
        assert torch.equal(value, again(**call)[name]), name


def test_encodings_take_the_place_of_pictures():
    """Whole, by rows, nested by conversation, and as a clip."""
    model, processor = tiny_model(), tiny_processor()
    shown = [Image.new("RGB", (50, 40), color) for color in ("gray", "brown")]
    images = processor.image_processor(shown, return_tensors="pt")
    regions = images.pop("face_regions")
    assert regions.tolist() == [[0, 0, 50, 40]] * 2
    with torch.no_grad():
        seen = model.encode(**images)
    rows = [[seen.select([0])], [seen.select([1])]]
    prompts = ["USER: <image>\nWho? ASSISTANT:"] * 2
    expected = processor(images=shown, text=prompts, return_tensors="pt")
    assert not [name for name in expected if "regions" in name]  # the model does not read them
    for given in (seen, rows):
        inputs = processor(images=given, text=prompts, return_tensors="pt")
        for name in ("input_ids", "attention_mask", "qformer_input_ids"):
            assert torch.equal(inputs[name], expected[name])
        assert torch.equal(inputs["encodings"].landmarks, seen.landmarks)
        assert "pixel_values" not in inputs
    clip = processor(videos=[seen], text=["USER: <video>\nWho? ASSISTANT:"], return_tensors="pt")
    assert clip["frame_counts"].tolist() == [2]
    assert int((clip["input_ids"] == processor.video_token_id).sum()) == 2 * 4
    with pytest.raises(ValueError, match="prompts hold 1 <image>, and 2 came encoded"):
        processor(images=seen, text=prompts[:1])


def test_what_is_saved_does_not_depend_on_earlier_calls(picture, tmp_path):
    """A training that was resumed saves the files of one that was not."""
    processor = tiny_processor()
    processor.save_pretrained(tmp_path / "fresh")
    content = [{"type": "image", "image": picture}, {"type": "text", "text": "Who?"}]
    conversations = [[{"role": "user", "content": content * times}] for times in (1, 2)]
    processor.apply_chat_template(
        conversations, tokenize=True, return_dict=True, return_tensors="pt", padding=True
    )
    processor.save_pretrained(tmp_path / "used")
    files = sorted(p.relative_to(tmp_path / "fresh") for p in (tmp_path / "fresh").rglob("*.json"))
    assert len(files) >= 4
    for name in files:
        assert (tmp_path / "used" / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()
