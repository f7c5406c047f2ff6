"""Reads the sentences of the template annotator again, and says which of them are not measured.

This is no part of writing them: it takes a sentence apart by its words alone and looks each claim
up in the votes and the geometry, so that a mistake in the writer is found and not repeated.
"""

import re
from collections.abc import Mapping, Sequence

from emo_llama.annotate.geometry import FaceGeometry, level
from emo_llama.annotate.template import CLEAR, TURNED_WORDS, WORDS
from emo_llama.dataset_builders.schema import Message
from emo_llama.labels import ADJECTIVES

__all__ = ["unbacked"]

CLAIMS = {words: (name, third - 1) for name in WORDS for third, words in enumerate(WORDS[name])}
"""What each clause says: a measure, and the third that it lies in."""

NO_LABELS = ("unknown", "nf")

OF_PICTURES = {"A picture shows a look, not a feeling.", "The picture does not show the cause."}
"""Sentences that are true of any picture."""


def unbacked(
    messages: Sequence[Message],
    label: str,
    votes: Mapping[str, int],
    geometry: FaceGeometry | None,
) -> list[str]:
    """The sentences of a conversation that do not follow from what is known of the face.

    Args:
        messages (`Sequence[dict]`):
            Turns as [`TemplateAnnotator`] writes them; only the assistant's are read.
        label (`str`):
            The label of the face.
        votes (`Mapping[str, int]`):
            How many annotators chose each label, `"unknown"` or `"nf"`; empty where labels have
            no votes.
        geometry (`FaceGeometry`, *optional*):
            What was measured on the face; `None` where nothing was.

    Returns:
        `list[str]`: Sentences; empty where all is measured.
    """
    sentences = [
        sentence
        for message in messages
        if message["role"] == "assistant"
        for sentence in re.split(r"(?<=\.) ", message["content"])
    ]
    return [text for text in sentences if not _backed(text, label, votes, geometry)]


def _backed(
    sentence: str, label: str, votes: Mapping[str, int], geometry: FaceGeometry | None
) -> bool:
    """Whether every claim of one sentence is measured."""
    if sentence in OF_PICTURES:
        return True
    opening, _, rest = sentence.rstrip(".").rpartition(": ")
    looks = f"the person looks {ADJECTIVES.get(label, label)}"
    if opening not in ("", f"T{looks[1:]}", "It shows only the face"):
        return False
    if f"{rest[:1].lower()}{rest[1:]}" == looks:  # a label of one's own may hold an "and"
        return True
    claims = [f"{claim[0].lower()}{claim[1:]}" for claim in rest.split(" and ")]
    return all(
        claim == looks or _of_votes(claim, label, votes) or _of_face(claim, geometry)
        for claim in claims
    )


def _of_face(claim: str, geometry: FaceGeometry | None) -> bool:
    """Whether a claim follows from the geometry."""
    if geometry is None:
        return False
    if claim == TURNED_WORDS:
        return geometry.turned
    name, third = CLAIMS.get(claim, ("", 0))
    if not name or (geometry.turned and name != "mouth_opening"):
        return False
    return level(name, getattr(geometry, name)) == third


def _of_votes(claim: str, label: str, votes: Mapping[str, int]) -> bool:
    """Whether a claim follows from the votes."""
    if not votes:
        return False
    share = votes[label] / sum(votes.values())
    if claim == "the expression is clear":
        return share >= CLEAR
    if claim == "the expression is not very clear":
        return share < CLEAR
    rivals = {name: votes[name] for name in votes if name not in (label, *NO_LABELS)}
    seen_as = {ADJECTIVES.get(name, name): count for name, count in rivals.items()}
    count = seen_as.get(claim.removeprefix("it could also be seen as "), 0)
    return share < CLEAR and 1 < count == max(rivals.values())
