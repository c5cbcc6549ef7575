"""File locks that say who holds them."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def held(path: Path, *, timeout_s: float, busy: Callable[[str], Exception]) -> Iterator[None]:
    """Hold the lock `path` + ".lock" for the block, waiting at most `timeout_s` seconds.

    The holder's process and host are written beside the lock for others to read; the lock itself
    belongs to the operating system, so it is free as soon as its holder ends, however that happens.

    Raises:
        Exception: what `busy` makes of the holder's description, where the wait was in vain.
    """
    lock = FileLock(path.with_name(path.name + ".lock"))
    holder = path.with_name(path.name + ".holder")
    try:
        lock.acquire(timeout=timeout_s)
    except Timeout:
        raise busy(_describe(holder)) from None
    try:
        started = datetime.now(UTC).isoformat(timespec="seconds")
        holder.write_text(
            json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": started}), encoding="utf-8"
        )
        yield
    finally:
        lock.release()


def _describe(holder: Path) -> str:
    try:
        facts = json.loads(holder.read_text(encoding="utf-8"))
        return f"process {facts['pid']} on {facts['host']} (since {facts['since']})"
    except (OSError, ValueError, KeyError):
        return "another process"
