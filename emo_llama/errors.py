"""The errors that a user can meet, each an `EmoLlamaError` and the builtin that it resembles.

Every message says what was expected, what came, and what to do next. The command line prints
the message alone and exits with the error's `exit_status`.
"""

from importlib import import_module
from types import ModuleType


class EmoLlamaError(Exception):
    """Base class of all errors that this package raises on purpose.

    Attributes:
        exit_status (`int`):
            What the command line exits with: 1 for an input that failed, 2 for wrong usage.
    """

    exit_status = 1


class UsageError(EmoLlamaError, ValueError):
    """An argument or option that cannot be meant."""

    exit_status = 2


class MissingDependencyError(EmoLlamaError, ImportError):
    """An optional package that is needed here and not installed."""

    exit_status = 2


class ModelNotFoundError(EmoLlamaError, FileNotFoundError):
    """A folder or repository without a model in this project's format."""

    exit_status = 2


class InputNotFoundError(EmoLlamaError, FileNotFoundError):
    """A file or folder that should be read and does not exist."""


class MediaError(EmoLlamaError, ValueError):
    """An image or video that cannot be read."""


class ScoreError(EmoLlamaError, ArithmeticError):
    """A score of the model that is no finite number, so that it says nothing."""


class DataFormatError(EmoLlamaError, ValueError):
    """A data set file whose content is not what its format promises."""


class OutputError(EmoLlamaError, OSError):
    """A result that could not be written."""


class WorkerError(EmoLlamaError, RuntimeError):
    """A worker process that ended before its work."""


class EndpointError(EmoLlamaError, RuntimeError):
    """An endpoint that will not answer any more of what it is asked."""


class HubError(EmoLlamaError, ConnectionError):
    """A Hub that does not answer, refuses, or holds something else than was sent."""


def require(name: str, extra: str) -> ModuleType:
    """Import an optional package, or say what to type to get it.

    Args:
        name (`str`):
            The module to import, for example `"mediapipe"`.
        extra (`str`):
            The extra of this package that installs it, for example `"faces"`.

    Returns:
        `ModuleType`: The imported module.

    Raises:
        MissingDependencyError: The module is missing or fails to import.

    Example:
    ```python
    >>> from emo_llama.errors import require

    >>> require("json", extra="faces").dumps([1])
    '[1]'
    ```
    """
    try:
        return import_module(name)
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f"This needs the package {name!r}, which could not be imported ({error}). "
            f'Install it with: pip install "emo-llama[{extra}]"'
        ) from error
