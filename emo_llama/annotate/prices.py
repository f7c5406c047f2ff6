"""What a run will cost before it starts: requests, tokens, and a price from a table.

The numbers are estimates. Prompts count a token for four characters, answers a fixed number; what a
model thinks before it answers, and requests that are repeated, come on top.
"""

import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType

import yaml
from PIL import Image

from emo_llama.errors import DataFormatError, InputNotFoundError

__all__ = [
    "ANSWER_TOKENS",
    "CAPTION_TOKENS",
    "PRICES",
    "Estimate",
    "Price",
    "prompt_tokens",
    "read_prices",
]

CHARACTERS_PER_TOKEN = 4
ANSWER_TOKENS = 200
"""Of a conversation of two turns in JSON."""
CAPTION_TOKENS = 60


@dataclass(frozen=True, slots=True)
class Price:
    """What a model charges. A picture costs `image_base` tokens and `image_tile` for each tile.

    Args:
        input (`float`):
            A million tokens of prompt and pictures, US dollars.
        output (`float`):
            A million tokens of answers, US dollars.
        image_base (`float`, *optional*, defaults to 0.0):
            Tokens.
        image_tile (`float`, *optional*, defaults to 258.0):
            Tokens.
        tile_side (`float`, *optional*, defaults to 768.0):
            Side of a tile, pixels.
    """

    input: float
    output: float
    image_base: float = 0.0
    image_tile: float = 258.0
    tile_side: float = 768.0

    def image_tokens(self, width: int, height: int) -> float:
        """Tokens of a picture of so many pixels."""
        tiles = math.ceil(width / self.tile_side) * math.ceil(height / self.tile_side)
        return self.image_base + self.image_tile * tiles


_GPT_4O = {"image_base": 85.0, "image_tile": 170.0, "tile_side": 512.0}
PRICES: Mapping[str, Price] = MappingProxyType(
    {
        "gemini-2.5-pro": Price(1.25, 10.0),
        "gemini-2.5-flash": Price(0.30, 2.50),
        "gemini-2.5-flash-lite": Price(0.10, 0.40),
        "gpt-4o": Price(2.50, 10.0, **_GPT_4O),
        "gpt-4o-mini": Price(0.15, 0.60, 2833.0, 5667.0, 512),
        "gpt-4.1": Price(2.0, 8.0, **_GPT_4O),
        "gpt-4.1-mini": Price(0.40, 1.60, 0.0, 1.62, 32),
    }
)
"""List prices without discounts, as the providers' pages gave them in early 2026. They change."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is still to be asked.

    Args:
        model (`str`):
            Name of the model.
        items (`int`):
            Records.
        answered (`int`):
            Of these, how many have an answer already.
        requests (`int`):
            Requests, those for captions included.
        prompt_tokens (`int`):
            Of all prompts and pictures.
        answer_tokens (`int`):
            Of all answers.
        price (`float`, *optional*):
            US dollars; `None` where the model is not in the table.
    """

    model: str
    items: int = 0
    answered: int = 0
    requests: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    price: float | None = None

    def priced(self, price: Price | None) -> "Estimate":
        """The same with its price.

        Args:
            price (`Price` or `None`):
                What the model charges, where that is known.
        """
        if price is None:
            return self
        cost = self.prompt_tokens * price.input + self.answer_tokens * price.output
        return replace(self, price=cost / 1e6)

    def __str__(self) -> str:
        cost = (
            f"price: unknown, {self.model} is not in the table; give a file of prices with "
            f'{{"{self.model}": {{"input": USD, "output": USD}}}}, for a million tokens'
            if self.price is None
            else f"price: about {self.price:,.2f} USD by the list price of {self.model}"
        )
        return (
            f"items: {self.items:,}, of which {self.answered:,} are answered already\n"
            f"requests: {self.requests:,}\n"
            f"prompt tokens: {self.prompt_tokens:,}\n"
            f"answer tokens: {self.answer_tokens:,}\n"
            f"{cost}"
        )


def prompt_tokens(prompt: str, picture: bytes, price: Price) -> int:
    """About how many tokens a request has.

    Args:
        prompt (`str`):
            The words.
        picture (`bytes`):
            An encoded picture.
        price (`Price`):
            How the model counts pictures.

    Returns:
        `int`: Tokens.
    """
    size = Image.open(io.BytesIO(picture)).size
    return round(len(prompt) / CHARACTERS_PER_TOKEN + price.image_tokens(*size))


def read_prices(path: str | Path) -> dict[str, Price]:
    """The table with what a file adds to it or says otherwise.

    Args:
        path (`str` or `Path`):
            YAML or JSON: names of models, each with `input` and `output` and, where they differ
            from the defaults, the other fields of [`Price`].

    Returns:
        `dict[str, Price]`: By name of the model.

    Raises:
        InputNotFoundError: There is no such file.
        DataFormatError: The file has another form.
    """
    path = Path(path)
    if not path.is_file():
        raise InputNotFoundError(f"{path}: expected a file of prices; name an existing one")
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        table = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
        return {
            **PRICES,
            **{str(model): _price(PRICES.get(model), e) for model, e in table.items()},
        }
    except (ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        names = ", ".join(field.name for field in fields(Price))
        raise DataFormatError(
            f"{path}: expected names of models, each with numbers named {names} ({error})"
        ) from error


def _price(known: Price | None, given: Mapping[str, float]) -> Price:
    """A price of the file; what it does not say is taken from the table."""
    numbers = (asdict(known) if known else {}) | dict(given)
    price = Price(**{name: float(value) for name, value in numbers.items()})
    if price.input < 0 or price.output < 0 or price.tile_side < 1:
        raise ValueError("a number is too small")
    return price
