import logging
import pickle
import re
from dataclasses import replace

import pytest
from endpoint_server import (
    CAPTION,
    HANG,
    KEY,
    EndpointServer,
    drawn_picture,
    drawn_records,
    good_reply,
)

from emo_llama.annotate.asking import Pace
from emo_llama.annotate.checks import read_turns
from emo_llama.annotate.endpoint import EndpointAnnotator, EndpointOptions
from emo_llama.dataset_builders.schema import ExpressionRecord
from emo_llama.errors import EndpointError, UsageError
from emo_llama.labels import FERPLUS

PROVIDERS = ("openai", "gemini")
QUICK = Pace(retries=3, first_wait=0.01, longest_wait=0.02)


def good(row, attempt):
    return "good"


def first(behaviour):
    """Misbehave once with every item, then answer."""
    return lambda row, attempt: behaviour if attempt == 0 else "good"


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    for name in ("OPENAI_BASE_URL", "GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("OPENAI_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, KEY)


@pytest.fixture
def asked(tmp_path):
    """Asks a server about records; gives the annotator and the server."""

    def ask(script, records=None, provider="openai", **options):
        records = list(drawn_records(3)) if records is None else records
        with EndpointServer(records, script) as server:
            url = server.url + ("/v1" if provider == "openai" else "")
            settings = {"base_url": url, "pace": QUICK, "timeout": 30.0} | options
            chosen = EndpointOptions(provider, "a-model", **settings)
            annotator = EndpointAnnotator(chosen, tmp_path / "answers.jsonl")
            annotator.server = server
            annotator.prepare(iter(records))
        return annotator

    return ask


def adds_up(report):
    parts = report.cached + report.written + report.refused + report.malformed + report.failed
    return report.items == parts


@pytest.mark.parametrize("provider", PROVIDERS)
def test_conversations_are_written_and_looked_up(asked, provider):
    annotator = asked(good, provider=provider)
    assert (annotator.report.items, annotator.report.written) == (3, 3)
    for record in drawn_records(3):
        messages = annotator(record)
        assert [message["role"] for message in messages] == ["user", "assistant"] * 2
        texts = [message["content"] for message in messages]
        expected = read_turns(good_reply(record.label), record.label, FERPLUS)
        assert list(zip(texts[::2], texts[1::2], strict=True)) == expected
    assert annotator.counts == {"written": 3}
    assert "3 written" in annotator.summary() and "a-model" in annotator.summary()
    assert annotator.provenance() == {
        "annotator": provider, "model": "a-model", "prompt_version": "1"
    }  # fmt: skip


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "behaviour",
    [
        "429", "500", "503", "hang up", "page", "torn body", "no choices",
        "torn", "empty", "wrong", "cut", "fenced",
    ],
)  # fmt: skip
def test_what_goes_wrong_once_is_asked_again(asked, provider, behaviour):
    annotator = asked(first(behaviour), provider=provider)
    assert annotator.report.written == 3, annotator.report.problems
    again = 1 if behaviour == "fenced" else 2
    assert len(annotator.server.log) == 3 * again


@pytest.mark.slow  # waits for time-outs
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_time_out_is_asked_again(asked, provider):
    annotator = asked(first("hang"), provider=provider, timeout=HANG - 1)
    assert annotator.report.written == 3


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("behaviour", "status", "reason", "requests"),
    [
        ("refusal", "refused", "not describe|SAFETY", 1),
        ("declines", "refused", "I'm sorry", 1),
        ("wrong", "malformed", "does not name 'neutral'", 3),
        ("cut", "malformed", "cut off at 2048", 3),
        ("torn", "malformed", "not JSON", 3),
        ("500", "failed", "HTTP 500, 4 times", 4),
        ("422", "refused", r"HTTP 422: .*\[key\]", 1),
    ],
)
def test_what_never_gets_better_is_counted_and_listed(
    asked, provider, behaviour, status, reason, requests
):
    record = next(drawn_records(1))
    annotator = asked(lambda row, attempt: behaviour, [record], provider)
    report = annotator.report
    assert adds_up(report) and getattr(report, status) == 1
    assert len(annotator.server.log) == requests
    problem = report.problems[0]
    assert problem.item == "drawn-00000"
    assert re.search(reason, problem.reason)
    assert annotator(record) is None
    kept = list(annotator.answers.unusable())
    assert [answer.status for answer in kept] == ([] if status == "failed" else [status])
    assert annotator.counts == {"unanswered" if status == "failed" else status: 1}


def test_the_model_is_told_what_was_wrong(asked):
    annotator = asked(first("wrong"), list(drawn_records(1)))
    assert "'neutral'" in annotator.server.prompts[1].splitlines()[-1]


def test_nothing_answered_is_asked_twice(asked, monkeypatch):
    assert asked(first("refusal")).report.refused == 3
    again = asked(good)
    assert (again.report.cached, again.server.log) == (3, [])
    monkeypatch.delenv("OPENAI_API_KEY")
    assert asked(good, base_url="").report.cached == 3  # and no key is needed
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    third = asked(good, retry_failed=True)
    assert third.report.written == 3
    assert list(third.answers.unusable()) == []
    assert asked(good, retry_failed=True).report.cached == 3


def test_another_label_or_picture_is_another_question(asked):
    record = next(drawn_records(1))
    asked(good, [record])
    other = replace(record, label="anger")
    annotator = asked(good, [record, other, replace(record, row=7)])
    assert (annotator.report.written, annotator.report.cached) == (1, 2)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("status", ["401", "403", "404"])
def test_a_closed_door_ends_the_run_and_loses_nothing(asked, provider, status):
    def script(row, attempt):
        return "good" if row < 2 else status

    with pytest.raises(EndpointError, match=f"HTTP {status}: .*start the same command again") as e:
        asked(script, list(drawn_records(50)), provider, workers=2)
    assert KEY not in str(e.value)
    annotator = asked(good, list(drawn_records(50)), provider)
    assert annotator.report.cached == 2
    assert annotator.report.written == 48


@pytest.mark.parametrize(
    ("behaviour", "reason"), [("500", "HTTP 500, 2 times"), ("refusal", "not describe")]
)
def test_an_endpoint_that_is_of_no_use_is_given_up(asked, behaviour, reason):
    records, pace = list(drawn_records(40)), replace(QUICK, retries=1)

    def script(row, attempt):
        return "good" if row == 5 else behaviour

    options = {"workers": 2, "pace": pace, "give_up_after": 10}
    with pytest.raises(EndpointError, match=rf"1\d items in a row .*{reason}.*Put that"):
        asked(script, records, **options)
    report = asked(script, records, **options | {"give_up_after": 0}).report
    assert adds_up(report) and report.items == 40 and (report.cached > 10) is (behaviour != "500")


def test_a_pause_of_hours_ends_the_run(asked, monkeypatch):
    monkeypatch.setattr("emo_llama.annotate.asking.LONGEST_PAUSE", 0.01)
    with pytest.raises(EndpointError, match="HTTP 429: the endpoint asks to wait 0 s"):
        asked(first("429"))


def test_keys_reach_no_file_and_no_log(asked, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    for provider in PROVIDERS:
        for behaviour in ("echo", "500", "400"):
            records = [replace(next(drawn_records(1)), images=(drawn_picture(len(behaviour)),))]
            asked(lambda row, attempt, b=behaviour: b, records, provider)
        annotator = asked(good, provider=provider)
        assert KEY not in repr(vars(annotator)) + annotator.summary() + str(annotator.report)
    assert KEY not in (tmp_path / "answers.jsonl").read_text()
    assert KEY not in caplog.text
    assert KEY not in "".join(capfd.readouterr())


def test_a_key_or_a_server_of_ones_own_is_needed(asked, monkeypatch):
    for variable, provider in (("OPENAI_API_KEY", "openai"), ("GEMINI_API_KEY", "gemini")):
        monkeypatch.delenv(variable)
        with pytest.raises(UsageError, match=f"{variable} is not set"):
            asked(good, provider=provider, base_url="")
        assert asked(good, provider=provider).report.written == 3


def test_the_rate_is_kept(asked):
    pace = replace(QUICK, requests_per_minute=1200)
    times = sorted(asked(good, list(drawn_records(8)), pace=pace).server.times)
    assert times[-1] - times[0] > 0.25  # seven gaps of 0.05 s, less what the first one was late


def test_retry_after_holds_every_request(asked):
    annotator = asked(first("429"), list(drawn_records(1)))
    assert annotator.server.times[1] - annotator.server.times[0] >= 0.05


def test_records_are_read_as_they_are_needed(tmp_path):
    records, read = list(drawn_records(40)), 0

    def reading():
        nonlocal read
        for record in records:
            read += 1
            yield record

    def script(row, attempt):
        assert read <= len(server.log) + 2 * 2 + 1
        return "good"

    with EndpointServer(records, script) as server:
        options = EndpointOptions("openai", "m", f"{server.url}/v1", workers=2, pace=QUICK)
        annotator = EndpointAnnotator(options, tmp_path / "answers.jsonl")
        assert annotator.ask_all(reading()).written == 40


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_clip_gets_a_caption_first(asked, provider):
    frames = tuple(drawn_picture(100 + i, "JPEG") for i in range(8))
    clip = ExpressionRecord("clips", 0, frames, "fear", FERPLUS, kind="video")
    annotator = asked(good, [clip], provider)
    assert [row for row, _ in annotator.server.log] == [-1, 0]
    assert CAPTION in annotator.server.prompts[1]
    assert annotator(clip)[1]["content"].endswith("looks afraid.")
    angry = replace(clip, label="anger")
    assert [row for row, _ in asked(good, [angry], provider).server.log] == [0]  # kept caption
    told = replace(clip, caption="The person runs away.")
    annotator = asked(good, [told], provider)
    assert [row for row, _ in annotator.server.log] == [0]
    assert "The person runs away." in annotator.server.prompts[0]


def test_worker_processes_can_be_handed_the_annotator(asked):
    annotator = asked(good)
    del annotator.server
    copy = pickle.loads(pickle.dumps(annotator))
    record = next(drawn_records(1))
    assert copy(record) == annotator(record) is not None
    assert KEY.encode() not in pickle.dumps(annotator)


def test_the_estimate_counts_what_is_left(asked):
    annotator = asked(good)
    records = list(drawn_records(5))
    clip = ExpressionRecord(
        "clips", 9, tuple(map(drawn_picture, range(90, 98))), "fear", FERPLUS, kind="video"
    )
    estimate = annotator.estimate([*records, clip])
    assert (estimate.items, estimate.answered, estimate.requests) == (6, 3, 4)
    assert estimate.answer_tokens == 3 * 200 + 60
    assert estimate.price is None and "give a file of prices" in str(estimate)
    priced = EndpointAnnotator(EndpointOptions("openai", "gpt-4o"), "none").estimate(records)
    assert priced.prompt_tokens > 5 * 255
    expected = (priced.prompt_tokens * 2.5 + priced.answer_tokens * 10) / 1e6
    assert priced.price == pytest.approx(expected)
    assert "list price of gpt-4o" in str(priced)


def test_options_that_cannot_be_meant(tmp_path, asked):
    with pytest.raises(UsageError, match="tries 0"):
        EndpointAnnotator(EndpointOptions("openai", "m", tries=0), tmp_path / "a")
    with pytest.raises(UsageError, match="known are openai, gemini"):
        asked(good, provider="other")
    nameless = EndpointAnnotator(EndpointOptions("openai", ""), tmp_path / "a")
    with pytest.raises(UsageError, match="name the model"):
        nameless.prepare(drawn_records(1))


def test_the_report_is_one_line(asked):
    text = str(asked(first("declines")).report)
    assert text == "3 items: 0 answered before, 0 written, 3 refused, 0 malformed, 0 failed"
