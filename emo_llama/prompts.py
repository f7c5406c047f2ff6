"""Every question that training writes and inference asks: one place, so that the two cannot part.

Two kinds, as in the paper: category questions, which give the options in braces and are answered by
the bare label, and conversation questions, which are answered in short sentences. The wording is
ours; that of the paper is not public.
"""

import re
from collections.abc import Mapping, Sequence

from emo_llama.labels import ADJECTIVES

__all__ = [
    "CATEGORY_VARIANTS",
    "CLEAR",
    "CONVERSATION_VARIANTS",
    "FOLLOW_UPS",
    "answer_opening",
    "attribute_sentence",
    "category_question",
    "clarity_sentence",
    "conversation_question",
    "with_prefix",
    "opens_conversation",
    "restate_clarity",
    "settled",
]

CATEGORY_VARIANTS = (
    "What is the expression of the person in this {kind}? Options: {options}",
    "Which expression does the person in this {kind} show? Choose one of {options}",
    "Name the facial expression of the person in this {kind}. Options: {options}",
    "Look at the face in this {kind}. Its expression is one of {options}. Which one?",
)
"""Evaluation and the recognizer ask variant 0; the others widen what a model understands."""

CONVERSATION_VARIANTS = (
    "Describe the expression of the person in this {kind}.",
    "How does the person in this {kind} look?",
    "What does the face in this {kind} show?",
)
"""Variant 0 is what the recognizer asks for its sentence."""

FOLLOW_UPS = {
    "mouth": "What does the mouth show?",
    "eyes": "What do the eyes show?",
    "brows": "What do the brows show?",
    "sure": "How sure is this?",
    "why": "Why does the person feel so?",
}
"""Second turns of a conversation, by what they are about."""

CLEAR = 0.8
"""Share of the votes, or probability, from which on an expression is called clear."""

RUNNER_UP = 0.2
"""Share from which on another expression is named beside it: two votes of ten."""

_CLARITY = re.compile(
    r" *\b(the expression is (?:not very )?clear|it could also be seen as [^.:]+)\.", re.IGNORECASE
)
_SEEN_AS = "it could also be seen as "
_BEGINNINGS = [
    text[:end]
    for text in ("the expression is clear", "the expression is not very clear", _SEEN_AS)
    for end in range(1, len(text) + 1)
]
# Half a character comes out of a tokenizer as U+FFFD.
_UNSETTLED = re.compile(
    rf"[\s\ufffd]*(?:\b(?:{'|'.join(_BEGINNINGS)}|{_SEEN_AS}[^.:]+))?$", re.IGNORECASE
)


def category_question(labels: Sequence[str], kind: str = "image", variant: int = 0) -> str:
    """The question whose answer is one bare label.

    Args:
        labels (`Sequence[str]`):
            The options, in the order of the label set.
        kind (`str`, *optional*, defaults to `"image"`):
            `"image"` or `"video"`.
        variant (`int`, *optional*, defaults to 0):
            Index into `CATEGORY_VARIANTS`.

    Returns:
        `str`: One sentence or two, under 45 words with eight options.

    Example:

    ```python
    >>> from emo_llama.prompts import category_question

    >>> category_question(["happiness", "anger"])
    'What is the expression of the person in this image? Options: {happiness, anger}'
    ```
    """
    return CATEGORY_VARIANTS[variant].format(kind=kind, options="{" + ", ".join(labels) + "}")


def conversation_question(kind: str = "image", variant: int = 0) -> str:
    """The question whose answer names the expression and what shows it.

    Args:
        kind (`str`, *optional*, defaults to `"image"`):
            `"image"` or `"video"`.
        variant (`int`, *optional*, defaults to 0):
            Index into `CONVERSATION_VARIANTS`.

    Returns:
        `str`: One sentence.
    """
    return CONVERSATION_VARIANTS[variant].format(kind=kind)


def answer_opening(label: str) -> str:
    """How the answer to a conversation question begins.

    The template annotator writes it so, and the recognizer begins its sentence with it, so that the
    sentence is about the label that scored best.

    Args:
        label (`str`):
            An expression.

    Returns:
        `str`: For example `"The person looks happy"`.
    """
    return f"The person looks {ADJECTIVES.get(label, label)}"


def clarity_sentence(shares: Mapping[str, float], label: str, runner_up: float = RUNNER_UP) -> str:
    """How clear an expression is, by the spread of votes or probabilities over the labels.

    Args:
        shares (`Mapping[str, float]`):
            The share of each label, in [0, 1], in the order of the label set.
        label (`str`):
            The expression.
        runner_up (`float`, *optional*, defaults to `RUNNER_UP`):
            Share from which on another label is named.

    Returns:
        `str`: One sentence: clear from a share of `CLEAR` on; else it names the runner-up, where
        its share suffices.

    Example:

    ```python
    >>> from emo_llama.prompts import clarity_sentence

    >>> clarity_sentence({"fear": 0.54, "surprise": 0.41, "neutral": 0.05}, "fear")
    'It could also be seen as surprised.'
    ```
    """
    if shares[label] >= CLEAR:
        return "The expression is clear."
    rival = max((name for name in shares if name != label), key=shares.__getitem__)
    if shares[rival] >= runner_up:
        return f"It could also be seen as {ADJECTIVES.get(rival, rival)}."
    return "The expression is not very clear."


def restate_clarity(text: str, sentence: str, append: bool = False) -> str:
    """Say in an answer how clear the expression is, in place of what the answer says of it.

    Args:
        text (`str`):
            An answer.
        sentence (`str`):
            What [`clarity_sentence`] gives.
        append (`bool`, *optional*, defaults to `False`):
            Whether to add the sentence to an answer that says nothing of it; one that was cut off
            within a sentence stays as it is.

    Returns:
        `str`: The answer with the sentence in the place of the first of its kind, and no other.
    """
    found = _CLARITY.search(text)
    if found is None:
        whole = append and text.endswith((".", "!", "?"))
        return f"{text} {sentence}" if whole else text
    if found[1][0].islower():  # behind a colon
        sentence = sentence[0].lower() + sentence[1:]
    before = text[: found.start()]
    after = _CLARITY.sub("", text[found.end() :])
    return f"{before}{' ' * bool(before)}{sentence}{after}"


def settled(text: str) -> str:
    """The part of an unfinished answer that stays, whatever follows.

    Args:
        text (`str`):
            The answer so far.

    Returns:
        `str`: Its beginning, without what may become a sentence on how clear the expression is:
        [`restate_clarity`] would put another in its place.

    Example:

    ```python
    >>> from emo_llama.prompts import settled

    >>> settled("The mouth is open. The expression is")
    'The mouth is open.'
    ```
    """
    complete = max((found.end() for found in _CLARITY.finditer(text)), default=0)
    found = _UNSETTLED.search(text, complete)
    return text if found is None else text[: found.start()]


def opens_conversation(question: str) -> bool:
    """Whether training asks a question about a picture first, and not behind another answer.

    Args:
        question (`str`):
            A question.

    Returns:
        `bool`: `True` for the questions that ask for the expression, or give options in braces.
    """
    kinds = ("image", "video")
    return "{" in question or any(
        question.strip() == text.format(kind=kind)
        for text in CONVERSATION_VARIANTS
        for kind in kinds
    )


def attribute_sentence(age: str, gender: str, race: str) -> str:
    """The sentence that puts apparent age, gender and race before a question, where asked for.

    Args:
        age (`str`):
            An age or a span of ages, years, for example `"30-39"`.
        gender (`str`):
            For example `"woman"`.
        race (`str`):
            For example `"White"`; may be empty.

    Returns:
        `str`: For example `"The person is a White woman aged 30-39."`
    """
    article = "an" if race[:1].lower() in "aeiou" else "a"
    person = f"{race} {gender}" if race else gender
    return f"The person is {article} {person} aged {age}."


def with_prefix(question: str, prefix: str) -> str:
    """A question with a sentence before it.

    Args:
        question (`str`):
            The question.
        prefix (`str`):
            The sentence; may be empty.

    Returns:
        `str`: Both.
    """
    return f"{prefix} {question}" if prefix else question
