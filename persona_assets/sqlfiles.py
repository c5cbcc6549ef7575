"""The SQL of the project: one table, view or query per file in the folder `sql/`."""

from functools import cache
from pathlib import Path

_IN_WHEEL = Path(__file__).parent / "sql"
_IN_REPOSITORY = Path(__file__).parents[1] / "sql"


def sql_folder() -> Path:
    """The folder of the SQL files: beside the package in a checkout, inside it when installed."""
    return _IN_WHEEL if _IN_WHEEL.is_dir() else _IN_REPOSITORY


@cache
def statement(kind: str, name: str) -> str:
    """Read one statement, such as ("views", "funnel")."""
    return (sql_folder() / kind / f"{name}.sql").read_text(encoding="utf-8")


@cache
def names(kind: str) -> tuple[str, ...]:
    """Names of all files of a kind, sorted."""
    return tuple(sorted(path.stem for path in (sql_folder() / kind).glob("*.sql")))
