import pytest

from emo_llama.labels import FERPLUS
from emo_llama.prompts import (
    CATEGORY_VARIANTS,
    CONVERSATION_VARIANTS,
    FOLLOW_UPS,
    attribute_sentence,
    category_question,
    clarity_sentence,
    conversation_question,
    opens_conversation,
    restate_clarity,
)


@pytest.mark.parametrize("variant", range(len(CATEGORY_VARIANTS)))
@pytest.mark.parametrize("kind", ["image", "video"])
def test_category_questions_name_every_option_in_order_and_stay_short(variant, kind):
    question = category_question(FERPLUS, kind, variant)
    assert "{" + ", ".join(FERPLUS) + "}" in question
    assert kind in question
    assert len(question.split()) < 45


def test_wordings_differ():
    questions = [category_question(FERPLUS, variant=i) for i in range(len(CATEGORY_VARIANTS))]
    questions += [conversation_question(variant=i) for i in range(len(CONVERSATION_VARIANTS))]
    assert len(set(questions)) == len(questions)


@pytest.mark.parametrize(
    ("race", "expected"),
    [
        ("Asian", "The person is an Asian woman aged 20-29."),
        ("White", "The person is a White woman aged 20-29."),
    ],
)
def test_attribute_sentence(race, expected):
    assert attribute_sentence("20-29", "woman", race) == expected


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ((0.98, 0.01, 0.01), "The expression is clear."),
        ((0.80, 0.20, 0.00), "The expression is clear."),
        ((0.54, 0.41, 0.05), "It could also be seen as happy."),
        ((0.54, 0.10, 0.36), "It could also be seen as surprised."),
        ((0.70, 0.15, 0.15), "The expression is not very clear."),
    ],
)
def test_how_clear_an_expression_is_follows_its_spread(shares, expected):
    named = dict(zip(("neutral", "happiness", "surprise"), shares, strict=True))
    assert clarity_sentence(named, "neutral") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("She looks sad. The expression is not very clear.", "She looks sad. CLEAR."),
        ("She looks sad: the expression is not very clear.", "She looks sad: cLEAR."),
        (
            "It could also be seen as angry. A picture shows a look.",
            "CLEAR. A picture shows a look.",
        ),
        ("It could also be seen as angry. The expression is clear.", "CLEAR."),
        ("She looks sad.", "She looks sad. CLEAR."),
        ("She looks sad. The mou", "She looks sad. The mou"),
    ],
)
def test_what_an_answer_says_of_clearness_is_restated_once(text, expected):
    assert restate_clarity(text, "CLEAR.", append=True) == expected


def test_an_answer_that_says_nothing_of_clearness_is_left_alone():
    assert restate_clarity("The eyes are narrow.", "CLEAR.") == "The eyes are narrow."


def test_which_questions_open_a_conversation():
    opening = [category_question(["joy", "fear"], "video", 2), conversation_question("image", 1)]
    assert all(map(opens_conversation, opening))
    assert not any(map(opens_conversation, [*FOLLOW_UPS.values(), "Is it a smile?"]))
