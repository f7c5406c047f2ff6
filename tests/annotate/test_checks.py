import json

import pytest

from emo_llama.annotate.checks import (
    Malformed,
    Refused,
    label_words,
    read_caption,
    read_turns,
)
from emo_llama.labels import FERPLUS

QUESTION = "How does the person in this picture look?"


def reply(*answers, question=QUESTION):
    turns = [
        {"question": question if not i else "Why?", "answer": a} for i, a in enumerate(answers)
    ]
    return json.dumps({"turns": turns})


@pytest.mark.parametrize(
    ("label", "answer"),
    [
        ("happiness", "The eyes are narrow and the cheeks are raised. The person looks happy."),
        ("happiness", "The mouth is open. The person looks happy rather than sad."),
        ("happiness", "The person does not look angry; they look full of joy."),
        ("happiness", "The mouth corners are up, with no sign of fear. The person seems happy."),
        ("fear", "The brows are raised. The person looks afraid; it could also be surprise."),
        ("sadness", "The brows are in a neutral position. The expression is one of sadness."),
        ("neutral", "The brows are level and the mouth is closed. The face is neutral."),
        ("bored", "The lids hang low. The person looks bored."),
        ("anger", "The mouth looks neutral, the brows are low. The person looks angry."),
        ("sadness", "The lip corners are depressed. The person looks sad."),
    ],
)
def test_answers_that_can_be_used(label, answer):
    assert read_turns(reply(answer), label, FERPLUS) == [(QUESTION, answer)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no reply"),
        ("{", "not JSON"),
        ("[1]", "not JSON"),
        ('{"turns": 3}', "not JSON"),
        ('{"turns": [{"question": 1, "answer": "a"}]}', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"turns": []}', "0 turns"),
        (reply("a", "b", "c"), "3 turns"),
        (reply(" "), "empty"),
        (reply("The person is well."), "does not name 'happy'"),
        (reply("happy " * 60), "60 words, expected 1 to 59"),
        (reply("The person looks happy.", question="Is the person happy?"), "gives 'happy' away"),
        (reply("The person looks happy.", question="Is it anger?"), "gives 'anger' away"),
        (reply("The person looks happy. They also seem a little sad."), "states 'sad'"),
        (reply("Happy, but the person is angry."), "states 'angry'"),
        (reply("Happy: the wide eyes convey fear."), "states 'fear'"),
        (reply("Happy. The expression is neutral."), "states 'neutral'"),
        (reply("The person looks happy.", "They are sad now."), "states 'sad'"),
        (reply("This is Anna, looking happy."), "'This is Anna' is a name"),
        (reply("Barack Obama looks happy."), "'Barack Obama' is a name"),
        (reply("A famous actor who looks happy."), "'famous' is a name"),
        (reply("They look happy but suffer from depression."), "'depression' is a diagnosis"),
        (reply("A happy face, typical of Bipolar disorder."), "is a diagnosis"),
        (reply("The woman looks happy."), "'woman' is age, gender or ethnicity"),
        (reply("A happy person, 30 years old."), "'30 years old' is age"),
        (reply("As labelled, the person looks happy."), "'labelled' is how the picture"),
        (reply("The person looks happy.", question="What does the man show?"), "'man' is age"),
    ],
)
def test_replies_that_cannot_be_used(text, reason):
    with pytest.raises(Malformed, match=reason) as error:
        read_turns(text, "happiness", FERPLUS)
    assert error.value.reply == text


@pytest.mark.parametrize(
    "text", ["I'm sorry, I can't do that.", "I cannot help with that.", "As an AI I do not see."]
)
def test_refusals_in_words(text):
    with pytest.raises(Refused, match=text[:10]):
        read_turns(text, "happiness", FERPLUS)
    with pytest.raises(Refused):
        read_caption(text)


def test_fences_and_more_keys_do_no_harm():
    text = '{"turns": [{"question": "How?", "answer": "They look happy.", "n": 1}], "id": 3}'
    for fenced in (f"```json\n{text}\n```", f"```\n{text}\n```", f"\n {text} "):
        assert read_turns(fenced, "happiness", FERPLUS) == [("How?", "They look happy.")]


def test_captions():
    assert read_caption(" The person\nturns. ") == "The person turns."
    for text, reason in (("", "0 words"), ("a " * 60, "60 words"), ("The girl runs.", "'girl'")):
        with pytest.raises(Malformed, match=reason):
            read_caption(text)


def test_words_of_labels():
    assert label_words("fear") == ("afraid", "fear", "fearful")
    assert label_words("Joy") == ("happy", "joy", "happiness")
    assert label_words("very_bored") == ("very bored",)
    for label in FERPLUS:
        for other in set(FERPLUS) - {label}:
            assert not {*label_words(label)} & {*label_words(other)}
