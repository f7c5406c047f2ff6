"""`emo-llama export`: the complete Hub folder of a model."""

import argparse

from emo_llama.cli import _options, _output

EXAMPLES = """examples:
  emo-llama export my-model                       the embedded model
  emo-llama export my-model --model runs/tiny     a model that was trained here
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb.

    Args:
        parser (`argparse.ArgumentParser`):
            The parser of the verb.
    """
    parser.epilog = EXAMPLES
    parser.add_argument("out", metavar="DIR", help="the folder to write; new or empty")
    _options.add(parser, "--model")


def main(args: argparse.Namespace) -> int:
    """Write the folder and name it.

    Args:
        args (`argparse.Namespace`):
            The options of this verb.

    Returns:
        `int`: 0.
    """
    from emo_llama.hub.export import export

    folder = export(args.model, args.out)
    files = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e6
    _output.message(
        f"Wrote {len(files)} files, {size:.1f} MB. Load them with "
        f"AutoModelForImageTextToText.from_pretrained({str(folder)!r}, trust_remote_code=True)"
    )
    _output.data(str(folder))
    return 0
