"""Names of expressions: the label set of each data set, and one table that maps names across sets.

A checkpoint carries its own label set in `config.id2label`; this module decides only what the
builders write and how a name of one data set is called in this project. Ids of other data sets
belong to their builders.
"""

__all__ = ["ADJECTIVES", "ALIASES", "FERPLUS", "LABEL_SETS", "canonical"]

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

LABEL_SETS: dict[str, tuple[str, ...]] = {"ferplus": FERPLUS}

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
