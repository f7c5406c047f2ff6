"""EMO-LLaMA: names and explains the facial expressions in images and videos.

The public names are imported on first use, so that `import emo_llama` and `emo-llama --help`
answer at once. The model classes live in `emo_llama.modeling`.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from emo_llama.recognition.recognizer import EmotionRecognizer
    from emo_llama.records import Face, FrameFace, Result

__all__ = ["EmotionRecognizer", "Face", "FrameFace", "Result", "__version__"]

_HOMES = {
    "EmotionRecognizer": "emo_llama.recognition.recognizer",
    "Face": "emo_llama.records",
    "FrameFace": "emo_llama.records",
    "Result": "emo_llama.records",
}


def __getattr__(name: str) -> Any:
    """Import a public name from the module that owns it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
