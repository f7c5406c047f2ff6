"""The `emo-llama` command: one module a verb, imported only when that verb runs.

A verb's module has `add_arguments(parser)` and `main(args) -> int`; it imports the heavy parts
of the package inside `main`, so that every `--help` answers at once. To add a verb, add a line
to `VERBS`. A verb that takes settings beyond its own options calls
`parser.set_defaults(overrides=[])`; what it does not know arrives there as a list of words.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from emo_llama import __version__
from emo_llama.cli import _output
from emo_llama.errors import EmoLlamaError

VERBS = {
    "predict": ("emo_llama.cli.predict", "name the expressions in images, videos and folders"),
    "chat": ("emo_llama.cli.chat", "talk about one image or clip"),
    "data": ("emo_llama.cli.data", "list the data sets, or build instruction data from one"),
    "train": ("emo_llama.cli.train", "train a model from a YAML recipe"),
    "ablate": ("emo_llama.cli.ablate", "train and score a recipe with its parts switched off"),
    "eval": ("emo_llama.cli.eval", "score a built split with the official metrics"),
    "leaderboard": ("emo_llama.cli.leaderboard", "show reports beside published numbers"),
    "init": ("emo_llama.cli.init", "compose a new model from a language model and a tower"),
    "convert": ("emo_llama.cli.convert", "turn reference checkpoints into this format"),
    "space": ("emo_llama.cli.space", "serve the Gradio Space on this machine"),
    "export": ("emo_llama.cli.export", "write the complete Hub folder of a model"),
    "push": ("emo_llama.cli.push", "put a model, a data set, a metric or a Space on the Hub"),
    "doctor": ("emo_llama.cli.doctor", "say what is installed, what works, and what to type"),
}

EXAMPLES = """examples:
  emo-llama predict photo.jpg
  emo-llama predict photos/ --format parquet --out results.parquet
  emo-llama VERB --help
"""


def build_parser(verb: str | None = None) -> argparse.ArgumentParser:
    """Build the command's parser; only `verb`'s own module is imported.

    Args:
        verb (`str`, *optional*):
            The verb whose options are wanted. The others get their one line of help.

    Returns:
        `argparse.ArgumentParser`: The parser.
    """
    parser = argparse.ArgumentParser(
        prog="emo-llama",
        description="Name and explain the facial expressions in images and videos.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"emo-llama {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, (module, text) in VERBS.items():
        child = verbs.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if name == verb:
            import_module(module).add_arguments(child)
    return parser


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line.

    Args:
        arguments (`Sequence[str]`):
            The words after `emo-llama`.

    Returns:
        `argparse.Namespace`: The options of the verb, and the verb itself as `verb`.
    """
    verb = next((word for word in arguments if word in VERBS), None)
    parser = build_parser(verb)
    args, unknown = parser.parse_known_args(arguments)
    if "" in arguments:  # which would become the current folder
        parser.error("expected names and values, got an empty one; is a variable of the shell set?")
    if unknown and not hasattr(args, "overrides"):
        parser.error(f"{verb} does not know {' '.join(unknown)}; see emo-llama {verb} --help")
    if unknown:
        args.overrides = unknown
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv (`Sequence[str]`, *optional*):
            The arguments after `emo-llama`; those of the process by default.

    Returns:
        `int`: The exit status: 0 done, 1 some inputs failed, 2 wrong usage.
    """
    words = sys.argv[1:] if argv is None else argv
    name = "emo-llama"
    try:
        if not words:
            _output.data(build_parser().format_help().rstrip())
            return 0
        args = parse(words)
        name = f"emo-llama {args.verb}"
        return import_module(VERBS[args.verb][0]).main(args)
    except EmoLlamaError as error:
        _output.message(f"{name}: {error}")
        return error.exit_status
    except KeyboardInterrupt:
        _output.message(f"{name}: interrupted")
        return 130
    except BrokenPipeError:
        # The reader of stdout went away, as in `| head`.
        _output.close()
        return 1
    except OSError as error:
        _output.close()
        _output.message(
            f"{name}: {error}. Look whether the path is right, may be read and written, and has "
            "room; then run it again."
        )
        return 1
