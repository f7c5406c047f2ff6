"""Puts a model, a data set, a metric or a Space on the Hub: all of it in one commit, or nothing.

Everything that can be wrong here is found before there is a connection, everything that can be
wrong there before anything is made. Then only what differs is sent, and what the Hub holds at the
end is read back.
"""

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from emo_llama import __version__
from emo_llama.errors import UsageError
from emo_llama.hub.connection import log_in, patiently, told
from emo_llama.hub.front_matter import check_card
from emo_llama.hub.remote import Difference, Place, Remote
from emo_llama.hub.staging import KINDS, README, LocalFile, hashed

__all__ = ["Pushed", "Request", "prepared", "push"]

Files = Mapping[str, LocalFile]
Stage = Callable[[Path, str], Path]
"""Writes what is to be sent into a folder of its own, for a repository."""

AS_CREATED = {".gitattributes", README}
_BRANCH = re.compile(
    r"(?!.*(\.\.|@\{|//|\.lock(/|$)))(?![-./])[^\s~^:?*\[\\\x00-\x1f\x7f]+(?<![./])"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Request:
    """What shall go where.

    Args:
        kind (`str`): A word in `KINDS`.
        repo (`str`): The repository, as `team/name`.
        private (`bool`, *optional*, defaults to `False`): Whether a new one is made private; one
            that is there must be so already.
        revision (`str`, *optional*): The branch; `main` by default. A new one starts from `main`.
        create_pr (`bool`, *optional*, defaults to `False`): Open a pull request instead.
        message (`str`, *optional*): First line of the commit's message.

    Raises:
        UsageError: It cannot be meant.
    """

    kind: str
    repo: str
    private: bool = False
    revision: str | None = None
    create_pr: bool = False
    message: str | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without the Hub."""
        if self.kind not in KINDS:
            raise UsageError(f"{self.kind!r} cannot be pushed, only {', '.join(KINDS)}.")
        try:
            validate_repo_id(self.repo)
            if self.repo.count("/") != 1:
                raise HFValidationError("There must be one / in it.")
        except HFValidationError as error:
            raise UsageError(
                f"{self.repo!r} is no name of a repository: expected NAMESPACE/NAME of letters, "
                f"digits, -, _ and . ({error})"
            ) from error
        if self.create_pr and self.revision is not None:
            raise UsageError(
                "--create-pr opens a pull request against main, so --revision cannot be given "
                "beside it. Leave one out."
            )
        if self.revision is not None and not _BRANCH.fullmatch(self.revision):
            raise UsageError(f"--revision {self.revision!r}: git knows no branch of such a name.")
        if self.revision is not None and _COMMIT.fullmatch(self.revision):
            raise UsageError("--revision names a commit, and commits do not change. Name a branch.")
        if self.message is not None and not self.message.strip():
            raise UsageError("--message is empty. Leave it out, or say what has changed.")

    @property
    def title(self) -> str:
        """`str`: First line of the commit's message."""
        return self.message or f"Push {self.kind} with emo-llama {__version__}"


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did.

    Args:
        url (`str`): Where to look at it.
        commit (`str`): Hash of the commit that holds it.
        sent (`list[str]`): Files that were sent; none where all were there already.
        dropped (`list[str]`): Files of an earlier push that were removed.
        unchanged (`int`): How many files were there already.
    """

    url: str
    commit: str
    sent: list[str]
    dropped: list[str]
    unchanged: int


@contextmanager
def prepared(request: Request, stage: Stage) -> Iterator[dict[str, LocalFile]]:
    """The files of a push, written to a temporary folder and checked; nothing is sent.

    Args:
        request ([`Request`]): What shall go where.
        stage (`Callable`): Writes them.

    Yields:
        `dict[str, LocalFile]`: By their path in the repository.

    Raises:
        EmoLlamaError: They are incomplete, or their card is not what the Hub takes.
    """
    with tempfile.TemporaryDirectory(prefix="emo-llama-push-") as folder:
        files = hashed(stage(Path(folder), request.repo))
        card = files[README].path.read_text(encoding="utf-8")
        check_card(card, KINDS[request.kind].repo_type, files)
        yield files


def push(request: Request, files: Files, tell: Callable[[str], None] = lambda text: None) -> Pushed:
    """Make a repository hold some files, in one commit, and read them back.

    Args:
        request ([`Request`]):
            What shall go where.
        files (`dict[str, LocalFile]`):
            What [`prepared`] gives.
        tell (`Callable[[str], None]`, *optional*):
            Is told what happens.

    Returns:
        [`Pushed`]: What was done.

    Raises:
        UsageError: The login, the name, the visibility or the revision does not allow it.
        HubError: The Hub does not answer, refuses, or holds something else than was sent.
    """
    api, token = log_in()
    with told(request.repo, token):
        remote = _open(api, request, tell)
        parent = remote.head()
        todo = remote.difference(files, parent)
        place = Place(parent)
        if todo and request.create_pr and (opened := remote.pull_request(files)) is not None:
            todo, place = Difference([], []), opened
        if todo:
            size = sum(files[path].size for path in todo.send) / 1e6
            tell(f"{len(todo.send)} of {len(files)} files differ, {size:.1f} MB")
            place = remote.commit(files, todo, parent, request.title)
            tell(f"commit {place.commit[:12]} is there; it is read back")
            remote.read_back(files, place.commit)
    return Pushed(
        _address(request, place),
        place.commit,
        todo.send,
        todo.drop,
        len(files) - len(todo.send),
    )


def _address(request: Request, place: Place) -> str:
    prefix = constants.REPO_TYPES_URL_PREFIXES.get(KINDS[request.kind].repo_type, "")
    page = f"{constants.ENDPOINT}/{prefix}{request.repo}"
    if place.pull_request is not None:
        return f"{page}/discussions/{place.pull_request}"
    return f"{page}/tree/{place.commit}"


def _open(api: HfApi, request: Request, tell: Callable[[str], None]) -> Remote:
    """The branch to write, made where it is missing, once all is known to be right."""
    repo, kind = request.repo, KINDS[request.kind]
    user = _user(api, request)
    info = _info(api, repo, kind.repo_type)
    if info is None:
        _check_new(api, request, user)
        _create(api, request)
        tell(f"made the {'private ' * request.private}{kind.repo_type} repository {repo}")
    else:
        _check_known(request, info)
    author = user["name"] if request.create_pr else None
    remote = Remote(api, repo, kind, "main", author)
    if info is not None:
        _check_mark(remote, remote.head())
    if request.revision is None:
        return remote
    _make_branch(api, request, tell)
    return Remote(api, repo, kind, request.revision)


def _user(api: HfApi, request: Request) -> dict[str, Any]:
    """Who is logged in, where they may write to the repository."""
    user = patiently(api.whoami)
    access = user.get("auth", {}).get("accessToken", {})
    if access.get("role") == "read":
        raise UsageError(
            "The token that you are logged in with may only read. Make one that may write, at "
            f"{constants.ENDPOINT}/settings/tokens, and log in by `hf auth login`."
        )
    owner = request.repo.partition("/")[0]
    names = [user["name"], *(group["name"] for group in user.get("orgs", []))]
    if owner.lower() not in map(str.lower, names) and not request.create_pr:
        raise UsageError(
            f"{request.repo}: you are {names[0]}, and {owner!r} is not yours. Name a repository of "
            f"{' or '.join(names)}, or open a pull request there by --create-pr."
        )
    return user


def _info(api: HfApi, repo: str, repo_type: str) -> Any:
    """What is known of a repository; `None` where there is none to be seen."""
    try:
        return patiently(lambda: api.repo_info(repo, repo_type=repo_type))
    except RepositoryNotFoundError:
        return None


def _check_new(api: HfApi, request: Request, user: dict[str, Any]) -> None:
    """Refuses to make a repository beside one of another type, or in another's name."""
    wanted = KINDS[request.kind].repo_type
    if request.create_pr:
        raise UsageError(
            f"{request.repo}: there is no such {wanted} to open a pull request to. Leave "
            "--create-pr out to make it."
        )
    for other in ("model", "dataset", "space"):
        if other != wanted and _info(api, request.repo, other) is not None:
            raise UsageError(
                f"{request.repo} is a {other} on the Hub, not a {wanted}. Name another repository, "
                f"or push what belongs into a {other}."
            )


def _create(api: HfApi, request: Request) -> None:
    """Makes the repository; one that is there by now was made by a try that got no answer."""
    repo, repo_type = request.repo, KINDS[request.kind].repo_type
    try:
        patiently(
            lambda: api.create_repo(
                repo,
                repo_type=repo_type,
                private=request.private or None,
                space_sdk="gradio" if repo_type == "space" else None,
            )
        )
    except HfHubHTTPError as error:
        if error.response.status_code != HTTPStatus.CONFLICT:
            raise
        if _info(api, repo, repo_type) is None:
            raise UsageError(
                f"{repo}: the name is taken, by a {repo_type} that you may not see or that the Hub "
                "keeps. Name another repository."
            ) from None


def _check_known(request: Request, info: Any) -> None:
    """Refuses a repository that has moved, or is seen by more people than was asked for."""
    if info.id != request.repo:
        raise UsageError(f"{request.repo} is called {info.id} on the Hub. Use that name.")
    if request.private and not info.private:
        raise UsageError(
            f"{request.repo} is there already and public, so --private cannot hold. Make it "
            "private in its settings, or name another repository."
        )


def _check_mark(remote: Remote, head: str) -> None:
    """Refuses a repository that holds something else."""
    there = remote.tree(head).keys() - AS_CREATED
    path, word = remote.kind.marked_by(remote.repo.rpartition("/")[2])
    if not there:
        return
    if path in there:
        with tempfile.TemporaryDirectory(prefix="emo-llama-") as folder:
            if word in remote.fetch(path, head, folder).read_text("utf-8", errors="replace"):
                return
    raise UsageError(
        f"{remote.repo}: the name is taken by a {remote.kind.repo_type} that `emo-llama push` did "
        f"not make ({', '.join(sorted(there)[:3])}). Name another repository."
    )


def _make_branch(api: HfApi, request: Request, tell: Callable[[str], None]) -> None:
    """Makes a branch from `main`, unless it is there; refuses what no commit can go to."""
    repo, branch, repo_type = request.repo, str(request.revision), KINDS[request.kind].repo_type
    refs = patiently(lambda: api.list_repo_refs(repo, repo_type=repo_type))
    if branch in (ref.name for ref in refs.branches):
        return
    if branch in (ref.name for ref in refs.tags):
        raise UsageError(f"--revision {branch} is a tag, and tags do not change. Name a branch.")
    if branch.startswith("refs/"):
        try:
            if branch.startswith("refs/pr/"):
                patiently(lambda: api.repo_info(repo, repo_type=repo_type, revision=branch))
                return
        except RevisionNotFoundError:
            pass
        raise UsageError(f"--revision {branch}: there is no such pull request. Name a branch.")
    patiently(lambda: api.create_branch(repo, branch=branch, repo_type=repo_type, exist_ok=True))
    tell(f"made the branch {branch} from main")
