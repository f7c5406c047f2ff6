"""LICENSES.md speaks of everything that may be loaded, as the rest of the package does."""

import re
from pathlib import Path

from emo_llama.dataset_builders.build import BUILDERS
from emo_llama.loading import EMBEDDED_MODEL

TEXT = (Path(__file__).parents[1] / "LICENSES.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", TEXT, re.MULTILINE))


def plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def test_every_data_set_has_the_licence_that_its_builder_states() -> None:
    rows = {plain(name): text for name, text in ROWS.items()}
    for name, builder in BUILDERS.items():
        if name != "folder":  # the user's own
            assert builder.LICENCE.startswith(rows[plain(name)]), name


def test_everything_in_the_package_is_named() -> None:
    named = " ".join(ROWS)
    for path in EMBEDDED_MODEL.parent.iterdir():
        assert path.name == "README.md" or path.name in named, path
    assert "facial_expression" in named and "Space" in named


def test_what_the_converters_read_is_named() -> None:
    for name in ("LLaMA-VID", "FaceXFormer", "HSE-FaceRes", "EVA-CLIP-g"):
        assert any(name in row for row in ROWS), name
