"""What setup.cfg cannot say: README for PyPI, where links into the repository lead nowhere."""

import re
from pathlib import Path

from setuptools import setup

README = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
LINK = re.compile(r"!?\[([^\]]*)\]\((?!https://)[^)]*\)")
PICTURE = re.compile(r'<img src="(?!https://)[^>]*>\n*')

setup(long_description=PICTURE.sub("", LINK.sub(r"\1", README)))
