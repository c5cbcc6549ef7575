"""Ends the processes of a vLLM engine whose owner was killed.

vLLM runs its engine in child processes that outlive a `kill -9` of their parent and keep the memory of the
GPUs, so that the next run finds none (seen with vLLM 0.32). A process killed that way can clean up nothing;
this one, started beside the engine, waits on a pipe that the operating system closes for it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

GRACE_S = 15.0
RELEASED = "released"


class Guard:
    """The owner's end of the pipe."""

    def __init__(self) -> None:
        # By path, so that the guard imports nothing but the standard library; in a session of its own,
        # so that Ctrl-C or a signal to the owner's process group does not end it first.
        self._process = subprocess.Popen(  # noqa: S603 - this very file
            [sys.executable, "-I", "-S", str(Path(__file__))], stdin=subprocess.PIPE, text=True, start_new_session=True
        )
        self._known: set[int] = set()

    def watch(self, pids: Iterable[int]) -> None:
        """Add processes to those that end with the owner."""
        new = set(pids) - self._known
        if new:
            self._known |= new
            self._send({str(pid): started_at(pid) for pid in new})

    def release(self) -> None:
        """End the guard and nothing else."""
        self._send(RELEASED)
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()

    def _send(self, message: object) -> None:
        try:
            if self._process.stdin:
                self._process.stdin.write(json.dumps(message) + "\n")
                self._process.stdin.flush()
        except BrokenPipeError:
            # Somebody ended the guard; the engine works without one.
            return


def started_at(pid: int) -> str | None:
    """When a process started, in clock ticks since boot (proc(5), field 22); None for a process that is gone.

    A process identifier may be given to another process later; together with its start it may not.
    """
    try:
        facts = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if facts[0] == "Z" else facts[19]


def _end(processes: dict[str, str | None]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid, start in processes.items():
            if start is not None and started_at(int(pid)) == start:
                os.kill(int(pid), number)
        deadline = time.monotonic() + GRACE_S
        while time.monotonic() < deadline and any(
            start is not None and started_at(int(pid)) == start for pid, start in processes.items()
        ):
            time.sleep(0.1)


def main() -> None:
    """Read processes to watch, one JSON object a line, until the pipe closes."""
    watched: dict[str, str | None] = {}
    for line in sys.stdin:
        message = json.loads(line)
        if message == RELEASED:
            return
        watched.update(message)
    _end(watched)


if __name__ == "__main__":
    main()
