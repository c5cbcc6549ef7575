"""The command line: `persona-assets --help`."""

import sys
from pathlib import Path

import click
import dotenv

from persona_assets.cli.estimate import estimate
from persona_assets.cli.evaluate import evaluation
from persona_assets.cli.inspect import doctor, funnel, why
from persona_assets.cli.ledger import ledger, retry_failed
from persona_assets.cli.run import demo, export, run
from persona_assets.cli.thresholds import thresholds
from persona_assets.cli.usage import usage
from persona_assets.errors import BudgetReachedError, PersonaAssetsError, explain
from persona_assets.leaving import leave

BUDGET_REACHED = 3
EPILOG = """
Exit codes: 0 done; 1 failed, with one line that says what to do; 2 wrong usage;
3 the budget is reached (answers are kept; the same command goes on with a fresh budget);
130 interrupted (run the same command again to go on).
"""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, epilog=EPILOG)
@click.version_option(package_name="persona-assets")
def cli() -> None:
    """Turn web documents in any language into personas and persona-driven conversations.

    Start with `persona-assets demo`, or open the web UI with `dagster dev`.
    """


for command in (demo, doctor, estimate, run, funnel, why, thresholds, usage, export, ledger, retry_failed, evaluation):
    cli.add_command(command)


def main() -> None:
    """Run the command line; failures a user can act on become one line and exit code 1."""
    # Dagster reads the same file; what the shell has set wins in both.
    dotenv.load_dotenv(Path.cwd() / ".env")
    try:
        # Outside standalone mode, click returns the exit code of a command that left early.
        leave(cli(standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted: answers received so far are kept; run the same command to go on", err=True)
        leave(130)
    except BrokenPipeError:
        # The reader of our output (a pager, head) has seen enough.
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        cause = explain(error)
        if cause is None:
            raise
        fail(cause)


def fail(error: PersonaAssetsError) -> None:
    """Print one line for an error and leave with exit code 1, or 3 where the budget is reached."""
    click.echo(f"error: {error}", err=True)
    leave(BUDGET_REACHED if isinstance(error, BudgetReachedError) else 1)
