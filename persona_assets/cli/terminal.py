"""What the command line prints: tables, lives, a live progress line, and errors."""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from persona_assets.llm.progress import LOG_EVERY_S, Tally, reporter

REDRAW_S = 0.2
INDENT = "    "


def print_json(value: object) -> None:
    """Print a value as JSON, readable by people and programs."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def print_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], title: str | None = None) -> None:
    """Print rows under the given headings (column name -> heading); numbers to the right."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for name, heading in columns.items():
        numeric = all(isinstance(row[name], int | float) for row in rows)
        table.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*("" if row[name] is None else str(row[name]) for name in columns))
    # A pipe has no width of its own; a narrow default would break the numbers apart.
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def print_life(chapters: Sequence[Mapping[str, Any]]) -> None:
    """Print the chapters of `report.why.life_of`."""
    for chapter in chapters:
        click.secho(str(chapter["chapter"]).upper(), bold=True)
        for key, value in chapter.items():
            if key == "chapter" or value is None:
                continue
            if key == "rows":
                for row in value:
                    facts = ", ".join(f"{name}: {_short(part)}" for name, part in row.items() if part is not None)
                    click.echo(f"{INDENT}- {facts}")
            elif key == "messages":
                for message in value:
                    click.echo(INDENT + _hung(f"{message['role']}: {message['content']}"))
            else:
                click.echo(INDENT + _hung(f"{key}: {value}"))
        click.echo()


def _hung(text: str) -> str:
    """Indent all lines but the first below it."""
    return text.replace("\n", "\n" + INDENT * 2)


def _short(value: object, chars: int = 160) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= chars else text[: chars - 1] + "…"


class LiveLine:
    """Redraws one line on the terminal while a stage runs, and leaves its last state behind."""

    def __init__(self) -> None:
        self._drawn = 0.0

    def update(self, tally: Tally) -> None:
        """Redraw, a few times a second at most."""
        now = time.monotonic()
        if now - self._drawn >= REDRAW_S:
            self._drawn = now
            self._draw(tally.line())

    def finish(self, tally: Tally) -> None:
        """Leave the final line behind."""
        self._draw(tally.line() + "\n")

    def _draw(self, text: str) -> None:
        sys.stderr.write("\r\x1b[2K" + text)
        sys.stderr.flush()


class PlainLines:
    """Writes a line now and then while a stage runs, and one at its end."""

    def __init__(self) -> None:
        self._written = time.monotonic()

    def update(self, tally: Tally) -> None:
        """Write a line if the last one is ten seconds old."""
        now = time.monotonic()
        if now - self._written >= LOG_EVERY_S:
            self._written = now
            say(INDENT + tally.line())

    def finish(self, tally: Tally) -> None:
        """Write the final line."""
        say(INDENT + tally.line())


def start_reporting() -> None:
    """Report progress to standard error: a live line on a terminal, plain lines elsewhere."""
    reporter.set(LiveLine() if sys.stderr.isatty() else PlainLines())


def own_command() -> str:
    """How to call this program again from the current folder, whether or not its environment is active."""
    program = Path(sys.prefix) / "bin" / "persona-assets"
    if os.environ.get("VIRTUAL_ENV") == sys.prefix or not program.is_relative_to(Path.cwd()):
        return "persona-assets"
    return str(program.relative_to(Path.cwd()))


def say(text: str) -> None:
    """Tell the user something that is not the result: on standard error."""
    click.echo(text, err=True)
