import pytest

from emo_llama.labels import FERPLUS
from emo_llama.prompts import (
    CATEGORY_VARIANTS,
    CONVERSATION_VARIANTS,
    attribute_sentence,
    category_question,
    conversation_question,
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
