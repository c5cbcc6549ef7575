"""How a process ends that has loaded both DuckDB and torch."""

import atexit
import os
import sys
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """End the process with an exit code, after everything that is registered for its end.

    With torch loaded, the interpreter's teardown makes DuckDB's binding report all of its own types as
    leaked: forty lines on standard error, about nothing. There the teardown is skipped; what atexit
    holds (locks, model processes, log handlers) still runs.
    """
    if "torch" not in sys.modules:
        sys.exit(code)
    atexit._run_exitfuncs()  # noqa: SLF001
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
