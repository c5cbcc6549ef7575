"""Commands that do the work: demo, run, export."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from persona_assets.cli.options import home_option, json_option, languages_option, profile_option
from persona_assets.cli.terminal import own_command, print_json, print_table, say, start_reporting
from persona_assets.errors import BudgetReachedError, PersonaAssetsError
from persona_assets.home import Home, home_of
from persona_assets.languages import language, languages, parse_codes
from persona_assets.preflight import require
from persona_assets.publish.card import write_card
from persona_assets.publish.dataset import export_language
from persona_assets.report.funnel import FUNNEL_COLUMNS, funnel_rows
from persona_assets.settings import Profile, load_profile
from persona_assets.warehouse import Warehouse

SAMPLE_PERSONAS = 3
QUICKSTART = "quickstart"


@click.command()
@home_option
@languages_option
@json_option
def demo(home: str | None, languages: str | None, as_json: bool) -> None:
    """Run the whole chain on the bundled samples: no key, no GPU, no download.

    The documents are samples written for this project; the model's answers were recorded and are
    replayed from the ledger that ships with them. Everything else is what a real run does.
    """
    place = home_of(home)
    profile = load_profile("demo")
    codes = languages_of(languages, profile)
    _refuse_foreign_partitions(place, codes)
    say("Demo: bundled sample documents, recorded model answers, lexical embeddings; the code is the real one.")
    _materialize("demo", {}, place, codes, select=None)
    _report(place, codes, as_json=as_json)
    if not as_json:
        _show_samples(place, codes)
        _next_steps(place)


@click.command()
@profile_option(default=QUICKSTART)
@languages_option
@click.option("--documents", metavar="PATH_OR_GLOB", help="Your seed documents: Parquet or JSONL, local or hf://.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Documents to take per language.")
@click.option("--model", metavar="NAME", help="The model to ask.")
@click.option(
    "--select",
    metavar="ASSETS",
    help="Comma-separated, in Dagster's syntax: raw_personas+ adds what follows.",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set any knob: --set llm.concurrency=64.")
@home_option
@json_option
def run(
    profile: str,
    languages: str | None,
    documents: str | None,
    limit: int | None,
    model: str | None,
    select: str | None,
    settings: tuple[str, ...],
    home: str | None,
    as_json: bool,
) -> None:
    """Materialize the asset graph, one run per language.

    The endpoint is OPENAI_BASE_URL (default: the OpenAI API) with the key in OPENAI_API_KEY, unless
    the profile names its own. Answers are kept in the ledger: the same command again asks nothing
    twice, and goes on where an interrupted one stopped.
    """
    overrides, effective = effective_profile(profile, settings, documents=documents, limit=limit, model=model)
    place = home_of(home)
    codes = languages_of(languages, effective)
    _materialize(profile, overrides, place, codes, select=select)
    _report(place, codes, as_json=as_json)


@click.command()
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path),
    help="Folder to write to. [default: dataset/ of the home]",
)
@languages_option
@home_option
def export(target: Path | None, languages: str | None, home: str | None) -> None:
    """Write the dataset again from the database: Parquet per language and the dataset card."""
    place = home_of(home)
    store = Warehouse(place.warehouse)
    folder = target or place.dataset
    present = [row["lang"] for row in funnel_rows(store) if row["conversations"]]
    for code in parse_codes(languages) if languages else present:
        exported = export_language(store, code, folder)
        click.echo(f"{code}: {exported.conversation_rows} conversations, {exported.persona_rows} personas")
    made_by = store.query("select settings from materializations order by materialized_at desc limit 1")
    card = write_card(store, folder, Profile.model_validate_json(made_by["settings"][0]))
    click.echo(f"card: {card}")


def effective_profile(
    profile: str, settings: Sequence[str], *, documents: str | None, limit: int | None, model: str | None
) -> tuple[dict[str, Any], Profile]:
    """The overrides that the options of a command name, and the profile with them.

    Raises:
        ProfileError: no such profile, an unknown key, a value of the wrong type.
    """
    overrides: dict[str, Any] = dict(_knob(setting) for setting in settings)
    given = {"seeds.documents": documents, "seeds.limit": limit, "llm.model": model}
    overrides |= {key: value for key, value in given.items() if value is not None}
    return overrides, load_profile(profile, overrides)


def languages_of(text: str | None, profile: Profile) -> Sequence[str]:
    """The languages that a command names, else the profile's, else all."""
    return parse_codes(text) if text else list(profile.languages) or list(languages())


def _knob(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator:
        raise click.UsageError(f"--set {text!r}: write KEY=VALUE, such as llm.concurrency=64")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value


def _materialize(
    profile: str, overrides: dict[str, Any], place: Home, codes: Sequence[str], *, select: str | None
) -> None:
    require(load_profile(profile, overrides), place, codes)
    # Importing Dagster takes seconds; a wrong profile or a missing model is told before.
    from persona_assets.resources.run_settings import RunSettings  # noqa: PLC0415
    from persona_assets.runner import run_languages  # noqa: PLC0415

    start_reporting()
    ended = run_languages(
        codes,
        RunSettings(profile=profile, home=str(place.path), overrides=overrides),
        select=select,
        on_start=lambda code: say(f"{code} ({language(code).name})"),
    )
    failed = [result for result in ended if result.error]
    if not failed:
        return
    for result in failed[:-1]:
        say(f"error: {result.lang}: {result.error}")
    message = f"{failed[-1].lang}: {failed[-1].error}"
    if all(isinstance(result.error, BudgetReachedError) for result in failed):
        raise BudgetReachedError(message)
    raise PersonaAssetsError(message)


def _report(place: Home, codes: Sequence[str], *, as_json: bool) -> None:
    rows = sorted(funnel_rows(Warehouse(place.warehouse), codes), key=lambda row: codes.index(row["lang"]))
    if as_json:
        print_json(rows)
        return
    click.echo()
    print_table(rows, {"lang": "language", **FUNNEL_COLUMNS}, title="Funnel")


def _refuse_foreign_partitions(place: Home, codes: Sequence[str]) -> None:
    """The demo replaces partitions; a team's real ones are not its to replace."""
    if not place.warehouse.exists():
        return
    made = Warehouse(place.warehouse).query(
        "select distinct lang, profile from materializations where profile != 'demo'"
    )
    foreign = [row for row in made.to_dicts() if row["lang"] in codes]
    if foreign:
        raise PersonaAssetsError(
            f"{place.path} holds {foreign[0]['lang']} partitions made with the profile {foreign[0]['profile']!r},"
            " which the demo would replace: give it a home of its own, such as --home demo-data"
        )


def _show_samples(place: Home, codes: Sequence[str]) -> None:
    store = Warehouse(place.warehouse)
    for code in codes:
        personas = store.query(
            "select persona from deduped_personas where lang = ? order by hash(persona_id) limit ?",
            [code, SAMPLE_PERSONAS],
        )
        click.echo(f"\n{language(code).endonym}:")
        for persona in personas["persona"]:
            click.echo(f"  - {persona}")


def _next_steps(place: Home) -> None:
    persona = Warehouse(place.warehouse).query("select loser_id from duplicate_personas order by all limit 1")
    example = persona["loser_id"][0] if persona.height else "<id>"
    program = own_command()
    click.echo(
        f"""
Database: {place.warehouse}
Dataset:  {place.dataset} (open it with datasets.load_dataset)

Try next:
  {program} why {example}
      the life of a persona, here of one dropped as a near-duplicate
  {program} funnel
      what every stage kept and let go
  {program.replace("persona-assets", "dagster")} dev
      the same assets in the web UI: lineage, materialize, history
  {program} run --help
      your own documents and your own model"""
    )
