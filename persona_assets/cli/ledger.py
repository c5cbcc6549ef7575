"""Commands about the answer ledger."""

import json
from pathlib import Path

import click

from persona_assets.cli.options import home_option, languages_option
from persona_assets.home import home_of
from persona_assets.languages import parse_codes
from persona_assets.llm import failures
from persona_assets.llm.exchange import answers_file, export_answers, import_answers


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
