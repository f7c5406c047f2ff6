import pytest

from emo_llama.annotate.prices import PRICES, Estimate, Price, read_prices
from emo_llama.errors import DataFormatError, InputNotFoundError


@pytest.mark.parametrize("name", ["prices.yaml", "prices.json"])
def test_a_file_adds_to_the_table(tmp_path, name):
    path = tmp_path / name
    path.write_text('{"local": {"input": 0, "output": 0}, "gpt-4o": {"output": 20}}')
    table = read_prices(path)
    assert table["local"] == Price(0.0, 0.0)
    assert (table["gpt-4o"].input, table["gpt-4o"].output) == (2.5, 20.0)
    assert table["gpt-4o"].image_base == PRICES["gpt-4o"].image_base
    assert table["gemini-2.5-pro"] == PRICES["gemini-2.5-pro"]


@pytest.mark.parametrize(
    "text",
    [
        "", "[1, 2]", "a: 1", "a: {input: 1}", "a: {input: x, output: 1}", "a: [",
        "a: {input: -1, output: 1}", "a: {input: 1, output: 1, tile_side: 0}", "a: {other: 1}",
    ],
)  # fmt: skip
def test_bad_files(tmp_path, text):
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    with pytest.raises(DataFormatError, match="prices.yaml: expected names of models"):
        read_prices(path)


def test_a_file_that_is_missing(tmp_path):
    with pytest.raises(InputNotFoundError, match="expected a file of prices"):
        read_prices(tmp_path / "none.yaml")


def test_pictures_are_counted_in_tiles():
    # OpenAI's guide: a square of 1024 x 1024 is 85 + 4 * 170 = 765 tokens (once scaled to 768).
    assert PRICES["gpt-4o"].image_tokens(768, 768) == 765
    # Google's guide: 258 tokens for a picture of up to one tile.
    assert PRICES["gemini-2.5-flash"].image_tokens(48, 48) == 258


def test_the_price_of_a_million_tokens():
    estimate = Estimate("gpt-4o", 1, 0, 1, 1_000_000, 1_000_000).priced(PRICES["gpt-4o"])
    assert estimate.price == 12.5
    assert "12.50 USD" in str(estimate)
    assert Estimate("other").priced(None).price is None
