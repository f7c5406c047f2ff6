"""Writes conversations about a face from nothing but what was measured: its votes and its geometry.

What the parts of the face show is stated as [`FaceGeometry`] measures it, whether or not it fits
the label: the label decides only which parts are named first. How clear an expression is follows
from the share of the annotators who chose it. Nothing is said about a cause, for no picture shows
it. The sentences are few and regular, so that a language model of a few million weights can learn
them.
"""

import zlib
from collections import Counter
from collections.abc import Iterable, Sequence

from emo_llama.annotate.geometry import MEASURES, FaceGeometry, level
from emo_llama.annotate.landmarks import LandmarkSource
from emo_llama.dataset_builders.schema import ExpressionRecord, Message
from emo_llama.labels import ADJECTIVES
from emo_llama.prompts import (
    CLEAR,
    CONVERSATION_VARIANTS,
    FOLLOW_UPS,
    answer_opening,
    clarity_sentence,
    conversation_question,
)

__all__ = ["TemplateAnnotator", "clarity", "evidence"]

# Words for the lower, middle and upper third of each measure.
WORDS = {
    "mouth_corner_lift": (
        "the mouth corners are low",
        "the mouth corners are level",
        "the mouth corners are raised",
    ),
    "mouth_width": ("the mouth is narrow", "the mouth is of medium width", "the mouth is wide"),
    "mouth_opening": ("the mouth is closed", "the mouth is slightly open", "the mouth is open"),
    "eye_opening": ("the eyes are narrow", "the eyes are open", "the eyes are wide"),
    "brow_height": ("the brows are low", "the brows are level", "the brows are raised"),
}
TURNED_WORDS = "the head is turned to the side"

PARTS = {
    "mouth": ("mouth_corner_lift", "mouth_opening"),
    "eyes": ("eye_opening",),
    "brows": ("brow_height",),
}

# The measures that are named for a label, in the order in which they are named, each with the
# third that is its usual sign: after the action units of EMFACS (lip corner puller, lid raiser,
# brow lowerer and so on), as far as one of the measures follows them.
SIGNS: dict[str, dict[str, int]] = {
    "neutral": {"mouth_corner_lift": 0, "mouth_opening": -1, "eye_opening": 0, "brow_height": 0},
    "happiness": {"mouth_corner_lift": 1, "mouth_width": 1, "mouth_opening": 1, "eye_opening": -1},
    "surprise": {"eye_opening": 1, "brow_height": 1, "mouth_opening": 1, "mouth_width": -1},
    "sadness": {"mouth_corner_lift": -1, "eye_opening": -1, "mouth_opening": -1, "brow_height": 1},
    "anger": {"brow_height": -1, "eye_opening": -1, "mouth_corner_lift": -1, "mouth_opening": 1},
    "disgust": {"brow_height": -1, "eye_opening": -1, "mouth_corner_lift": -1, "mouth_opening": 1},
    "fear": {"eye_opening": 1, "brow_height": 1, "mouth_opening": 1, "mouth_corner_lift": -1},
    "contempt": {"mouth_opening": -1, "brow_height": -1, "eye_opening": -1, "mouth_width": 1},
}
FACTS = 3
"""How many measures the first answer states."""

VERSION = "1"
"""Of the sentences; stands in every built folder."""


def evidence(label: str, geometry: FaceGeometry) -> list[str]:
    """What the face shows, the usual signs of the label first.

    Args:
        label (`str`):
            A label; of one that is not in `SIGNS` no sign is known, and `MEASURES` is the order.
        geometry (`FaceGeometry`):
            The measures.

    Returns:
        `list[str]`: Clauses such as `"the mouth is open"`, each true of the measures. A head that
        is turned aside gives only that and the opening of the mouth.
    """
    if geometry.turned:
        return [TURNED_WORDS, _words("mouth_opening", geometry)]
    signs = SIGNS.get(label) or dict.fromkeys(MEASURES)
    present = [name for name in signs if level(name, getattr(geometry, name)) == signs[name]]
    others = [name for name in signs if name not in present]
    return [_words(name, geometry) for name in (present + others)[:FACTS]]


def clarity(record: ExpressionRecord) -> str:
    """How clear the expression is, by the spread of its votes.

    Args:
        record (`ExpressionRecord`):
            The face.

    Returns:
        `str`: One sentence: clear where at least `CLEAR` of all votes went to the label; else it
        names the runner-up, where at least two annotators chose it. Empty where there are no votes.
    """
    if not record.votes:
        return ""
    total = sum(record.votes)
    counts = dict(zip(record.vote_names, record.votes, strict=True))
    shares = {name: counts[name] / total for name in record.labels}
    return clarity_sentence(shares, record.label, runner_up=2 / total)


class TemplateAnnotator:
    """Writes one or two turns about a record; the same record gives the same turns, always.

    Args:
        landmarks (`LandmarkSource`, *optional*):
            Where the landmarks of a record come from; without one only the votes speak.
        seed (`int`, *optional*, defaults to 0):
            Of the choice of wordings and second turns.

    Example:

    ```python
    >>> from emo_llama.annotate.template import TemplateAnnotator
    >>> from emo_llama.dataset_builders.schema import ExpressionRecord

    >>> names = ("neutral", "happiness")
    >>> record = ExpressionRecord("drawn", 0, (), "happiness", names, (1, 9), names)
    >>> TemplateAnnotator()(record)[1]["content"]
    'The person looks happy: the expression is clear.'
    ```
    """

    def __init__(self, landmarks: LandmarkSource | None = None, seed: int = 0) -> None:
        self.landmarks = landmarks
        self.seed = seed
        self.counts: Counter[str] = Counter()

    def prepare(self, records: Iterable[ExpressionRecord]) -> None:
        """Nothing: each record is written on its own."""

    def provenance(self) -> dict[str, str]:
        """What decides the text."""
        return {"annotator": "template", "version": VERSION, "seed": str(self.seed)}

    def __call__(self, record: ExpressionRecord) -> list[Message]:
        """Turns about the record that alternate user and assistant, user first."""
        points = self.landmarks(record) if self.landmarks else None
        geometry = None if points is None else FaceGeometry.from_landmarks(points)
        key = zlib.crc32(record.id.encode(), self.seed)
        question = conversation_question(record.kind, key % len(CONVERSATION_VARIANTS))
        turns = [question, _first_answer(record, geometry)]
        answers = _follow_ups(record, geometry)
        topic = [None, *answers][key // len(CONVERSATION_VARIANTS) % (len(answers) + 1)]
        if topic is not None:
            turns += [FOLLOW_UPS[topic], answers[topic]]
        self.counts.update([_state(geometry), topic or "no second turn"])
        roles = ("user", "assistant")
        return [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)]

    def summary(self) -> str:
        """What was written so far and from what, one paragraph for the built folder's README."""
        turns = ", ".join(
            f"{name} {self.counts[name]:,}" for name in (*FOLLOW_UPS, "no second turn")
        )
        return (
            "Conversations are written by a template from measurements, not by a person or a "
            f"language model: {self.counts['measured']:,} from votes and the geometry of 68 "
            f"landmarks, {self.counts['turned']:,} likewise of heads turned to the side, "
            f"{self.counts['votes only']:,} from votes alone. Second turns: {turns}. Words such as "
            '"raised", "wide" or "low" mean the upper or lower third of the training faces. '
            f'"Clear" means that at least {CLEAR:.0%} of the votes went to the label; "could also '
            'be seen as" names a runner-up with two votes or more.'
        )


def _words(name: str, geometry: FaceGeometry) -> str:
    """The clause for one measure."""
    return WORDS[name][level(name, getattr(geometry, name)) + 1]


def _state(geometry: FaceGeometry | None) -> str:
    """What an answer could be made of, for the counts."""
    if geometry is None:
        return "votes only"
    return "turned" if geometry.turned else "measured"


def _first_answer(record: ExpressionRecord, geometry: FaceGeometry | None) -> str:
    """The expression, what shows it, and how clear it is."""
    opening = answer_opening(record.label)
    clear = clarity(record)
    if geometry is None:
        return f"{opening}: {clear[0].lower()}{clear[1:]}" if clear else f"{opening}."
    clauses = evidence(record.label, geometry)
    rest = [_sentence([clause]) for clause in clauses[2:]] + [clear] * bool(clear)
    return " ".join([f"{opening}: {' and '.join(clauses[:2])}.", *rest])


def _follow_ups(record: ExpressionRecord, geometry: FaceGeometry | None) -> dict[str, str]:
    """Answers to the questions of `FOLLOW_UPS` that can be answered for this face."""
    shown = [f"the person looks {ADJECTIVES.get(record.label, record.label)}"]
    parts: dict[str, str] = {}
    if geometry is not None:
        shown = evidence(record.label, geometry)[:2]
        seen = {"mouth": ("mouth_opening",)} if geometry.turned else PARTS
        for part, names in seen.items():
            parts[part] = _sentence([_words(name, geometry) for name in names])
    if record.votes:
        parts["sure"] = f"{clarity(record)} A picture shows a look, not a feeling."
    why = f"The picture does not show the cause. It shows only the face: {' and '.join(shown)}."
    return parts | {"why": why}


def _sentence(clauses: Sequence[str]) -> str:
    """Clauses as one sentence."""
    text = " and ".join(clauses)
    return f"{text[0].upper()}{text[1:]}."
