"""A push to a Hub that fails, at every step: no revision is ever broken, no commit comes twice."""

import json

import pytest

from emo_llama.errors import HubError
from emo_llama.hub.push import Request, prepared
from emo_llama.hub.push import push as push_files

WEIGHTS = bytes(range(256)) * 40
FILES = {
    "README.md": b"---\ntags:\n- emo-llama\n---\n# A model\n",
    "config.json": json.dumps({"model_type": "emo_llama"}).encode(),
    "model.safetensors": WEIGHTS,
    "qformer_tokenizer/config.json": b"{}\n",
}


@pytest.fixture
def push(repo):
    """Pushes some files, those of `FILES` by default, as a model."""

    def call(files=FILES, **options):
        request = Request("model", repo, **options)
        with prepared(request, lambda folder, repo: written(folder, files)) as found:
            return push_files(request, found)

    return call


def written(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_one_commit_holds_it_all_and_a_second_run_sends_nothing(hub, push, repo):
    done = push()
    assert hub.files(repo) == FILES
    assert hub.commits(repo) == 1
    assert done.url == f"{hub.url}/{repo}/tree/{hub.api.model_info(repo).sha}"
    assert (sorted(done.sent), done.unchanged) == (sorted(FILES), 0)
    hub.proxy.log.clear()
    again = push()
    assert (again.sent, again.dropped, again.unchanged) == ([], [], 4)
    assert again.commit == done.commit
    assert {method for method, _ in hub.proxy.log} == {"GET", "HEAD"}


def test_only_what_differs_is_sent_and_what_is_gone_goes(hub, push, repo):
    sharded = {"model-00001-of-00002.safetensors": WEIGHTS, "model.safetensors.index.json": b"{}"}
    whole = FILES.items() - {"model.safetensors": WEIGHTS}.items()
    push(dict(whole) | sharded)
    hub.api.upload_file(path_or_fileobj=b"mine", path_in_repo="NOTES.md", repo_id=repo)
    hub.proxy.log.clear()
    done = push(FILES | {"README.md": FILES["README.md"] + b"more"})
    assert done.sent == ["README.md", "model.safetensors"]
    assert sorted(done.dropped) == sorted(sharded)
    assert hub.files(repo) == FILES | {
        "README.md": FILES["README.md"] + b"more",
        "NOTES.md": b"mine",
    }
    assert hub.proxy.count("PUT", "/lfs/") == 0, "the same weights are there under another name"


STEPS = {
    "repos/create": 500,
    "/preupload/": 503,
    "/info/lfs/objects/batch": 500,
    "/lfs/models/": 502,
    "/commit/": 503,
}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_once_is_tried_again(hub, push, repo, step):
    hub.faults(fail_next=[[step, STEPS[step]]])
    push()
    assert hub.files(repo) == FILES
    assert hub.commits(repo) == 1


CALLS = {
    "whoami": ("GET", "/api/whoami-v2"),
    "info": ("GET", "/api/models/tester/"),
    "create": ("POST", "/repos/create"),
    "tree": ("GET", "/tree/"),
    "preupload": ("POST", "/preupload/"),
    "batch": ("POST", "/objects/batch"),
    "put": ("PUT", "/lfs/"),
    "verify": ("POST", "/lfs/models/"),
    "validate": ("POST", "/validate-yaml"),
    "commit": ("POST", "/commit/"),
    "head": ("HEAD", "/resolve/"),
    "download": ("GET", "/resolve/"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("arrives", [False, True], ids=["lost", "answerless"])
def test_a_cut_connection_is_tried_again(hub, push, repo, call, arrives):
    """Lost on the way there, or carried out and the answer lost."""

    def cut(passing):
        if arrives:
            passing.forward(passing.path)
        return passing.cut()

    hub.proxy.once(*CALLS[call], cut)
    push()
    assert not hub.proxy.rules, "the cut came"
    assert hub.files(repo) == FILES
    assert hub.commits(repo) == 1


@pytest.mark.parametrize("call", ["validate", "commit"])
def test_a_page_of_a_gateway_is_no_answer(hub, push, repo, call):
    page = [("Content-Type", "text/html")], b"<html>502 Bad Gateway</html>"
    hub.proxy.once(*CALLS[call], lambda passing: passing.answer(502, *page) or True)
    push()
    assert hub.files(repo) == FILES
    assert hub.commits(repo) == 1


def test_files_arrive_at_the_second_run_where_the_first_was_cut_off(hub, push, repo):
    """The Hub is gone at the commit; the weights that arrived are not sent again."""
    hub.proxy.rules.append(lambda passing: "/commit/" in passing.path and passing.cut())
    with pytest.raises(HubError, match="cannot be reached any more .* Run the same command again"):
        push()
    assert hub.files(repo) == {}
    assert hub.proxy.count("PUT", "/lfs/") == 1
    hub.proxy.rules.clear()
    push()
    assert hub.files(repo) == FILES
    assert hub.commits(repo) == 1
    assert hub.proxy.count("PUT", "/lfs/") == 1


@pytest.mark.parametrize("call", [call for call in CALLS if call != "create"])
def test_a_hub_that_is_gone_for_good_leaves_all_or_nothing(hub, push, repo, call):
    """From some step on nothing answers; an old revision stays, or the new one is whole."""
    push(FILES | {"model.safetensors": b"\0old", "README.md": FILES["README.md"] + b"old"})
    old = hub.files(repo)
    method, part = CALLS[call]

    def gone(passing):
        hub.proxy.rules.append(lambda passing: passing.cut())
        return passing.cut()

    hub.proxy.once(method, part, gone)
    with pytest.raises(HubError, match="cannot be reached"):
        push()
    if call == "download":  # of config.json, which tells whose repository this is: nothing is sent
        assert hub.files(repo) == old
    assert hub.files(repo) in (old, FILES)
    assert hub.commits(repo) in (1, 2)


def test_the_hub_refuses_to_the_last(hub, push, repo):
    hub.faults(fail_next=[["/commit/", 503]] * 9)
    with pytest.raises(HubError, match="answered 503 to every try"):
        push()
    assert hub.files(repo) == {}


@pytest.mark.parametrize("lost", [False, True], ids=["refused", "unanswered"])
def test_a_change_by_somebody_else_is_not_overwritten(hub, push, repo, lost):
    push()

    def meanwhile(passing):
        hub.api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id=repo)
        return lost and passing.cut()

    hub.proxy.once("POST", "/commit/", meanwhile)
    with pytest.raises(HubError, match="somebody else has changed main"):
        push(FILES | {"config.json": b'{"model_type": "emo_llama", "a": 1}'})
    assert hub.files(repo) == FILES | {"config.json": b"{}"}


def test_what_comes_back_is_compared_byte_for_byte(hub, push, repo):
    def spoil(passing):
        status, headers, content = passing.forward(passing.path)
        return passing.answer(status, headers, content[:-1] + b"x") or True

    hub.proxy.once("GET", "/qformer_tokenizer/config.json", spoil)
    with pytest.raises(HubError, match=r"qformer_tokenizer/config.json of .* is not what was sent"):
        push()


def test_ignored_files_are_sent_all_the_same(hub, push, repo):
    hub.api.create_repo(repo)
    hub.api.upload_file(path_or_fileobj=b"*.json\n", path_in_repo=".gitignore", repo_id=repo)
    hub.api.upload_file(
        path_or_fileobj=FILES["config.json"], path_in_repo="config.json", repo_id=repo
    )
    push()
    assert hub.files(repo) == FILES | {".gitignore": b"*.json\n"}
