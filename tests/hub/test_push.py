"""The command `push` against a Hub on this machine: what it refuses, and what it never shows."""

import json
import traceback

import pytest

from emo_llama.cli import main
from emo_llama.errors import HubError, UsageError
from emo_llama.hub.push import Request, prepared
from emo_llama.hub.push import push as push_files

CARD = "---\ntags:\n- emo-llama\n---\n# A model\n"


@pytest.fixture
def push(repo, tmp_path):
    """Pushes two files as a model, or those of another kind."""

    def call(repo=repo, kind="model", files=None, **options):
        files = files or {"README.md": CARD, "config.json": '{"model_type": "emo_llama"}'}
        request = Request(kind, repo, **options)

        def stage(folder, repo):
            for name, content in files.items():
                (folder / name).write_text(content)
            return folder

        with prepared(request, stage) as found:
            return push_files(request, found)

    return call


def repositories(hub):
    return sorted(str(path.parent) for path in hub.root.rglob("repo.json"))


def test_nobody_is_logged_in(hub, push, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="Nobody is logged in .* `hf auth login`"):
        push()
    assert hub.proxy.log == []


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("hf_wrong", "does not know this token"),
        ("hf_reader", "may only read"),
        ("hf_\x01odd", "characters that no token has"),
        ("hf_\xe9odd", "characters that no token has"),
    ],
)
def test_tokens_that_cannot_write(hub, push, monkeypatch, token, message):
    before = repositories(hub)
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UsageError, match=message) as caught:
        push()
    shown = "".join(traceback.format_exception(caught.value))
    assert token not in shown
    assert repositories(hub) == before


def test_a_namespace_of_somebody_else(hub, push):
    before = repositories(hub)
    with pytest.raises(
        UsageError, match="you are tester, and 'other' is not yours.*tester or team"
    ):
        push("other/model")
    assert repositories(hub) == before


def test_an_organisation_is_a_namespace(hub, push):
    assert push("team/model").url.startswith(f"{hub.url}/team/model/tree/")


@pytest.mark.parametrize(
    "name",
    ["model", "a/b/c", "tester/", "/model", "tester/a b", "tester/.a", "tester/a--b", "t/a.git"],
)
def test_names_that_no_repository_has(name, push):
    with pytest.raises(UsageError, match="is no name of a repository"):
        push(name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"create_pr": True, "revision": "new"}, "--revision cannot be given beside it"),
        ({"revision": "a b"}, "git knows no branch"),
        ({"revision": "../a"}, "git knows no branch"),
        ({"revision": "a.lock"}, "git knows no branch"),
        ({"revision": ""}, "git knows no branch"),
        ({"revision": "0123456789" * 4}, "names a commit"),
        ({"message": " "}, "--message is empty"),
    ],
)
def test_requests_that_cannot_be_meant(push, options, message):
    with pytest.raises(UsageError, match=message):
        push(**options)


def test_a_repository_of_another_type(hub, push, repo):
    hub.api.create_repo(repo, repo_type="dataset")
    before = repositories(hub)
    with pytest.raises(UsageError, match="is a dataset on the Hub, not a model"):
        push()
    assert repositories(hub) == before


@pytest.mark.parametrize("name", ["config.json", "pytorch_model.bin"])
def test_a_name_that_is_taken(hub, push, repo, name):
    hub.api.create_repo(repo)
    content = json.dumps({"model_type": "llama"}).encode()
    hub.api.upload_file(path_or_fileobj=content, path_in_repo=name, repo_id=repo)
    with pytest.raises(UsageError, match=f"name is taken by a model .*{name}"):
        push()
    assert hub.files(repo) == {name: content}


def test_a_name_that_the_hub_keeps(hub, push, repo):
    """There is something of that name that nobody may see."""
    hub.proxy.once("POST", "/repos/create", lambda passing: passing.answer(409, [], b"{}") or True)
    with pytest.raises(UsageError, match="the name is taken, by a model that you may not see"):
        push()


def test_a_repository_that_was_made_by_hand_is_filled(hub, push, repo):
    hub.api.create_repo(repo)
    push()
    assert hub.files(repo).keys() == {"README.md", "config.json"}


def test_private_is_private(hub, push, repo):
    push(private=True)
    assert hub.api.model_info(repo).private is True
    assert push(private=True).sent == []


def test_what_is_public_is_not_filled_as_private(hub, push, repo):
    push()
    with pytest.raises(UsageError, match="is there already and public"):
        push(private=True, message="a second")
    assert hub.commits(repo) == 1


def test_a_branch_is_made_and_main_stays(hub, push, repo):
    push()
    push(
        revision="next/one", files={"README.md": CARD, "config.json": '{"model_type":"emo_llama"}'}
    )
    assert hub.files(repo, branch="next/one")["config.json"] == b'{"model_type":"emo_llama"}'
    assert hub.files(repo)["config.json"] == b'{"model_type": "emo_llama"}'


@pytest.mark.parametrize(
    ("revision", "message"),
    [
        ("v1", "is a tag"),
        ("refs/pr/9", "no such pull request"),
        ("refs/convert/parquet", "no such pull request"),
    ],
)
def test_revisions_that_no_commit_can_go_to(hub, push, repo, revision, message):
    push()
    hub.api.create_tag(repo, tag="v1")
    with pytest.raises(UsageError, match=message):
        push(revision=revision, files={"README.md": CARD + "more", "config.json": "emo_llama"})
    assert hub.commits(repo) == 1


def test_a_message_is_that_of_the_commit(hub, push, repo):
    push(message="Say what has changed")
    assert hub.api.list_repo_commits(repo)[0].title == "Say what has changed"


def test_a_card_that_the_hub_alone_refuses(hub, push, repo):
    """What is not known here is said in the Hub's words, and nothing is published."""
    answer = [("Content-Type", "application/json")], b'{"errors": [{"message": "odd licence"}]}'
    hub.proxy.once("POST", "/validate-yaml", lambda passing: passing.answer(400, *answer) or True)
    with pytest.raises(UsageError, match="odd licence Nothing was published"):
        push()
    assert hub.files(repo) == {}


def test_a_token_that_a_server_repeats_is_not_shown(hub, push):
    def repeat(passing):
        token = passing.headers["authorization"]
        passing.answer(403, [("X-Error-Message", f"no {token}")], token.encode())
        return True

    hub.proxy.once("POST", "/preupload/", repeat)
    with pytest.raises(UsageError, match="does not let this token write") as caught:
        push()
    shown = "".join(traceback.format_exception(caught.value))
    assert "hf_tester" not in shown
    assert "***" in shown


def test_signed_addresses_are_not_shown(hub, push):
    files = {"README.md": CARD, "config.json": "emo_llama", "model.safetensors": "0"}
    hub.proxy.rules.append(lambda passing: passing.command == "PUT" and refuse(passing))

    def refuse(passing):
        passing.answer(403, [], passing.path.encode())
        return True

    with pytest.raises((UsageError, HubError)) as caught:
        push(files=files)
    assert "sign=" not in "".join(traceback.format_exception(caught.value))


def open_requests(hub):
    """Pull requests, which the server does not have: a branch `refs/pr/N` each, as on the Hub."""
    opened = []

    def create(passing):
        if not passing.path.endswith("/commit/main?create_pr=1"):
            return False
        opened.append(json.loads(passing.body.splitlines()[0])["value"]["summary"])
        repo = passing.path.split("/commit/")[0].removeprefix("/api/models/")
        hub.api.create_branch(repo, branch=f"refs/pr/{len(opened)}")
        path = passing.path.replace("main?create_pr=1", f"refs%2Fpr%2F{len(opened)}")
        status, headers, content = passing.forward(path)
        url = f"{hub.url}/{repo}/discussions/{len(opened)}"
        answer = json.dumps(json.loads(content) | {"pullRequestUrl": url}).encode()
        return passing.answer(status, headers, answer) or True

    def discussions(passing):
        if "/discussions?" not in passing.path:
            return False
        found = [
            {
                "num": number,
                "title": title,
                "status": "open",
                "isPullRequest": True,
                "author": {"name": "tester"},
                "createdAt": "2026-01-01T00:00:00.000Z",
                "repo": {"name": "tester/a", "type": "model"},
            }
            for number, title in enumerate(opened, 1)
        ]
        body = json.dumps({"discussions": found, "count": len(found), "start": 0}).encode()
        return passing.answer(200, [("Content-Type", "application/json")], body) or True

    hub.proxy.rules += [create, discussions]
    return opened, create


def test_a_pull_request_is_opened_once(hub, push, repo):
    push()
    opened, _ = open_requests(hub)
    files = {"README.md": CARD + "more", "config.json": '{"model_type": "emo_llama"}'}
    done = push(create_pr=True, files=files)
    assert done.url == f"{hub.url}/{repo}/discussions/1"
    assert done.sent == ["README.md"]
    assert hub.files(repo)["README.md"] == CARD.encode()
    assert hub.files(repo, branch="refs/pr/1")["README.md"] == files["README.md"].encode()
    again = push(create_pr=True, files=files)
    assert (again.url, again.sent, len(opened)) == (done.url, [], 1)


def test_a_pull_request_whose_answer_is_lost_is_found(hub, push, repo):
    push()
    opened, create = open_requests(hub)
    hub.proxy.rules.remove(create)

    def lost(passing):
        passing.answer = lambda *answer: None
        return create(passing) and passing.cut()

    hub.proxy.once(
        "POST", "create_pr=1", lambda passing: "/commit/" in passing.path and lost(passing)
    )
    hub.proxy.rules.append(create)
    done = push(create_pr=True, files={"README.md": CARD + "more", "config.json": "emo_llama"})
    assert done.url == f"{hub.url}/{repo}/discussions/1"
    assert len(opened) == 1


def test_a_pull_request_needs_a_repository(hub, push):
    with pytest.raises(UsageError, match="no such model to open a pull request to"):
        push(create_pr=True)


def test_the_command_pushes_a_model_and_names_the_revision(hub, repo, tiny_folder, capsys):
    words = ["push", "model", repo, "--model", str(tiny_folder)]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == f"{hub.url}/{repo}/tree/{hub.api.model_info(repo).sha}"
    assert "all 21 read back and equal" in captured.err
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "nothing has changed" in captured.err
    assert "hf_tester" not in captured.out + captured.err


@pytest.mark.parametrize(
    ("spoil", "status", "message"),
    [
        (lambda hub, patch: patch.setenv("HF_TOKEN", "hf_wrong"), 2, "does not know this token"),
        (lambda hub, patch: hub.proxy.rules.append(lambda p: p.cut()), 1, "cannot be reached"),
        (
            lambda hub, patch: hub.faults(fail_next=[["/repos/create", 503]] * 9),
            1,
            "answered 503 to every try",
        ),
    ],
    ids=["token", "network", "server"],
)
def test_the_command_says_what_to_do_and_fails(
    hub, repo, monkeypatch, capsys, spoil, status, message
):
    spoil(hub, monkeypatch)
    assert main(["push", "metric", repo.replace("-", "_")]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err and "Traceback" not in captured.err
    assert not (hub.root / "spaces" / repo.replace("-", "_")).exists()


def test_a_changed_data_set_leaves_no_old_shard(hub, repo, ferplus_build):
    words = ["push", "dataset", repo, "--data", str(ferplus_build[0])]
    assert main(words) == 0
    hub.api.upload_file(
        path_or_fileobj=b"old",
        path_in_repo="category/x-9.parquet",
        repo_id=repo,
        repo_type="dataset",
    )
    assert main(words) == 0
    files = hub.files(repo, "datasets")
    assert "category/x-9.parquet" not in files
    assert not any(b"\x89PNG" in content for content in files.values())
