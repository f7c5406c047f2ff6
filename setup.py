"""What setup.cfg cannot say: README for PyPI, where links into the repository lead nowhere."""

import re
from pathlib import Path

from setuptools import setup

README = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
INTO_THE_REPOSITORY = re.compile(r"!?\[([^\]]*)\]\((?!https://)[^)]*\)")

setup(long_description=INTO_THE_REPOSITORY.sub(r"\1", README))
