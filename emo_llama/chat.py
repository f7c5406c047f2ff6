"""A language model's own way of writing a conversation, as a chat template of this family.

The own template is run on marked messages, and what stands between the marks is kept: how turns
begin and end, what precedes the first one, and which token ends an answer. What a template does
beyond that (tools, switches for reasoning) is left out: an answer follows what the template writes
where the model is not to reason.
"""

import json
from dataclasses import asdict, dataclass
from os.path import commonprefix
from string import Template
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from emo_llama.modeling.processing_emo_llama import IMAGE_TOKEN, RENDER_MACRO, VIDEO_TOKEN

__all__ = ["Turns", "read_turns"]

FIRST, ANSWER, SECOND, SYSTEM = "QUESTION1", "ANSWER1", "QUESTION2", "SYSTEM1"

_TEMPLATE = Template(
    RENDER_MACRO
    + r"""{%- set opening = $first -%}
{%- if messages[0].role == 'system' -%}
{%- set opening = $system_open ~ render(messages[0].content) ~ $system_close -%}
{%- set messages = messages[1:] -%}
{%- endif -%}
{%- for message in messages -%}
{%- if message.role == 'user' -%}
{{- (opening if loop.first else $next) ~ render(message.content) -}}
{%- elif message.role == 'assistant' -%}
{{- $assistant -}}
{%- generation -%}{{- $space ~ render(message.content) ~ $end -}}{%- endgeneration -%}
{%- else -%}
{{ raise_exception('Roles are system (first only), user and assistant, got ' ~ message.role) }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ $assistant }}{%- endif -%}
"""
)


@dataclass(frozen=True, slots=True)
class Turns:
    """What stands around the messages of a conversation.

    Args:
        first (`str`): Before the first question, where there is no system message.
        system_open (`str`): Before a system message.
        system_close (`str`): Between a system message and the first question.
        next (`str`): Between the end of an answer and the next question.
        assistant (`str`): Between a question and its answer.
        space (`str`): White space that an answer begins with.
        end (`str`): The end of an answer, its last token.
        end_token (`str`): That token alone.
        user (`str`): What every question follows.
    """

    first: str
    system_open: str
    system_close: str
    next: str
    assistant: str
    space: str
    end: str
    end_token: str
    user: str

    def template(self, image_token: str = IMAGE_TOKEN, video_token: str = VIDEO_TOKEN) -> str:
        """The chat template.

        Args:
            image_token (`str`, *optional*, defaults to `"<image>"`): Placeholder of an image.
            video_token (`str`, *optional*, defaults to `"<video>"`): Placeholder of a video.

        Returns:
            `str`: A Jinja template with generation marks around each answer and its end token.
        """
        values = asdict(self) | {"image": image_token, "video": video_token}
        literals = {key: json.dumps(text, ensure_ascii=False) for key, text in values.items()}
        return _TEMPLATE.substitute(literals)


def read_turns(tokenizer: PreTrainedTokenizerBase) -> Turns | None:
    """Reads off a tokenizer's chat template what stands around messages.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): With or without a chat template.

    Returns:
        [`Turns`]: `None` where there is no template, or it does not keep messages whole and in
        order.
    """
    question = {"role": "user", "content": FIRST}
    talk = [
        question,
        {"role": "assistant", "content": ANSWER},
        {"role": "user", "content": SECOND},
    ]
    try:
        first, after_first, after_answer, assistant = _between(
            _render(tokenizer, talk), FIRST, ANSWER, SECOND
        )
    except (TemplateError, ValueError, TypeError):
        return None
    end, end_token = _answer_end(tokenizer, after_answer)
    follow = after_answer.removeprefix(end)
    user = commonprefix([first[::-1], follow[::-1]])[::-1].lstrip()
    if not (end and user and assistant):
        return None
    begin = _begin_token(tokenizer, first)
    space = after_first.removeprefix(assistant) if after_first.startswith(assistant) else ""
    system = {"role": "system", "content": SYSTEM}
    try:
        opened, closed, _ = _between(_render(tokenizer, [system, question]), SYSTEM, FIRST)
    except (TemplateError, ValueError, TypeError):  # Gemma's first knew no system messages
        opened, closed = first, "\n\n"
    return Turns(
        begin + first,
        begin + opened,
        closed,
        follow,
        assistant,
        "" if space.strip() else space,
        end,
        end_token,
        user,
    )


def _render(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, Any]]) -> str:
    options: dict[str, Any] = {
        "add_generation_prompt": True,
        "tokenize": False,
        "enable_thinking": False,
    }
    return str(tokenizer.apply_chat_template(messages, **options))


def _between(text: str, *marks: str) -> list[str]:
    """The pieces of a text around marks, each of which stands in it once and in order."""
    pieces = []
    for mark in marks:
        before, found, text = text.partition(mark)
        if not found or mark in text:
            raise ValueError(f"{mark} does not stand in the conversation once")
        pieces.append(before)
    return [*pieces, text]


def _answer_end(tokenizer: PreTrainedTokenizerBase, after: str) -> tuple[str, str]:
    """What ends an answer, with white space before it, and the token alone."""
    text = after.lstrip()
    known = {*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens}
    found = max((token for token in known if text.startswith(token)), key=len, default="")
    if found:
        return after[: len(after) - len(text)] + found, found
    last = str(tokenizer.eos_token or "")
    return last, last


def _begin_token(tokenizer: PreTrainedTokenizerBase, first: str) -> str:
    """The token that the tokenizer begins a text with, where the template leaves that to it."""
    begin = tokenizer.bos_token
    if not begin or first.startswith(begin):
        return ""
    return begin if tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id] else ""
