"""The price list that ships, with the operator's own over it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from codex_lb.control import domain
from codex_lb.control.domain.pricing import Prices, read_prices
from codex_lb.control.errors import InvalidPricesError

PRICES_BYTES_MAX = 2**20  # thousands of models


def load_prices(own: Path | None = None) -> Prices:
    """What is in force. Raises InvalidPricesError when the operator's file cannot be used."""
    shipped = read_prices(files(domain).joinpath("prices.toml").read_text("utf-8"))
    if own is None:
        return shipped
    try:
        with own.expanduser().open("rb") as file:
            text = file.read(PRICES_BYTES_MAX + 1)
        if len(text) > PRICES_BYTES_MAX:
            raise InvalidPricesError("it is larger than 1 MiB")
        return read_prices(text.decode("utf-8")).over(shipped)
    except (OSError, UnicodeDecodeError, InvalidPricesError) as error:
        raise InvalidPricesError(f"The price list {own} cannot be used: {error}") from error
