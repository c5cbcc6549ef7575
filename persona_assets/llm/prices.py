"""What tokens cost, by the prices of a profile. There is no table of prices: they change, and contracts differ."""

import re

from persona_assets.settings import LlmSettings, PriceSettings


def discounted(settings: LlmSettings) -> PriceSettings | None:
    """The prices per million tokens, with what batches save where answers come from batches; None without prices."""
    prices = settings.price_per_million
    if prices is None or settings.engine != "openai_batch":
        return prices
    factor = settings.batch.price_factor
    return prices.model_copy(
        update={name: factor * price for name, price in prices.model_dump().items() if price is not None}
    )


def reported_names(model: str) -> "re.Pattern[str]":
    """The names under which endpoints report a model: its own, also with a date or a version behind it."""
    return re.compile(re.escape(model) + r"([-@:]v?\d[\w.-]*)?")


def cost_of(prices: PriceSettings, *, prompt: float, cached: float, completion: float) -> float:
    """What so many tokens cost, in the currency of the prices.

    Args:
        prices: per million tokens.
        prompt: tokens of prompts, those that the endpoint had cached among them.
        cached: those that it had cached.
        completion: tokens of answers.
    """
    cached_price = prices.input if prices.cached_input is None else prices.cached_input
    return ((prompt - cached) * prices.input + cached * cached_price + completion * prices.output) / 1_000_000
