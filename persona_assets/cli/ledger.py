"""Commands about the answer ledger."""

import json
from pathlib import Path

import click

from persona_assets.cli.options import home_option, json_option, languages_option
from persona_assets.cli.terminal import print_json, print_table
from persona_assets.home import home_of
from persona_assets.languages import parse_codes
from persona_assets.llm import failures
from persona_assets.llm.exchange import answers_file, export_answers, import_answers
from persona_assets.llm.usage import USAGE_GROUPS, ledger_usage
from persona_assets.settings import load_profile


@click.group()
def ledger() -> None:
    """Share the answers a model gave: export them, import a colleague's."""


@ledger.command("export")
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--language", metavar="CODE", help="Only this language. [default: all]")
@home_option
def export_(target: Path, language: str | None, home: str | None) -> None:
    """Write all answers to TARGET, as JSON Lines with checksums."""
    count = export_answers(home_of(home).ledger, target, lang=language)
    click.echo(f"{count} answers written to {target}")


@ledger.command("import")
@click.argument("source", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--questions",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="SOURCE holds replies (key, text) to this pending file rather than an export.",
)
@home_option
def import_(source: Path, questions: Path | None, home: str | None) -> None:
    """Add the answers of SOURCE; a file that does not verify is refused whole."""
    folder = home_of(home).ledger
    if questions:
        replies = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines() if line.strip()]
        verified = source.with_suffix(".answers.jsonl")
        answers_file(replies, questions, verified)
        source = verified
    done = import_answers(folder, source)
    click.echo(f"{done.read} answers read, {done.added} of them new")


@click.command("retry-failed")
@languages_option
@home_option
def retry_failed(languages: str | None, home: str | None) -> None:
    """Forget the failed requests of the ledger, so that the next run asks exactly those again.

    Failures that may pass (timeouts, overload) are asked again in any case; this is for those that
    the endpoint refused for good, after what caused it has been mended.
    """
    forgotten = failures.retry_failed(home_of(home).ledger, parse_codes(languages) if languages else None)
    for kind, count in forgotten.most_common():
        click.echo(f"{kind}: {count}")
    click.echo(f"{forgotten.total()} failures forgotten" + ("; run again to ask them" if forgotten else ""))


@click.command()
@click.option(
    "--by",
    default="lang,stage,model",
    show_default=True,
    metavar="COLUMNS",
    help=f"Comma-separated, of {', '.join(USAGE_GROUPS)}.",
)
@click.option("--profile", metavar="NAME_OR_FILE", help="Take the prices of this profile, and show the cost.")
@languages_option
@home_option
@json_option
def usage(by: str, profile: str | None, languages: str | None, home: str | None, as_json: bool) -> None:
    """Show tokens, latency and cost of every answer in the ledger."""
    groups = [part.strip() for part in by.split(",") if part.strip()]
    if not groups or not set(groups) <= set(USAGE_GROUPS):
        raise click.UsageError(f"--by {by!r}: name some of {', '.join(USAGE_GROUPS)}")
    prices = load_profile(profile).llm.price_per_million if profile else None
    if profile and prices is None:
        raise click.UsageError(f"profile {profile!r} sets no prices: add llm.price_per_million")
    codes = parse_codes(languages) if languages else None
    rows = ledger_usage(home_of(home).ledger, groups, languages=codes, prices=prices)
    if as_json:
        print_json(rows.to_dicts())
        return
    print_table(rows.to_dicts(), {name: name.replace("_", " ") for name in rows.columns}, title="Usage")
