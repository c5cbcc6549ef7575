"""Commands about the answer ledger."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from persona_assets.cli.options import home_option, json_option, languages_option
from persona_assets.cli.terminal import print_json
from persona_assets.home import home_of
from persona_assets.languages import parse_codes
from persona_assets.llm import failures
from persona_assets.llm.compaction import compact_ledger
from persona_assets.llm.exchange import answers_file, export_answers, import_answers
from persona_assets.llm.verification import Verification, verify_ledgers


@click.group()
def ledger() -> None:
    """Look after the answers a model gave: verify, compact, export them, import a colleague's."""


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


@ledger.command()
@home_option
@json_option
@click.pass_context
def verify(context: click.Context, home: str | None, as_json: bool) -> None:
    """Check every stored answer against its checksum, and the files they are in.

    Changes nothing; a run may go on meanwhile. Exit code 1 where something is wrong.
    """
    found = list(verify_ledgers(home_of(home).ledger))
    if as_json:
        print_json([asdict(verification) for verification in found])
    else:
        for verification in found:
            click.echo(f"{verification.file}: {_summary(verification)}")
            for fault in verification.faults:
                click.echo(click.style("FAULT", fg="red") + f" {fault.line()}")
        answers, faults = sum(each.answers for each in found), sum(len(each.faults) for each in found)
        click.echo(f"{len(found)} ledgers, {answers} answers, {faults} faults")
    context.exit(1 if any(verification.faults for verification in found) else 0)


def _summary(found: Verification) -> str:
    remarks = {
        f"{found.failures} failures": found.failures,
        f"{found.unsealed} without a checksum (`ledger compact` adds it)": found.unsealed,
        f"{found.superseded} superseded (`ledger compact` drops them)": found.superseded,
        f"{found.torn_bytes} bytes being written when the writer ended": found.torn_bytes,
    }
    return ", ".join([f"{found.answers} answers", *(remark for remark, count in remarks.items() if count)])


@ledger.command()
@languages_option
@home_option
def compact(languages: str | None, home: str | None) -> None:
    """Drop answers that a longer one has superseded, and give the space back to the disk.

    No request gets another answer than before. Refuses while a run uses a ledger.
    """
    folder = home_of(home).ledger
    codes = parse_codes(languages) if languages else None
    before = after = 0
    for path in sorted(folder.glob("*/*.sqlite")):
        if codes is not None and path.parent.name not in codes:
            continue
        done = compact_ledger(folder, path.stem, path.parent.name)
        before, after = before + done.bytes_before, after + done.bytes_after
        click.echo(
            f"{path}: {done.superseded} superseded answers and {done.outranked_failures} outdated failures dropped,"
            f" {done.bytes_before:,} -> {done.bytes_after:,} bytes"
        )
    click.echo(f"{before:,} bytes before, {after:,} after")


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
