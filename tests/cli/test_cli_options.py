"""Options that several verbs have: one definition, one help text."""

import argparse

import pytest

from emo_llama.cli import VERBS, _options, build_parser

OTHERWISE = {
    ("ablate", "--attributes"),  # an axis of the grid
    ("ablate", "--out"),  # not a folder of one thing
    ("data build", "--faces"),  # crops what it builds
    ("data build", "--model"),  # the one behind an endpoint
    ("eval", "--data"),  # what was built, and nothing else
    ("leaderboard", "--data"),  # names of data sets
    ("predict", "--out"),  # a file
    ("push dataset", "--data"),  # what was built, and nothing else
    ("push space", "--model"),  # on the Hub, and nowhere else
    ("train", "--config"),  # has a default
}


def leaves(parser, name):
    """Every parser that takes options, with the words before it."""
    subs = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not subs:
        yield name, parser
    for sub in subs:
        for word, child in sub.choices.items():
            yield from leaves(child, f"{name} {word}")


@pytest.mark.parametrize("verb", VERBS)
def test_a_shared_option_says_the_same_everywhere(verb):
    (verbs,) = build_parser(verb)._subparsers._group_actions
    for name, parser in leaves(verbs.choices[verb], verb):
        for action in parser._actions:
            for option in set(action.option_strings) & set(_options.SHARED):
                if (name, option) not in OTHERWISE:
                    assert action.help == _options.SHARED[option]["help"], f"{name} {option}"
