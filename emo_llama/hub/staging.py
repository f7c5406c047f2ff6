"""What a push sends: a folder of each kind of repository, made whole before anything is sent.

Decides which files belong to a model, a data set, a metric and a Space, and which of a remote
repository are this project's to replace. Pictures of data sets whose licence keeps them at home are
left out here, before there is any connection. Sending is left to `emo_llama.hub.push`.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from huggingface_hub.utils import sha

from emo_llama.dataset_builders.build import BUILDERS, REPORT
from emo_llama.dataset_builders.stripping import MEDIA, strip_pictures
from emo_llama.errors import DataFormatError, InputNotFoundError, UsageError
from emo_llama.hub.card import with_repository
from emo_llama.hub.export import export

__all__ = ["KINDS", "Kind", "LocalFile", "hashed", "stage_dataset", "stage_model"]

README = "README.md"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of repository.

    Args:
        repo_type (`str`): What the Hub calls it.
        owned (`tuple[str, ...]`): Patterns of files that are replaced, and removed where they are
            sent no more; `{name}` is the name of the repository. Others stay as they are.
        mark (`tuple[str, str]`): A file of every repository of this kind, and a word in it.
    """

    repo_type: str
    owned: tuple[str, ...]
    mark: tuple[str, str]

    def owns(self, path: str, name: str) -> bool:
        """Whether a file of a repository is this project's."""
        return any(fnmatch(path, pattern.format(name=name)) for pattern in self.owned)


KINDS: Mapping[str, Kind] = {
    "model": Kind(
        "model",
        (
            README,
            "*.safetensors",
            "model.safetensors.index.json",
            "*config.json",
            "validation.json",
            "chat_template.jinja",
            "*tokenizer*",
            "*_emo_llama.py",
            "*_facexformer.py",
            "modeling_*.py",
        ),
        ("config.json", '"emo_llama'),
    ),
    "dataset": Kind(
        "dataset",
        (README, REPORT, "category/*.parquet", "conversation/*.parquet"),
        (REPORT, '"emo-llama '),
    ),
}
"""What can be pushed, by the word that the command takes."""


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to send.

    Args:
        path (`Path`): Where it lies.
        size (`int`): Bytes.
        sha256 (`str`): Of its content: what the Hub keeps of large files.
        git_oid (`str`): What it keeps of the others.
    """

    path: Path
    size: int
    sha256: str
    git_oid: str


def hashed(folder: Path) -> dict[str, LocalFile]:
    """Every file of a folder with its checksums.

    Args:
        folder (`Path`):
            The folder.

    Returns:
        `dict[str, LocalFile]`: By the path in the repository, sorted.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _local_file(path) for path in paths}


def _local_file(path: Path) -> LocalFile:
    size = path.stat().st_size
    git = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as stream:
        whole = sha.sha_fileobj(stream).hex()
        stream.seek(0)
        while chunk := stream.read(1 << 20):
            git.update(chunk)
    return LocalFile(path, size, whole, git.hexdigest())


def stage_model(folder: Path, repo: str, model: str | None = None) -> Path:
    """Writes what `emo-llama export` writes, its card naming the repository.

    Args:
        folder (`Path`):
            Where the new folder is made.
        repo (`str`):
            The repository, as `team/name`.
        model (`str`, *optional*):
            A folder or a repository; the embedded model by default.

    Returns:
        `Path`: The folder to send.

    Raises:
        ModelNotFoundError: The model is incomplete or damaged.
    """
    out = export(model, folder / repo.rpartition("/")[2])
    _name_repository(out / README, repo)
    return out


def stage_dataset(folder: Path, repo: str, data: str | Path, with_pictures: bool = False) -> Path:
    """Writes a built data set, without pictures unless they may leave.

    Args:
        folder (`Path`):
            Where the new folder is made.
        repo (`str`):
            The repository, as `team/name`.
        data (`str` or `Path`):
            A folder that `emo-llama data build` wrote.
        with_pictures (`bool`, *optional*, defaults to `False`):
            The user's word that the pictures are theirs to publish; heard only where the data set
            does not forbid it.

    Returns:
        `Path`: The folder to send.

    Raises:
        InputNotFoundError: `data` was not built, or a file of it is missing.
        DataFormatError: A file of it is not what was built.
        UsageError: Pictures are asked for that may not leave.
    """
    data, out = Path(data), folder / repo.rpartition("/")[2]
    report = _report(data)
    name = _check_built(data, report)
    allowed = BUILDERS[name].PICTURES_MAY_BE_SHARED
    if with_pictures and allowed is False:
        raise UsageError(
            f"{data}: the licence of {name} keeps its pictures at home. Leave --with-pictures out: "
            "questions, answers and ids are sent, and whoever holds the data set puts the pictures "
            "back."
        )
    if "sha256" in report and not (with_pictures or allowed):
        strip_pictures(data, out)
    else:
        for path in [README, REPORT, *_shards(data, report)]:
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(data / path, out / path)
    if not (with_pictures or allowed):
        _check_stripped(out)
    _name_repository(out / README, repo)
    return out


def _report(data: Path) -> dict[str, Any]:
    try:
        report = json.loads((data / REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputNotFoundError(
            f"{data}: expected a folder that `emo-llama data build` wrote, with {REPORT} in it "
            f"({error}). Name one, or build it."
        ) from error
    if not isinstance(report, dict) or report.get("choices", {}).get("name") not in BUILDERS:
        raise DataFormatError(
            f"{data / REPORT}: names no data set that is known. Build the folder again."
        )
    return report


def _shards(data: Path, report: dict[str, Any]) -> list[str]:
    """The Parquet files of a built folder; a stripped one has no checksums of them."""
    found = (path.relative_to(data).as_posix() for path in sorted(data.glob("*/*.parquet")))
    return list(report.get("sha256") or found)


def _check_built(data: Path, report: dict[str, Any]) -> str:
    """The name of a built data set whose files are all there and as they were built."""
    for path in [README, *_shards(data, report)]:
        if not KINDS["dataset"].owns(path, "") or not (data / path).is_file():
            raise InputNotFoundError(f"{data / path}: is missing. Build the data set again.")
        known = report.get("sha256", {}).get(path)
        if known and _local_file(data / path).sha256 != known:
            raise DataFormatError(
                f"{data / path}: is not the file that was built (another sha256 than {REPORT} "
                "says). Build the data set again."
            )
    return str(report["choices"]["name"])


def _check_stripped(folder: Path) -> None:
    """Makes sure that nothing in a stripped folder can hold a picture."""
    for path in (path for path in folder.rglob("*") if path.is_file()):
        inner = path.relative_to(folder).as_posix()
        columns = pq.read_schema(path).names if path.suffix == ".parquet" else []
        if not KINDS["dataset"].owns(inner, "") or set(columns) & set(MEDIA):
            raise DataFormatError(f"{path}: may hold pictures, so nothing was sent.")


def _name_repository(card: Path, repo: str) -> None:
    card.write_text(with_repository(card.read_text(encoding="utf-8"), repo), encoding="utf-8")
