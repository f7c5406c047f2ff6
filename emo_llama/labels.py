"""Names of expressions: the label set of each data set, and one table that maps names across sets.

A checkpoint carries its own label set in `config.id2label`; this module decides only what the
builders write and how a name of one data set is called in this project. Each set stands in the
order of its data set's ids; which number the first one has belongs to its builder.
"""

__all__ = [
    "ADJECTIVES",
    "AFFECTNET",
    "AFFECTNET_7",
    "ALIASES",
    "DFEW",
    "FERPLUS",
    "FERV39K",
    "LABEL_SETS",
    "LOSSY",
    "MAFW",
    "RAFDB",
    "canonical",
    "label_name",
    "map_label",
]

FERPLUS = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
)

RAFDB = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")

AFFECTNET = (
    "neutral",
    "happiness",
    "sadness",
    "surprise",
    "fear",
    "disgust",
    "anger",
    "contempt",
)

AFFECTNET_7 = AFFECTNET[:7]

DFEW = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")

FERV39K = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")

MAFW = (
    "anger",
    "disgust",
    "fear",
    "happiness",
    "neutral",
    "sadness",
    "surprise",
    "contempt",
    "anxiety",
    "helplessness",
    "disappointment",
)

LABEL_SETS: dict[str, tuple[str, ...]] = {
    "ferplus": FERPLUS,
    "rafdb": RAFDB,
    "affectnet": AFFECTNET,
    "affectnet-7": AFFECTNET_7,
    "dfew": DFEW,
    "ferv39k": FERV39K,
    "mafw": MAFW,
}
"""The label sets by data set, and by size where a data set has two."""

# Seven expressions are in every set. The other four are not counted to a neighbour (anxiety as
# fear, disappointment as sadness): that would be a label that no annotator gave.
LOSSY: dict[str, tuple[str, ...]] = {
    "contempt": ("rafdb", "affectnet-7", "dfew", "ferv39k"),
    "anxiety": ("ferplus", "rafdb", "affectnet", "affectnet-7", "dfew", "ferv39k"),
    "helplessness": ("ferplus", "rafdb", "affectnet", "affectnet-7", "dfew", "ferv39k"),
    "disappointment": ("ferplus", "rafdb", "affectnet", "affectnet-7", "dfew", "ferv39k"),
}
"""For each expression that some set lacks, the sets that lack it; items of it are left out there.

Going from eight classes to seven loses contempt, from eleven to eight the last three, from eleven
to seven all four. No other pair of sets loses anything.
"""

# Left: names met in the documents and public loaders of the sets that the paper uses. Right: ours.
ALIASES: dict[str, str] = {
    "angry": "anger",
    "anxious": "anxiety",
    "contemptuous": "contempt",
    "disappointed": "disappointment",
    "disgusted": "disgust",
    "fearful": "fear",
    "happy": "happiness",
    "helpless": "helplessness",
    "joy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
}

# How a sentence names the look of a face that carries the label: "The person looks happy".
ADJECTIVES: dict[str, str] = {
    "neutral": "neutral",
    "happiness": "happy",
    "surprise": "surprised",
    "sadness": "sad",
    "anger": "angry",
    "disgust": "disgusted",
    "fear": "afraid",
    "contempt": "contemptuous",
    "anxiety": "anxious",
    "helplessness": "helpless",
    "disappointment": "disappointed",
}


def canonical(name: str) -> str:
    """The project's name for an expression as some data set spells it.

    Args:
        name (`str`):
            A label such as `"Happy"`, `"joy"` or `"anger"`; case and surrounding blanks do not
            matter.

    Returns:
        `str`: The name used here, for example `"happiness"`.

    Raises:
        KeyError: No label set of the project knows the name.

    Example:

    ```python
    >>> from emo_llama.labels import canonical

    >>> canonical("Joy")
    'happiness'
    ```
    """
    key = name.strip().lower()
    key = ALIASES.get(key, key)
    if key not in ADJECTIVES:
        known = ", ".join(sorted({*ADJECTIVES, *ALIASES}))
        raise KeyError(f"{name!r} names no expression known here; known names: {known}")
    return key


def label_name(name: str) -> str:
    """A name as it stands in built data: the project's own where it knows one.

    Args:
        name (`str`):
            A label of any data set, the user's own included.

    Returns:
        `str`: As [`canonical`] gives it; a name that it does not know in lower case.

    Example:

    ```python
    >>> from emo_llama.labels import label_name

    >>> label_name("Angry"), label_name("Bored")
    ('anger', 'bored')
    ```
    """
    key = " ".join(name.lower().split())
    return ALIASES.get(key, key)


def map_label(label: str, to_set: str) -> str | None:
    """The label of another set that means the same.

    Args:
        label (`str`):
            A label, as any data set spells it.
        to_set (`str`):
            Name in `LABEL_SETS`.

    Returns:
        `str` or `None`: The label there; `None` where the set has no counterpart, which for the
        project's own sets is what `LOSSY` lists.

    Raises:
        KeyError: There is no label set of that name.

    Example:

    ```python
    >>> from emo_llama.labels import map_label

    >>> map_label("joy", "dfew")
    'happiness'
    >>> map_label("contempt", "rafdb") is None
    True
    ```
    """
    if to_set not in LABEL_SETS:
        raise KeyError(f"{to_set!r} is no label set; name one of {', '.join(LABEL_SETS)}")
    name = label_name(label)
    return name if name in LABEL_SETS[to_set] else None
