"""Options of `emo-llama data build` that choose what writes the conversations."""

import argparse
from typing import TYPE_CHECKING

from emo_llama.cli import _options, _output
from emo_llama.errors import UsageError

if TYPE_CHECKING:
    from emo_llama.annotate.answers import Answer
    from emo_llama.annotate.endpoint import EndpointAnnotator
    from emo_llama.annotate.landmarks import LandmarkSource
    from emo_llama.annotate.template import TemplateAnnotator


SHOWN = 10


def add_options(build: argparse.ArgumentParser) -> None:
    """Declare the options.

    Args:
        build (`argparse.ArgumentParser`):
            The parser of `data build`.
    """
    build.add_argument(
        "--annotator",
        choices=("template", "openai", "gemini"),
        default="template",
        help="what writes the conversations: a template, offline, from votes and landmarks (the "
        "default), or a model behind an endpoint, which is sent every training picture",
    )
    template = build.add_argument_group("the annotator template")
    _options.add(template, "--seed")
    template.add_argument(
        "--landmarks",
        metavar="mesh|none|FILE.npz",
        help="where the parts of a face are found: mediapipe's mesh (default where it is "
        "installed), nowhere, or a file with the arrays row_index (N,), found (N,) and landmarks "
        "(N, 68, 2)",
    )
    _add_endpoint(build)


def _add_endpoint(build: argparse.ArgumentParser) -> None:
    """Options of the annotators that ask a model."""
    endpoint = build.add_argument_group(
        "the annotators openai and gemini",
        "Keys are read from OPENAI_API_KEY and GEMINI_API_KEY only. openai is any endpoint of that "
        "protocol, a local server too.",
    )
    endpoint.add_argument("--model", metavar="NAME", help="the model that is asked")
    endpoint.add_argument("--base-url", default="", metavar="URL", help="where the endpoint is")
    endpoint.add_argument(
        "--answers",
        metavar="FILE.jsonl",
        help="keeps every answer, so that none is asked for twice (default: OUT.answers.jsonl)",
    )
    endpoint.add_argument("--workers", type=int, default=8, metavar="N", help="requests at a time")
    endpoint.add_argument(
        "--requests-per-minute", type=float, default=0.0, metavar="N", help="at most; 0: any"
    )
    endpoint.add_argument(
        "--tries", type=int, default=3, metavar="N", help="requests until an answer can be used"
    )
    endpoint.add_argument(
        "--give-up-after", type=int, default=50, metavar="N", help="failures in a row; 0: never"
    )
    endpoint.add_argument(
        "--retry-failed", action="store_true", help="ask again what was refused or malformed"
    )
    endpoint.add_argument("--dry-run", action="store_true", help="print items, tokens and price")
    endpoint.add_argument(
        "--prices", metavar="FILE", help="YAML or JSON: dollars per million tokens of each model"
    )


def make_annotator(args: argparse.Namespace) -> "TemplateAnnotator | EndpointAnnotator":
    """The annotator that the options name.

    Args:
        args (`argparse.Namespace`):
            The options.

    Returns:
        `TemplateAnnotator` or `EndpointAnnotator`: Ready to be handed to a build.

    Raises:
        UsageError: An endpoint without a model, or a dry run without an endpoint.
    """
    if args.annotator == "template":
        from emo_llama.annotate.template import TemplateAnnotator

        if args.dry_run:
            raise UsageError("--dry-run: the template asks nobody; name --annotator openai, gemini")
        return TemplateAnnotator(_landmarks(args.landmarks), args.seed)
    from emo_llama.annotate.asking import Pace
    from emo_llama.annotate.endpoint import EndpointAnnotator, EndpointOptions

    if not args.model:
        raise UsageError(f"--annotator {args.annotator}: name the model by --model NAME")
    options = EndpointOptions(
        args.annotator,
        args.model,
        args.base_url,
        workers=args.workers,
        tries=args.tries,
        give_up_after=args.give_up_after,
        retry_failed=args.retry_failed,
        pace=Pace(args.requests_per_minute),
    )
    return EndpointAnnotator(options, args.answers or f"{args.out}.answers.jsonl")


def tell(annotator: "EndpointAnnotator") -> "list[Answer]":
    """Print what became of the items, and the first that got no conversation.

    Args:
        annotator (`EndpointAnnotator`):
            After a build.

    Returns:
        `list[Answer]`: The items that got no conversation.
    """
    report = annotator.report
    _output.data(f"{annotator.options.model}: {report}")
    for answer in report.problems[:SHOWN]:
        _output.message(f"{answer.item}: {answer.status}, {answer.reason}")
    if len(report.problems) > SHOWN:
        more = len(report.problems) - SHOWN
        _output.message(f"and {more:,} more without a conversation; see {annotator.answers.path}")
    return report.problems


def _landmarks(choice: str | None) -> "LandmarkSource | None":
    """The source of landmarks that the option names."""
    from emo_llama.annotate.landmarks import from_file, from_mesh, usual_source

    if choice is None and (usual := usual_source()) is not None:
        return usual
    if choice is None:
        _output.message(
            "mediapipe is not installed: the conversations will be written from votes alone "
            '(for landmarks: pip install "emo-llama[faces]")'
        )
    if choice in (None, "none"):
        return None
    return from_mesh if choice == "mesh" else from_file(choice)
