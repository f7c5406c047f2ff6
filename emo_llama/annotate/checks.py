"""Whether a reply of an endpoint can be used: its form, the label it names, what it must not claim.

The checks are of words, not of meaning: a reply that passes can still be wrong about the face, and
one that fails is asked for again at the price of a request.
"""

import json
import re
from collections.abc import Sequence

from emo_llama.labels import ADJECTIVES, ALIASES

__all__ = ["WORD_LIMIT", "Malformed", "Refused", "label_words", "read_caption", "read_turns"]

WORD_LIMIT = 60
"""Words of an answer or a caption; it must have fewer."""

MAX_TURNS = 2

_FENCE = re.compile(r"^```(?:json)?\s*(.*?)\s*```$", re.DOTALL)
_REFUSAL = re.compile(
    r"^(?:i['\u2019]?m (?:sorry|unable|not able)|sorry|i am (?:sorry|unable|not able)|"
    r"i (?:can['\u2019]?t|cannot|won['\u2019]?t|must decline)|as an ai\b)",
    re.IGNORECASE,
)

# What an answer must not say, by what it would be.
_FORBIDDEN = {
    "a name or a guess who the person is": re.compile(
        r"\b(?!The |This |That |These |Their |They |Both |While |With |An? )"
        r"[A-Z][a-z]+ [A-Z][a-z]+\b|"
        r"\b(?:[Tt]his is|[Nn]amed|[Cc]alled|[Kk]nown as|[Ll]ooks like) (?!The\b)[A-Z][a-z]+|"
        r"\b(?:celebrity|actor|actress|politician|famous)\b"
    ),
    "a diagnosis": re.compile(
        r"\b(?:depression|clinically|bipolar|autis\w+|schizo\w+|psychosis|psychotic|psychiatric|"
        r"psychopath\w*|dementia|alzheimer\w*|parkinson\w*|palsy|ptsd|adhd|disorders?|disease|"
        r"syndrome|diagnos\w+|mental(?:ly)? ill(?:ness)?|symptoms?|trauma\w*|addict\w*|drunk|"
        r"intoxicated)\b",
        re.IGNORECASE,
    ),
    "age, gender or ethnicity": re.compile(
        r"\b(?:wom[ae]n|m[ae]n|boys?|girls?|(?:fe)?male|lady|gentleman|elderly|middle-aged|"
        r"teenage\w*|\d+[- ]years?[- ]old|asian|african|caucasian|hispanic|latin[oa]|ethnic\w*|"
        r"racial\w*|nationality|(?:white|black) person)\b",
        re.IGNORECASE,
    ),
    "how the picture was labelled": re.compile(
        r"\b(?:label(?:s|l?ed)?|annotat\w+|ground truth|prompt)\b", re.IGNORECASE
    ),
}

_LOOKS = (
    r"(?:looks?|looking|appears?|seems?|feels?|feeling|is|are|shows?|showing|displays?|displaying|"
    r"express(?:es|ing)?|conveys?|conveying|wears?|wearing|suggests?|suggesting|indicates?|"
    r"expression of|look of)"
)
_PERSON = r"(?:person|they|face|expression|look|emotion|feeling)"
# Up to four words between the verb and the label, none of which turns the claim round.
_BETWEEN = r"(?:[\s,]+(?!not\b|no\b|nor\b|neither\b|without\b|than\b|never\b)[\w'-]+){0,4}?[\s,]+"


class Malformed(Exception):
    """A reply that cannot be used; asking again may give a better one.

    Args:
        reason (`str`):
            What is wrong with it.
        reply (`str`, *optional*, defaults to `""`):
            The reply.
    """

    def __init__(self, reason: str, reply: str = "") -> None:
        super().__init__(reason)
        self.reply = reply


class Refused(Exception):
    """The model, its filter or the endpoint declines this one request; the message says why."""


def label_words(label: str) -> tuple[str, ...]:
    """Words that name a label in a sentence.

    Args:
        label (`str`):
            A label of any set, known to [`~emo_llama.labels`] or not.

    Returns:
        `tuple[str, ...]`: Lower case; the adjective comes first where there is one.

    Example:

    ```python
    >>> from emo_llama.annotate.checks import label_words

    >>> label_words("happiness")
    ('happy', 'happiness', 'joy')
    ```
    """
    name = label.lower().replace("_", " ")
    root = ALIASES.get(name, name)
    others = [alias for alias, target in ALIASES.items() if target == root]
    return tuple(dict.fromkeys([ADJECTIVES.get(root, name), name, root, *others]))


def read_turns(reply: str, label: str, labels: Sequence[str]) -> list[tuple[str, str]]:
    """The questions and answers of a reply.

    Args:
        reply (`str`):
            JSON as [`~emo_llama.annotate.request.conversation_prompt`] asks for, with or without a
            Markdown fence.
        label (`str`):
            What the first answer must name.
        labels (`Sequence[str]`):
            The label set; no other one may be stated of the person.

    Returns:
        `list[tuple[str, str]]`: One or two pairs.

    Raises:
        Refused: The reply declines in words.
        Malformed: It has another form, or breaks one of the rules.
    """
    turns = _parse(reply)
    words = label_words(label)
    others = [w for name in labels if name != label for w in label_words(name) if w not in words]
    if found := _first([*words, *others], turns[0][0]):
        raise Malformed(f"the first question gives {found!r} away", reply)
    if not _first(words, turns[0][1]):
        raise Malformed(f"the first answer does not name {words[0]!r}", reply)
    for question, answer in turns:
        _check_text(answer, reply)
        _check_forbidden(question, reply)
        if found := _claimed(others, answer):
            raise Malformed(f"an answer states {found!r} of the person", reply)
    return turns


def read_caption(reply: str) -> str:
    """The caption of a clip in a reply.

    Args:
        reply (`str`):
            Plain text.

    Returns:
        `str`: One line.

    Raises:
        Refused: The reply declines in words.
        Malformed: It is empty, too long, or breaks one of the rules.
    """
    caption = " ".join(reply.split())
    if _REFUSAL.match(caption):
        raise Refused(caption[:200])
    _check_text(caption, reply)
    return caption


def _parse(reply: str) -> list[tuple[str, str]]:
    """The pairs of a reply of the right form."""
    text = reply.strip()
    if _REFUSAL.match(text):
        raise Refused(" ".join(text.split())[:200])
    if fenced := _FENCE.match(text):
        text = fenced[1]
    try:
        turns = json.loads(text)["turns"]
        pairs = [(turn["question"].strip(), turn["answer"].strip()) for turn in turns]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = "the reply is not JSON with turns of question and answer" if text else "no reply"
        raise Malformed(reason, reply) from error
    if not 1 <= len(pairs) <= MAX_TURNS:
        raise Malformed(f"{len(pairs)} turns, expected 1 or {MAX_TURNS}", reply)
    if not all(text for pair in pairs for text in pair):
        raise Malformed("a question or an answer is empty", reply)
    return pairs


def _check_text(text: str, reply: str) -> None:
    """Length and forbidden claims of an answer or a caption."""
    words = len(text.split())
    if not 0 < words < WORD_LIMIT:
        raise Malformed(f"{words} words, expected 1 to {WORD_LIMIT - 1}", reply)
    _check_forbidden(text, reply)


def _check_forbidden(text: str, reply: str) -> None:
    for claim, pattern in _FORBIDDEN.items():
        if found := pattern.search(text):
            raise Malformed(f"{found[0]!r} is {claim}", reply)


def _first(words: Sequence[str], text: str) -> str:
    """The first of some words that occurs in a text; empty where none does."""
    lower = text.lower()
    return next((word for word in words if re.search(rf"\b{re.escape(word)}\b", lower)), "")


def _claimed(words: Sequence[str], text: str) -> str:
    """The first of some label words that a text states of the person.

    "Neutral" and "sad" also describe parts of a face, so the subject of `is` and, for "neutral", of
    every verb must be the person.
    """
    for word in words:
        verbs = rf"{_PERSON}\s+(?:(?!not\b|never\b)\w+\s+)?{_LOOKS}"
        if word != "neutral":
            verbs = rf"(?:{verbs}|(?<!not )(?<!n't )(?<!never )\b(?!is\b|are\b){_LOOKS})"
        if re.search(rf"\b{verbs}{_BETWEEN}{re.escape(word)}\b", text, re.IGNORECASE):
            return word
    return ""
