"""Options that several commands share."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from persona_assets.home import HOME_VARIABLE, PROFILE_VARIABLE

Command = TypeVar("Command", bound=Callable[..., Any])

home_option = click.option(
    "--home",
    metavar="DIR",
    envvar=HOME_VARIABLE,
    help=f"Folder of database, ledger and exports. [env: {HOME_VARIABLE}; default: ./data]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
languages_option = click.option(
    "--languages", metavar="CODES", help="Comma-separated, such as es,eu. [default: the profile's, else all]"
)


def profile_option(default: str) -> Callable[[Command], Command]:
    """The option that names a profile, with a default that suits the command."""
    return click.option(
        "--profile",
        metavar="NAME_OR_FILE",
        envvar=PROFILE_VARIABLE,
        default=default,
        show_default=True,
        help=f"demo, quickstart, mpersonas, personahub, or a TOML file. [env: {PROFILE_VARIABLE}]",
    )
