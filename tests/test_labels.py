import pytest

from emo_llama.labels import ADJECTIVES, ALIASES, FERPLUS, LABEL_SETS, canonical


def test_ferplus_order_is_that_of_the_vote_file():
    assert ", ".join(FERPLUS) == (
        "neutral, happiness, surprise, sadness, anger, disgust, fear, contempt"
    )
    assert LABEL_SETS["ferplus"] is FERPLUS


@pytest.mark.parametrize(
    ("name", "expected"),
    [("joy", "happiness"), (" Happy ", "happiness"), ("ANGRY", "anger"), ("fear", "fear")],
)
def test_names_of_other_sets_map_to_ours(name, expected):
    assert canonical(name) == expected


def test_every_name_that_can_come_out_can_be_put_into_a_sentence():
    assert {canonical(name) for name in {*ALIASES, *FERPLUS}} <= set(ADJECTIVES)


def test_an_unknown_name_is_an_error_that_lists_the_known_ones():
    with pytest.raises(KeyError, match="bored.*anger"):
        canonical("bored")
