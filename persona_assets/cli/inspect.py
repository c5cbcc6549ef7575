"""Commands that look and tell: funnel, why, doctor."""

import click

from persona_assets.cli.options import home_option, json_option, languages_option, profile_option
from persona_assets.cli.terminal import print_json, print_life, print_table
from persona_assets.home import home_of
from persona_assets.languages import languages as all_languages
from persona_assets.languages import parse_codes
from persona_assets.preflight import ask_endpoint, examine
from persona_assets.report.funnel import FUNNEL_COLUMNS, funnel_rows
from persona_assets.report.why import life_of
from persona_assets.settings import load_profile
from persona_assets.warehouse import Warehouse

LOST_COLUMNS = {
    "documents_rejected": "documents",
    "replies_rejected": "replies",
    "rejected": "personas",
    "duplicates": "duplicates",
    "conversations_rejected": "conversations",
}


@click.command()
@home_option
@languages_option
@json_option
def funnel(home: str | None, languages: str | None, as_json: bool) -> None:
    """Show how many rows every stage kept and let go, per language."""
    codes = parse_codes(languages) if languages else None
    rows = funnel_rows(Warehouse(home_of(home).warehouse), codes)
    if as_json:
        print_json(rows)
        return
    print_table(rows, {"lang": "language", **FUNNEL_COLUMNS}, title="Kept")
    print_table(rows, {"lang": "language", **LOST_COLUMNS}, title="Let go")


@click.command()
@click.argument("identifier", metavar="ID")
@home_option
@json_option
def why(identifier: str, home: str | None, as_json: bool) -> None:
    """Tell the life of any row: document, persona, reply or conversation, kept or not.

    ID is any id of any table or export, or a source document's own id.
    """
    chapters = life_of(Warehouse(home_of(home).warehouse), identifier)
    if as_json:
        print_json(chapters)
    else:
        print_life(chapters)


@click.command()
@profile_option(default="quickstart")
@languages_option
@home_option
@json_option
@click.pass_context
def doctor(context: click.Context, profile: str, languages: str | None, home: str | None, as_json: bool) -> None:
    """Check what a run needs on this machine, and say what to do about what is missing.

    The endpoint is asked for its list of models, which costs nothing.
    """
    effective = load_profile(profile)
    codes = parse_codes(languages) if languages else list(effective.languages or all_languages())
    findings = [*examine(effective, home_of(home), codes), ask_endpoint(effective)]
    if as_json:
        print_json([vars(finding) for finding in findings])
    else:
        for finding in findings:
            mark = click.style("ok  ", fg="green") if finding.ok else click.style("MISS", fg="red")
            click.echo(f"{mark} {finding.what}: {finding.detail}")
    context.exit(0 if all(finding.ok for finding in findings) else 1)
