import pytest

from emo_llama.labels import (
    ADJECTIVES,
    AFFECTNET,
    AFFECTNET_7,
    ALIASES,
    FERPLUS,
    LABEL_SETS,
    LOSSY,
    MAFW,
    RAFDB,
    canonical,
    label_name,
    map_label,
)


def test_ferplus_order_is_that_of_the_vote_file():
    assert ", ".join(FERPLUS) == (
        "neutral, happiness, surprise, sadness, anger, disgust, fear, contempt"
    )
    assert LABEL_SETS["ferplus"] is FERPLUS


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("rafdb", "surprise, fear, disgust, happiness, sadness, anger, neutral"),
        ("affectnet", "neutral, happy, sad, surprise, fear, disgust, anger, contempt"),
        ("affectnet-7", "neutral, happy, sad, surprise, fear, disgust, anger"),
        ("dfew", "happy, sad, neutral, angry, surprise, disgust, fear"),
        ("ferv39k", "angry, disgust, fear, happy, neutral, sad, surprise"),
        (
            "mafw",
            "anger, disgust, fear, happiness, neutral, sadness, surprise, contempt, anxiety, "
            "helplessness, disappointment",
        ),
    ],
)
def test_every_set_stands_in_the_order_of_its_ids(name, order):
    assert LABEL_SETS[name] == tuple(map(canonical, order.split(", ")))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("joy", "happiness"), (" Happy ", "happiness"), ("ANGRY", "anger"), ("fear", "fear")],
)
def test_names_of_other_sets_map_to_ours(name, expected):
    assert canonical(name) == label_name(name) == expected


def test_every_name_that_can_come_out_can_be_put_into_a_sentence():
    names = {*ALIASES, *(label for labels in LABEL_SETS.values() for label in labels)}
    assert {canonical(name) for name in names} == set(ADJECTIVES)


def test_an_unknown_name_is_an_error_that_lists_the_known_ones():
    with pytest.raises(KeyError, match="bored.*anger"):
        canonical("bored")


def test_an_unknown_name_of_a_users_own_set_stays():
    assert label_name("  Very  Bored ") == "very bored"


def test_the_lossy_cases_are_those_that_the_sets_lead_to():
    everything = {label for labels in LABEL_SETS.values() for label in labels}
    missing = {
        label: tuple(name for name, labels in LABEL_SETS.items() if label not in labels)
        for label in everything
    }
    assert {label: sets for label, sets in missing.items() if sets} == LOSSY


@pytest.mark.parametrize(
    ("source", "target", "lost"),
    [
        (AFFECTNET, "affectnet-7", ["contempt"]),
        (MAFW, "affectnet", ["anxiety", "helplessness", "disappointment"]),
        (MAFW, "rafdb", ["contempt", "anxiety", "helplessness", "disappointment"]),
        (AFFECTNET_7, "mafw", []),
        (RAFDB, "dfew", []),
        (FERPLUS, "affectnet", []),
    ],
)
def test_labels_map_to_themselves_or_to_nothing(source, target, lost):
    mapped = {label: map_label(label, target) for label in source}
    assert [label for label in source if mapped[label] is None] == lost
    assert all(mapped[label] == label for label in source if label not in lost)


def test_mapping_knows_other_spellings_and_names_an_unknown_set():
    assert map_label("Joy", "mafw") == "happiness"
    assert map_label("bored", "mafw") is None
    with pytest.raises(KeyError, match="sfew.*is no label set; name one of ferplus, rafdb"):
        map_label("fear", "sfew")
