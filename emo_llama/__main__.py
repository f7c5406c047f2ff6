"""Lets `python -m emo_llama` stand for `emo-llama`."""

import sys

from emo_llama.cli import main

sys.exit(main())
