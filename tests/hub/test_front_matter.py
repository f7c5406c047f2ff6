"""Cards that the Hub would refuse are refused here, with every fault named."""

import pytest

from emo_llama.errors import UsageError
from emo_llama.hub.front_matter import check_card

RESULT = """model-index:
- name: a model
  results:
  - task: {type: image-classification}
    dataset: {type: ferplus, name: FERPlus}
    metrics:
    - {type: accuracy, value: %s}
"""


def card(head):
    return f"---\n{head}\n---\n# Title\n"


@pytest.mark.parametrize(
    ("repo_type", "head"),
    [
        ("model", "tags: [emo-llama]\nlicense: other\nlicense_name: mixed-see-card"),
        ("model", "base_model: team/base\ndatasets: [ferplus, team/data]\nmetrics: [accuracy]"),
        ("model", RESULT % 0.5),
        (
            "dataset",
            "configs:\n- config_name: a\n  data_files: [{split: train, path: a/x-*.parquet}]",
        ),
        ("space", "sdk: gradio\ncolorFrom: blue\ncolorTo: gray\nshort_description: short"),
    ],
)
def test_good_cards(repo_type, head):
    assert check_card(card(head), repo_type, ["app.py", "a/x-0.parquet"]) is None


@pytest.mark.parametrize(
    ("repo_type", "head", "fault"),
    [
        ("model", "", "expected a block of keys"),
        ("model", "- a\n- b", "expected a block of keys"),
        ("model", "tags: [", "it is no YAML"),
        ("model", "tags: emo-llama", "tags must be a list"),
        ("model", "metrics: accuracy", "metrics must be a list"),
        ("model", "model-index: {}", "model-index must be a list"),
        ("model", "pipeline_tag: [a]", "pipeline_tag must be text"),
        ("model", "base_model: /home/me/model", "'/home/me/model' is no name of a repository"),
        ("model", "datasets: [a b]", "'a b' is no name of a repository"),
        ("model", "base_model: 3", "3 is no name"),
        ("model", "license: other\nlicense_name: See Card", "license_name may have small letters"),
        ("model", f"short_description: {'x' * 61}", "more than 60"),
        ("model", "model-index: [{name: a}]", "model-index lacks or misplaces 'results'"),
        ("model", RESULT % "high", "accuracy is 'high', no number"),
        ("model", RESULT % ".nan", "accuracy is nan, no number"),
        ("dataset", "configs: [{config_name: a}]", "misplace 'data_files'"),
        (
            "dataset",
            "configs:\n- config_name: a\n  data_files: [{split: train, path: b/*.parquet}]",
            r"a names b/\*.parquet, and no file",
        ),
        ("space", "title: a", "sdk is None"),
        ("space", "sdk: gradio\ncolorFrom: azure", "colorFrom must be one of"),
        ("space", "sdk: gradio\napp_file: main.py", "'main.py' is not among the files"),
    ],
)
def test_bad_cards(repo_type, head, fault):
    with pytest.raises(UsageError, match=fault):
        check_card(card(head), repo_type, ["app.py", "a/x-0.parquet"])


def test_a_card_without_front_matter_and_one_with_two_faults():
    with pytest.raises(UsageError, match="expected a block"):
        check_card("# Title\n", "model", [])
    with pytest.raises(UsageError, match="tags must be a list; metrics must be a list"):
        check_card(card("tags: a\nmetrics: b"), "model", [])
