"""The command that tells what was used: tokens, money, time."""

from typing import Any

import click

from persona_assets.cli.options import home_option, json_option, languages_option, profile_option
from persona_assets.cli.terminal import print_json, print_table, say
from persona_assets.home import home_of
from persona_assets.languages import parse_codes
from persona_assets.llm.ledger_usage import DIMENSIONS, Usage, ledger_usage
from persona_assets.llm.prices import discounted
from persona_assets.settings import load_profile

COLUMNS = {
    "answers": "answers",
    "failed": "failed",
    "attempts": "attempts",
    "prompt_tokens": "prompt",
    "cached_tokens": "cached",
    "completion_tokens": "completion",
    "latency_p50_s": "p50 s",
    "latency_p95_s": "p95 s",
    "latency_p99_s": "p99 s",
    "cost": "cost",
}


@click.command()
@click.option(
    "--by",
    default="stage,language,model",
    show_default=True,
    metavar="WHAT",
    help=f"What to group by: any of {','.join(DIMENSIONS)}.",
)
@profile_option(default="quickstart")
@click.option("--model", metavar="NAME", help="The model that the profile's prices are of. [default: the profile's]")
@languages_option
@home_option
@json_option
def usage(by: str, profile: str, model: str | None, languages: str | None, home: str | None, as_json: bool) -> None:
    """Tell what all answers ever paid for have used: requests, tokens, cost and latency.

    From the ledgers, so that answers count whose rows are long replaced. The cost is that of the
    profile's prices (llm.price_per_million), for answers of the profile's model.
    """
    llm = load_profile(profile).llm
    used = ledger_usage(
        home_of(home).ledger,
        _dimensions(by),
        languages=parse_codes(languages) if languages else None,
        model=model or llm.model,
        prices=discounted(llm),
    )
    if as_json:
        print_json(used.facts())
        return
    dimensions = {name: name for name in _dimensions(by)}
    columns = {name: title for name, title in COLUMNS.items() if name != "cost" or used.total.cost is not None}
    rows = [_row(group) for group in used.groups]
    if len(rows) > 1:
        last = {**_row(used.total), **dict.fromkeys(dimensions)}
        rows.append({**last, **dict.fromkeys(list(dimensions)[:1], "total")})
    print_table(rows, {**dimensions, **columns}, title="Used")
    for kind, count in used.total.failures.items():
        click.echo(f"failed, {kind}: {count}")
    for note in used.notes:
        say(f"note: {note}")


def _dimensions(text: str) -> list[str]:
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for name in names:
        if name not in DIMENSIONS:
            raise click.BadParameter(f"{name!r} is none of {', '.join(DIMENSIONS)}", param_hint="--by")
    return names


def _row(group: Usage) -> dict[str, Any]:
    cost = None if group.cost is None else f"{group.cost:,.4f}"
    return {**vars(group), "cost": cost}
