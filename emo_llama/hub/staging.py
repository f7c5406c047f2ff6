"""What a push sends: a folder of each kind of repository, made whole before anything is sent.

Decides which files belong to a model, a data set, a metric and a Space, and which of a remote
repository are this project's to replace. Pictures of data sets whose licence keeps them at home are
left out here, before there is any connection. Sending is left to `emo_llama.hub.push`.
"""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.parquet as pq
from huggingface_hub import constants
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import sha, validate_repo_id

from emo_llama.dataset_builders.build import BUILDERS, REPORT
from emo_llama.dataset_builders.stripping import MEDIA, strip_pictures
from emo_llama.errors import DataFormatError, InputNotFoundError, UsageError
from emo_llama.evaluation import metrics
from emo_llama.hub.card import with_repository
from emo_llama.hub.export import export

__all__ = [
    "KINDS",
    "Kind",
    "LocalFile",
    "hashed",
    "stage_dataset",
    "stage_metric",
    "stage_model",
    "stage_space",
]

README = "README.md"
METRICS, METRIC = Path(metrics.__file__).parent, "facial_expression"
SPACE_FILES = (README, "app.py", "requirements.txt")
START = "    main()\n"
PACKAGE = "emo-llama[faces,space]"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of repository.

    Args:
        repo_type (`str`): What the Hub calls it.
        owned (`tuple[str, ...]`): Patterns of files that are replaced, and removed where they are
            sent no more; `{name}` is the name of the repository. Others stay as they are.
        mark (`tuple[str, str]`): A file of every repository of this kind, and a word in it; as
            above.
    """

    repo_type: str
    owned: tuple[str, ...]
    mark: tuple[str, str]

    def marked_by(self, name: str) -> tuple[str, str]:
        """The file of a repository that tells this kind, and the word in it."""
        return self.mark[0].format(name=name), self.mark[1]

    def owns(self, path: str, name: str) -> bool:
        """Whether a file of a repository is this project's."""
        patterns = [pattern.format(name=name) for pattern in self.owned]
        return ".." not in path.split("/") and any(
            fnmatch(path, pattern) and path.count("/") == pattern.count("/") for pattern in patterns
        )


KINDS: Mapping[str, Kind] = {
    "model": Kind(
        "model",
        (
            README,
            "model*.safetensors",
            "model.safetensors.index.json",
            "*config.json",
            "validation.json",
            "chat_template.jinja",
            "*token*.json",
            "tokenizer.model",
            "vocab.*",
            "merges.txt",
            "qformer_tokenizer/*",
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
    "metric": Kind(
        "space",  # where evaluate looks for metrics
        (README, "requirements.txt", "app.py", "scores.py", "{name}.py"),
        ("{name}.py", "class FacialExpression"),
    ),
    "space": Kind(
        "space",
        (README, "requirements.txt", "app.py", "emo_llama-*.whl"),
        ("requirements.txt", "emo-llama"),
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


def stage_metric(folder: Path, repo: str) -> Path:
    """Writes the metric, its script under the name that `evaluate.load` looks for.

    Args:
        folder (`Path`):
            Where the new folder is made.
        repo (`str`):
            The repository, as `team/name`.

    Returns:
        `Path`: The folder to send.

    Raises:
        UsageError: A metric cannot be called so.
    """
    name = repo.rpartition("/")[2]
    if "." in name or name in ("app", "scores"):
        raise UsageError(
            f"{repo}: evaluate loads {name}.py from a repository of this name, which cannot be. "
            f"Name another, as {repo.partition('/')[0]}/{METRIC}."
        )
    source, out = METRICS / METRIC, folder / name
    out.mkdir()
    for path in ("app.py", "requirements.txt", "scores.py"):
        shutil.copyfile(source / path, out / path)
    shutil.copyfile(source / f"{METRIC}.py", out / f"{name}.py")
    shutil.copyfile(source / README, out / README)
    _name_repository(out / README, repo)
    return out


def stage_space(
    folder: Path, repo: str, model: str | None = None, wheel: str | Path | None = None
) -> Path:
    """Writes the Space: the start of the installed package's own, what to install, and its card.

    Args:
        folder (`Path`):
            Where the new folder is made.
        repo (`str`):
            The repository, as `team/name`.
        model (`str`, *optional*):
            The repository of the model that it shows; that of the package by default.
        wheel (`str` or `Path`, *optional*):
            A wheel of this package to send and install, in place of the one on the package index.

    Returns:
        `Path`: The folder to send.

    Raises:
        UsageError: `model` is no repository, or `wheel` no wheel of this package.
    """
    source, out = Path(str(files("emo_llama.space"))), folder / repo.rpartition("/")[2]
    out.mkdir()
    for path in SPACE_FILES:
        shutil.copyfile(source / path, out / path)
    if model is not None:
        _set_model(out, model)
    if wheel is not None:
        _add_wheel(out, repo, Path(wheel))
    return out


def _set_model(out: Path, model: str) -> None:
    """The model that is shown, unless a variable of the Space names another."""
    try:
        validate_repo_id(model)
        if "/" not in model:
            raise HFValidationError("There must be one / in it.")
    except HFValidationError as error:
        raise UsageError(
            f"--model {model}: a Space loads its model from the Hub, so expected a repository as "
            f"NAMESPACE/NAME ({error}). Push the model first."
        ) from error
    _replace(
        out / "app.py", START, f'    os.environ.setdefault(MODEL_VARIABLE, "{model}")\n{START}'
    )
    _replace(out / README, "models: []", f"models:\n- {model}")


def _add_wheel(out: Path, repo: str, wheel: Path) -> None:
    """Has a wheel of the repository installed, by its address and checksum.

    The Hub installs what requirements.txt names before the files of the repository are there. The
    checksum makes it install again where only the wheel has changed.
    """
    if not fnmatch(wheel.name, "emo_llama-*.whl") or not zipfile.is_zipfile(wheel):
        raise UsageError(f"--wheel {wheel}: expected emo_llama-VERSION-py3-none-any.whl.")
    if "emo_llama/space/app.py" not in zipfile.ZipFile(wheel).namelist():
        raise UsageError(f"--wheel {wheel}: there is no Space in it. Build it anew.")
    shutil.copyfile(wheel, out / wheel.name)
    page = f"{constants.ENDPOINT}/spaces/{repo}/resolve/main/{quote(wheel.name)}"
    address = f"{PACKAGE} @ {page}#sha256={_local_file(wheel).sha256}"
    _replace(out / "requirements.txt", PACKAGE, address)


def _replace(path: Path, old: str, new: str) -> None:
    """Changes a file that this package brings, at the one place that is meant."""
    text = path.read_text(encoding="utf-8")
    if text.count(old) != 1:
        raise DataFormatError(f"{path.name} has no line {old.strip()!r}. Install emo-llama again.")
    path.write_text(text.replace(old, new), encoding="utf-8")


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
