"""Driving a model: CPU and rate of this project and of named peers against one simulated server.

    python benchmarks/driver.py --quick     bare aiohttp, the bare openai client, ours; under a minute
    python benchmarks/driver.py             further peers, 256 in flight, the ledger, memory; about 25 minutes

The server runs in a process of its own, every subject in another; the same prompts, the same latency,
ratios within one run. CPU is that of the subject's process with all threads and children, importing
and a first request not counted. "Of perfect" compares with a simulated scheduler that always has as
many in flight as it may and sends each retry at the first moment allowed. Peers get an environment
beside this file, made at the first run; one that cannot be installed is left out with the reason.
"""

import argparse
import heapq
import itertools
import json
import random
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from driver_server import RETRY_AFTER_S, Server  # noqa: E402  (beside this file, which need not be a package)

ROWS, IN_FLIGHT, LATENCY_S, FAULTS = 2_000, 64, 0.2, 0.05
WIDE_IN_FLIGHT, WIDE_LATENCY_S, WIDE_ROWS = 256, 1.0, 256 * 90
BARE = "openai client, aiohttp"
LIMIT_S = 900


@dataclass(frozen=True)
class Subject:
    """A name that `driver_clients.py` or `driver_peers.py` knows, and what to install for it, if anything."""

    name: str
    packages: tuple[str, ...] = ()
    quick: bool = False


SUBJECTS = (
    Subject("bare aiohttp", quick=True),
    Subject(BARE, quick=True),
    Subject("openai client, default"),
    Subject("persona_assets", quick=True),
    # Its extra "inference" wants vLLM and CUDA, which an endpoint that runs already does without.
    Subject("datatrove", ("datatrove", "orjson", "aiosqlite", "httpx")),
    Subject("curator", ("bespokelabs-curator",)),
    Subject("data-designer", ("data-designer",)),
    Subject("distilabel", ("distilabel[openai]", "requests")),
)


class MissingPeerError(Exception):
    """A peer that cannot be installed or run here."""


def main() -> None:
    """Print the tables."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--quick", action="store_true", help="three subjects, no ledger, no long runs")
    chosen = arguments.parse_args()
    subjects = [subject for subject in SUBJECTS if subject.quick or not chosen.quick]
    compare("no faults", subjects, faults=0.0)
    compare(
        f"{FAULTS:.0%} answer 500, {FAULTS:.0%} answer 429 with Retry-After: {RETRY_AFTER_S}",
        [subject for subject in subjects if subject.name != "bare aiohttp"],
        faults=FAULTS,
    )
    if not chosen.quick:
        wide()
        ledger()


def compare(title: str, subjects: Sequence[Subject], *, faults: float) -> None:
    """Run the subjects one after the other, and print a table."""
    best = perfect_rate(ROWS, IN_FLIGHT, LATENCY_S, faults)
    print(f"\n## {title}: {ROWS:,} requests, {IN_FLIGHT} in flight, {LATENCY_S:g} s latency", flush=True)
    print(f"{'subject':26}{'version':32}{'CPU ms':>8}{'x bare':>8}{'rows/s':>8}{'of perfect':>12}{'answered':>10}")
    bare: float | None = None
    for subject in subjects:
        try:
            with Server(LATENCY_S, faults) as server:
                got = measure(subject, server.base_url, ROWS, IN_FLIGHT)
        except MissingPeerError as error:
            print(f"{subject.name:26}left out: {error}", flush=True)
            continue
        each = got["cpu_s"] / ROWS * 1000
        bare = each if subject.name == BARE else bare
        ratio = f"{each / bare:.2f}" if bare else ""
        rate = got["rows"] / got["wall_s"]
        print(
            f"{subject.name:26}{got['version']:32}{each:8.2f}{ratio:>8}{rate:8.0f}{rate / best:12.1%}{got['rows']:10,}",
            flush=True,
        )


def wide() -> None:
    """Print how much of concurrency / latency is reached with many in flight, the climb included."""
    most = WIDE_IN_FLIGHT / WIDE_LATENCY_S
    print(f"\n## {WIDE_IN_FLIGHT} in flight, {WIDE_LATENCY_S:g} s latency, {WIDE_ROWS:,} requests")
    with Server(WIDE_LATENCY_S) as server:
        got = measure(Subject("persona_assets"), server.base_url, WIDE_ROWS, WIDE_IN_FLIGHT)
    rate = got["rows"] / got["wall_s"]
    print(f"{rate:.1f} rows/s, {rate / most:.1%} of concurrency / latency")


def ledger() -> None:
    """Print what the ledger does."""
    print("\n## the ledger")
    replayed = _run([sys.executable, HERE / "driver_ledger.py", "replay", 200_000])
    print(f"replay: {replayed['per_cpu_s']:,.0f} answers per CPU second")
    matched = _run([sys.executable, HERE / "driver_ledger.py", "match", 1_000_000])
    print(f"1,000,000 requests matched in {matched['wall_s']:.1f} s, peak memory {matched['peak_mib']:.0f} MiB")
    with Server(0.0) as server:
        grown = _run([sys.executable, HERE / "driver_ledger.py", "memory", 2_000, 200_000, server.base_url])
    print(f"2,000 to 200,000 requests: peak memory {grown['few_mib']:.0f} to {grown['many_mib']:.0f} MiB")


def measure(subject: Subject, url: str, rows: int, in_flight: int) -> dict[str, Any]:
    """Run one subject in a process of its own.

    Raises:
        MissingPeerError: it cannot be installed, or does not run.
    """
    if not subject.packages:
        return _run([sys.executable, HERE / "driver_clients.py", subject.name, url, rows, in_flight])
    python = _environment(subject)
    try:
        return _run([python, HERE / "driver_peers.py", subject.name, url, rows, in_flight])
    except subprocess.TimeoutExpired:
        raise MissingPeerError(f"not done after {LIMIT_S} s") from None
    except RuntimeError as error:
        raise MissingPeerError(str(error)) from None


def perfect_rate(rows: int, in_flight: int, latency_s: float, faults: float, draws: int = 20) -> float:
    """Rows per second of a scheduler that wastes nothing, averaged over `draws` courses of the faults."""
    return sum(_perfect(rows, in_flight, latency_s, faults, random.Random(seed)) for seed in range(draws)) / draws  # noqa: S311


def _perfect(rows: int, in_flight: int, latency_s: float, faults: float, rng: random.Random) -> float:
    ticket = itertools.count()
    retries = [0.0] * rows  # when each may be sent: a list of equal times is a heap
    running: list[tuple[float, int]] = []
    now, done = 0.0, 0
    while done < rows:
        while len(running) < in_flight and retries and retries[0] <= now:
            heapq.heappop(retries)
            heapq.heappush(running, (now + latency_s, next(ticket)))
        if not running or (len(running) < in_flight and retries and retries[0] < running[0][0]):
            now = retries[0]
            continue
        now, _ = heapq.heappop(running)
        drawn = rng.random()
        if drawn < faults:
            heapq.heappush(retries, now)
        elif drawn < 2 * faults:
            heapq.heappush(retries, now + RETRY_AFTER_S)
        else:
            done += 1
    return rows / now


def _environment(subject: Subject) -> Path:
    home = HERE / f".venv-driver-{subject.name}"
    python, ready = home / "bin" / "python", home / "installed"
    if ready.exists():
        return python
    print(f"installing {subject.name} …", file=sys.stderr, flush=True)
    venv.create(home, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *subject.packages]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if finished.returncode:
        raise MissingPeerError(f"{subject.name} cannot be installed: {_last_line(finished.stderr)}")
    ready.touch()
    return python


def _run(command: Sequence[object]) -> dict[str, Any]:
    finished = subprocess.run(  # noqa: S603
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=LIMIT_S, cwd=HERE
    )
    if finished.returncode:
        raise RuntimeError(_last_line(finished.stderr))
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return result


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1][:200]


if __name__ == "__main__":
    main()
