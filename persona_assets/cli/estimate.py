"""The command that tells what a run will cost, before it does."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from persona_assets.cli.options import home_option, json_option, languages_option, profile_option
from persona_assets.cli.run import effective_profile, languages_of
from persona_assets.cli.terminal import print_json, print_table, say, start_reporting
from persona_assets.filters.language_id import load_identifier
from persona_assets.generation.packs import PACKS_FOLDER, load_pack
from persona_assets.generation.sampling import ask_sample, plan_sample, sampling_budget, sampling_settings
from persona_assets.home import Home, home_of
from persona_assets.languages import language
from persona_assets.llm.forecast import Forecast, LanguageForecast, RunForecast, forecast_run
from persona_assets.llm.model import LanguageModel
from persona_assets.llm.prices import discounted
from persona_assets.llm.spending import NOTHING, Purse, Spending
from persona_assets.ranges import Range
from persona_assets.report.outlook import outlook_of
from persona_assets.seeds.census import take_census
from persona_assets.settings import Profile

COLUMNS = {
    "lang": "language",
    "stage": "stage",
    "requests": "requests",
    "asked": "to ask",
    "prompt": "tokens in",
    "completion": "tokens out",
    "cost": "cost",
    "hours": "time",
}
YIELD_COLUMNS = {
    "lang": "language",
    "kept": "kept personas",
    "tokens_per_persona": "tokens each",
    "cost_per_persona": "cost each",
    "conversations": "conversations",
    "tokens_per_conversation": "tokens each",
    "cost_per_conversation": "cost each",
}
_HUNDRED, _THOUSAND, _MILLION = 100, 1_000, 1_000_000


@click.command()
@profile_option(default="quickstart")
@languages_option
@click.option("--documents", metavar="PATH_OR_GLOB", help="Your seed documents: Parquet or JSONL, local or hf://.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Documents to take per language.")
@click.option("--model", metavar="NAME", help="The model to ask.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set any knob: --set llm.concurrency=64.")
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    metavar="K",
    help="Ask about K documents per language first. This costs something; the answers are kept for the run.",
)
@home_option
@json_option
def estimate(
    profile: str,
    languages: str | None,
    documents: str | None,
    limit: int | None,
    model: str | None,
    settings: tuple[str, ...],
    sample: int | None,
    home: str | None,
    as_json: bool,
) -> None:
    """Tell what a run would ask, use, cost and take, without asking anything.

    Takes the options of `run`. Figures are given as expected (low to high). What the ledger and the
    database of the home know of this model is used; what nobody knows is assumed, and said. Prices are
    the profile's (llm.price_per_million). Tries that fail and are repeated are not in it.
    """
    _, effective = effective_profile(profile, settings, documents=documents, limit=limit, model=model)
    place, codes = home_of(home), languages_of(languages, effective)
    if sample:
        _sample(effective, place, codes, sample)
    outlooks = [outlook_of(effective, place, language(code)) for code in codes]
    prices = discounted(effective.llm)
    grounds = [ground for outlook in outlooks for ground in outlook.grounds]
    if prices is None:
        grounds.append("no cost: the profile has no prices (llm.price_per_million); tokens are counted")
    if effective.llm.engine == "replay":
        grounds.append("the replay engine asks nobody: nothing is to be paid for")
    forecast = forecast_run([outlook.given for outlook in outlooks], effective.llm, prices, grounds)
    if as_json:
        print_json(forecast.facts())
    else:
        _show(forecast)


def _sample(profile: Profile, place: Home, codes: Sequence[str], count: int) -> None:
    settings = sampling_settings(profile)
    identifier = load_identifier(profile.filters.language_model, profile.filters.language_labels)
    prices = discounted(profile.llm)
    plans = [
        plan_sample(
            take_census(profile.seeds, language(code)).documents,
            count,
            pack=load_pack(code, profile.packs_folder(PACKS_FOLDER)),
            language=language(code),
            profile=settings,
            prices_purse=Purse(prices=prices),
        )
        for code in codes
    ]
    most = sum((plan.most for plan in plans), NOTHING)
    money = f"for at most {most.cost:,.4f}" if prices else "at a cost that is not known without prices"
    say(f"Sample: at most {most.requests:,} requests of {most.tokens:,} tokens in all, {money}.")
    budget = sampling_budget(most, profile.budget, priced=prices is not None)
    spending = Spending()
    start_reporting()
    for plan in plans:
        model = LanguageModel(settings.llm, place.ledger, budget, spending)
        if stopped := ask_sample(plan, settings, model, identifier):
            say(f"the sample ended early: {stopped}")
            break
    spent = spending.spent()
    cost = f", {spent.cost:,.4f}" if prices else ""
    say(f"Sample: {spent.requests:,} requests asked, {spent.tokens:,} tokens{cost}")


def _show(forecast: RunForecast) -> None:
    rows = [row for each in forecast.languages for row in _stage_rows(each)]
    if len(forecast.languages) > 1:
        rows.append(_row("all", "total", forecast.total.total))
    unpriced = forecast.total.total.cost is None
    print_table(rows, _without_cost(COLUMNS) if unpriced else COLUMNS, title="Expected (low to high)")
    ends = [*forecast.languages, *([forecast.total] if len(forecast.languages) > 1 else [])]
    print_table(
        [_yield_row(each) for each in ends], _without_cost(YIELD_COLUMNS) if unpriced else YIELD_COLUMNS, title="Kept"
    )
    click.echo("This rests on:")
    for ground in forecast.grounds:
        click.echo(f"  - {ground}")


def _without_cost(columns: dict[str, str]) -> dict[str, str]:
    return {name: title for name, title in columns.items() if not name.startswith("cost")}


def _stage_rows(each: LanguageForecast) -> list[dict[str, Any]]:
    rows = [_row(each.lang, stage.replace("_", " "), found) for stage, found in each.stages.items()]
    return [*rows, _row(each.lang, "total", each.total)]


def _row(lang: str, stage: str, found: Forecast) -> dict[str, Any]:
    return {
        "lang": lang,
        "stage": stage,
        "requests": _shown(found.requests),
        "asked": _shown(found.asked),
        "prompt": _shown(found.prompt_tokens),
        "completion": _shown(found.completion_tokens),
        "cost": _shown(found.cost),
        "hours": _shown(found.hours, _time),
    }


def _yield_row(each: LanguageForecast) -> dict[str, Any]:
    persona, conversation = each.per_kept_persona, each.per_conversation
    return {
        "lang": each.lang,
        "kept": _shown(each.kept_personas),
        "tokens_per_persona": _shown(persona.tokens) if persona else "",
        "cost_per_persona": _shown(persona.cost) if persona else "",
        "conversations": _shown(each.conversations),
        "tokens_per_conversation": _shown(conversation.tokens) if conversation else "",
        "cost_per_conversation": _shown(conversation.cost) if conversation else "",
    }


def _shown(found: Range | None, form: Callable[[float], str] | None = None) -> str:
    if found is None:
        return ""
    form = form or _number
    if found.known:
        return form(found.expected)
    return f"{form(found.expected)} ({form(found.low)} to {form(found.high)})"


def _number(value: float) -> str:
    """Three digits that count, whole numbers up to 9,999 as they are."""
    if value == int(value) and value < 10 * _THOUSAND:
        return f"{value:,.0f}"
    for unit, name in ((_MILLION, "M"), (_THOUSAND, "k")):
        if value >= unit:
            return f"{_digits(value / unit)}{name}"
    return _digits(value)


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= _HUNDRED else f"{value:.2g}"


def _time(hours: float) -> str:
    if hours >= 1:
        return f"{_digits(hours)} h"
    minutes = hours * 60
    return f"{_digits(minutes)} min" if minutes >= 1 else f"{minutes * 60:.0f} s"
