"""Run one engine in a process of its own: read texts, warm up, deduplicate, report times and what was kept.

Standard library only, because it also runs in the environments of the peers.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

WARM_UP_ROWS = 300


def run(deduplicate: Callable[[Sequence[str]], dict[str, list[int]]]) -> None:
    """Time `deduplicate`, which returns `kept` row numbers and whatever else it knows.

    Imports and compilation are not counted: the engine first sees a few rows untimed.
    """
    with Path(sys.argv[1]).open(encoding="utf-8") as lines:
        texts = [json.loads(line) for line in lines]
    deduplicate(texts[:WARM_UP_ROWS])
    cpu, wall = time.process_time(), time.perf_counter()
    result = deduplicate(texts)
    times = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall, "peak_mb": _peak_mb()}
    Path(sys.argv[2]).write_text(json.dumps({**times, **result}), encoding="utf-8")


def _peak_mb() -> float:
    # getrusage would report the peak of the process that started this one, where that is higher.
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
