"""The whole page over loopback, as gradio_client sees it."""

from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="gradio is not installed: the extra `space`")

from gradio_client import Client, handle_file

from emo_llama import EmotionRecognizer

PORTRAIT = Path(__file__).parents[2] / "emo_llama" / "assets" / "portrait.jpg"


def test_a_photo_gives_the_record_of_the_package(
    client: Client, recognizer: EmotionRecognizer
) -> None:
    record = client.predict(handle_file(PORTRAIT), api_name="/photo")
    expected = recognizer(PORTRAIT).to_dict() | {"path": None}
    assert expected["faces"][0]["confidence"] > 0.5
    assert record == expected


def test_the_threshold_and_the_question_reach_the_record(
    client: Client, recognizer: EmotionRecognizer
) -> None:
    record = client.predict(
        handle_file(PORTRAIT), question="What do the eyes show?", threshold=1.0, api_name="/photo"
    )
    assert record["faces"][0]["abstained"]
    expected = recognizer(PORTRAIT, "What do the eyes show?")
    assert record["faces"][0]["text"] == expected.faces[0].text


def test_two_settings_give_two_records(client: Client) -> None:
    records = client.predict(handle_file(PORTRAIT), api_name="/compare")
    first, second = records.values()
    assert list(records) == ["The model", "Without Face Info Mining"]
    assert first["faces"][0]["box"] == second["faces"][0]["box"]
    assert first["faces"][0]["probabilities"] != second["faces"][0]["probabilities"]


def test_only_the_named_endpoints_can_be_called(client: Client) -> None:
    public = client.view_api(return_format="dict")["named_endpoints"]
    assert {"/photo", "/clip", "/chat", "/compare"} >= public.keys() >= {"/photo", "/compare"}
    assert not client.view_api(return_format="dict")["unnamed_endpoints"]
