"""One repository on the Hub as a push meets it: what it holds, one commit, and the read-back.

A commit names its parent, so that somebody else's change in between is an error and never lost. An
answer that does not arrive is no reason to send a commit twice: first it is looked up whether the
files are there.
"""

import hashlib
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
)
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.hf_api import RepoFile

from emo_llama.errors import HubError
from emo_llama.hub.connection import TRIED_AGAIN, WAITS, is_transient, patiently
from emo_llama.hub.staging import Kind, LocalFile

__all__ = ["Difference", "Place", "Remote"]

Files = Mapping[str, LocalFile]


@dataclass(frozen=True, slots=True)
class Difference:
    """What would make a revision hold the files of a push.

    Args:
        send (`list[str]`): Files that it lacks, or has otherwise.
        drop (`list[str]`): Files of an earlier push that are sent no more.
    """

    send: list[str]
    drop: list[str]

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.send or self.drop)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a commit went.

    Args:
        commit (`str`): Its hash.
        pull_request (`int`, *optional*): The number of the pull request that holds it.
    """

    commit: str
    pull_request: int | None = None


@dataclass(frozen=True, slots=True)
class Remote:
    """A branch of a repository.

    Args:
        api (`HfApi`): The client.
        repo (`str`): The repository, as `team/name`.
        kind (`Kind`): What it holds.
        branch (`str`, *optional*, defaults to `"main"`): The branch to write.
        user (`str`, *optional*): Set for a pull request: who opens it.
    """

    api: HfApi
    repo: str
    kind: Kind
    branch: str = "main"
    user: str | None = None

    def head(self, revision: str | None = None) -> str:
        """The hash of the branch's last commit, or of that of another revision."""
        known = patiently(
            lambda: self.api.repo_info(
                self.repo, repo_type=self.kind.repo_type, revision=revision or self.branch
            )
        )
        if known.sha is None:
            raise HubError(f"{self.repo}: the Hub tells no commit of {revision or self.branch}.")
        return known.sha

    def tree(self, commit: str) -> dict[str, RepoFile]:
        """The files of a commit by path, with their checksums."""
        entries = self.api.list_repo_tree(  # tries again by itself
            self.repo, recursive=True, revision=commit, repo_type=self.kind.repo_type
        )
        return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}

    def difference(self, files: Files, commit: str) -> Difference:
        """What a commit lacks of some files.

        Args:
            files (`dict[str, LocalFile]`): What it should hold.
            commit (`str`): Its hash.

        Returns:
            `Difference`: False where it holds them.
        """
        there, name = self.tree(commit), self.repo.rpartition("/")[2]
        return Difference(
            [path for path, file in files.items() if not _same(file, there.get(path))],
            [path for path in there if path not in files and self.kind.owns(path, name)],
        )

    def commit(self, files: Files, todo: Difference, parent: str, message: str) -> Place:
        """Sends what differs and commits it once.

        Args:
            files (`dict[str, LocalFile]`): All files of the push.
            todo (`Difference`): What of them differs.
            parent (`str`): The commit that it was compared with.
            message (`str`): First line of the commit's message.

        Returns:
            `Place`: Where it went.

        Raises:
            HubError: Somebody else has changed the branch.
        """
        additions = [CommitOperationAdd(path, files[path].path) for path in todo.send]
        self.api.preupload_lfs_files(  # tries again by itself, and skips what has arrived
            self.repo,
            additions,
            repo_type=self.kind.repo_type,
            revision=self.branch,
            create_pr=self.user is not None,
            free_memory=False,
            gitignore_content="",  # or files would be left out in silence
        )
        operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete]
        operations = [*additions, *(CommitOperationDelete(path) for path in todo.drop)]
        for wait in (*WAITS, None):
            try:
                done = self.api.create_commit(
                    self.repo,
                    operations,
                    commit_message=message,
                    repo_type=self.kind.repo_type,
                    revision=self.branch,
                    create_pr=self.user is not None,
                    parent_commit=parent,
                )
                return Place(done.oid, done.pr_num)
            except TRIED_AGAIN as error:
                if (place := self._landed(files, parent)) is not None:
                    return place
                if wait is None or not is_transient(error):
                    raise
                time.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def pull_request(self, files: Files) -> Place | None:
        """The user's own open pull request that holds the files, if there is one."""
        opened = patiently(
            lambda: list(
                self.api.get_repo_discussions(
                    self.repo,
                    author=self.user,
                    discussion_type="pull_request",
                    discussion_status="open",
                    repo_type=self.kind.repo_type,
                )
            )
        )
        for request in sorted(opened, key=lambda request: -request.num):
            commit = self.head(f"refs/pr/{request.num}")
            if not self.difference(files, commit):
                return Place(commit, request.num)
        return None

    def _landed(self, files: Files, parent: str) -> Place | None:
        """Where a commit went whose answer did not arrive; `None` where it did not get through."""
        if self.user is not None:
            return self.pull_request(files)
        head = self.head()
        if head == parent:
            return None
        if self.difference(files, head):
            raise HubError(
                f"{self.repo}: somebody else has changed {self.branch} meanwhile (now "
                f"{head[:12]}). Nothing of this run was published. Look at the change, and run the "
                "command again."
            )
        return Place(head)

    def read_back(self, files: Files, commit: str) -> None:
        """Downloads every file of a commit and compares it with what was sent.

        Args:
            files (`dict[str, LocalFile]`): What it should hold.
            commit (`str`): Its hash.

        Raises:
            HubError: A file is not the same, byte for byte.
        """
        for path, file in files.items():
            with tempfile.TemporaryDirectory(prefix="emo-llama-") as folder:
                try:
                    found = self.fetch(path, commit, folder)
                except HfHubHTTPError as error:
                    if is_transient(error):
                        raise
                    found = None
                if found is None or _digest(found) != file.sha256:
                    raise HubError(
                        f"{self.repo}: {path} of {commit[:12]} is not what was sent, though the "
                        "Hub took it. Do not use this revision; run the command again, and tell "
                        "the Hub if it stays so."
                    )

    def fetch(self, path: str, commit: str, folder: str) -> Path:
        """Downloads one file of a commit.

        Args:
            path (`str`): The file.
            commit (`str`): The hash.
            folder (`str`): Where to put it.

        Returns:
            `Path`: The file here.
        """
        return Path(
            patiently(
                lambda: self.api.hf_hub_download(
                    self.repo,
                    path,
                    repo_type=self.kind.repo_type,
                    revision=commit,
                    local_dir=folder,
                )
            )
        )


def _same(file: LocalFile, there: RepoFile | None) -> bool:
    if there is None:
        return False
    if there.lfs is not None:
        return there.lfs.sha256 == file.sha256
    return there.blob_id == file.git_oid


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
