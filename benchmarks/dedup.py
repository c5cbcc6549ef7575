"""Near-duplicate removal: time, recall and precision of this project and of named peers, in one run.

    python benchmarks/dedup.py --quick          20,000 rows; datasketch, rensa and ours; under a minute
    python benchmarks/dedup.py                  61,746 rows, further peers, embeddings, growth to 1,000,000
    python benchmarks/dedup.py --largest 10000000

Every engine runs alone in a process of its own, from texts in memory to the list of kept rows; imports
and compilation are not counted. Peers that are not in this environment get one beside this file,
made at the first run. "Drops" are compared with those of the greedy rule over all exact pairs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import personas  # noqa: E402  (beside this file, which need not be a package)
import truth  # noqa: E402
import vectors  # noqa: E402

THRESHOLD = 0.7
QUICK_ROWS, FULL_ROWS = 20_000, 61_746
# One core for everybody: BLAS and OpenMP threads that wait would count as work.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Engine:
    """A script in engines/, and what to install for it where this environment lacks it."""

    name: str
    script: str
    packages: tuple[str, ...] = ()
    quick: bool = True


ENGINES = (
    Engine("ours", "ours.py"),
    Engine("rensa", "rensa_dedup.py", ("rensa",)),
    Engine("datasketch", "datasketch_lsh.py"),
    Engine("distilabel", "distilabel_minhash.py", ("distilabel", "datasketch==1.6.5", "nltk", "requests"), quick=False),
)


def main() -> None:
    """Print the tables."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--quick", action="store_true", help="20,000 rows, three engines")
    arguments.add_argument("--largest", type=int, default=1_000_000, help="rows of the last growth step")
    chosen = arguments.parse_args()
    rows = QUICK_ROWS if chosen.quick else FULL_ROWS
    engines = [engine for engine in ENGINES if engine.quick or not chosen.quick]
    compare(f"synthetic personas, {rows:,} rows", personas.synthetic(rows), engines)
    real = personas.real("en_llm", "en_human")
    if real and not chosen.quick:
        compare(f"real English personas, {len(real):,} rows", real, engines)
    if not chosen.quick:
        compare_embeddings()
        growth(chosen.largest)


def compare(title: str, texts: Sequence[str], engines: Sequence[Engine]) -> None:
    """Run the engines on the same texts, print what each took, and what it dropped rightly or wrongly."""
    exact = truth.similar_pairs(texts, THRESHOLD)
    right = set(range(len(texts))) - truth.kept_rows(len(texts), exact)
    print(f"\n## {title}: {len(exact):,} pairs at {THRESHOLD} or above, {len(right):,} rows to drop")
    print(f"{'engine':12}{'CPU s':>9}{'x ours':>8}{'wall s':>9}{'peak MB':>9}", end="")
    print(f"{'dropped':>9}{'missed':>8}{'false':>7}{'recall':>8}{'precision':>11}")
    ours = None
    for engine in engines:
        result = measure(engine, texts)
        if result is None:
            print(f"{engine.name:12} not run: it failed, or cannot be installed here")
            continue
        ours = ours or result["cpu"]
        kept = set(result["kept"])
        dropped = set(range(len(texts))) - kept
        # A drop is right where a kept row reaches the threshold with it, whichever row that is.
        covered = {b for a, b in exact if a in kept} | {a for a, b in exact if b in kept}
        false, missed = dropped - covered, right - dropped
        print(f"{engine.name:12}{result['cpu']:9.2f}{result['cpu'] / ours:8.1f}{result['wall']:9.2f}", end="")
        print(f"{result['peak_mb']:9.0f}{len(dropped):9,}{len(missed):8,}{len(false):7,}", end="")
        print(f"{1 - len(missed) / max(1, len(right)):8.3f}{1 - len(false) / max(1, len(dropped)):11.3f}")
        if "pairs" in result:
            found = set(zip(*result["pairs"], strict=True))
            listed = {pair for pair in exact if exact[pair] < 1.0}
            print(
                f"{'':12}of the pairs of unequal sets: recall {len(listed & found) / max(1, len(listed)):.4f}", end=""
            )
            print(f", pairs listed that are none: {len(found - exact.keys())}")


def measure(engine: Engine, texts: Iterable[str]) -> dict[str, Any] | None:
    """Run one engine in its own process; None where its environment cannot be made."""
    python = python_for(engine)
    if python is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, answer = Path(folder, "texts.jsonl"), Path(folder, "answer.json")
        with source.open("w", encoding="utf-8") as lines:
            lines.writelines(f"{json.dumps(text)}\n" for text in texts)
        command = [python, str(HERE / "engines" / engine.script), str(source), str(answer)]
        done = subprocess.run(command, env={**os.environ, **ONE_THREAD}, capture_output=True, check=False)  # noqa: S603
        if done.returncode:
            print(done.stderr.decode()[-400:], file=sys.stderr)
            return None
        result: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return result


def python_for(engine: Engine) -> str | None:
    """The interpreter that has the engine's packages: this one, or that of an environment made for it."""
    if not engine.packages:
        return sys.executable
    home = HERE / f".venv-{engine.name}"
    python = home / "bin" / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
    command = [str(python), "-m", "pip", "install", "-q", *engine.packages]
    ready = subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603
    return str(python) if ready else None


def growth(largest: int) -> None:
    """Print how our cost grows with the number of rows."""
    print(f"\n## growth, synthetic personas\n{'rows':>12}{'CPU s':>9}{'wall s':>9}{'peak MB':>9}{'dropped':>10}")
    rows = 100_000
    while rows <= largest:
        result = measure(ENGINES[0], personas.stream(rows))
        if result:
            dropped = rows - len(result["kept"])
            print(f"{rows:12,}{result['cpu']:9.2f}{result['wall']:9.2f}{result['peak_mb']:9.0f}{dropped:10,}")
        rows *= 10


def compare_embeddings() -> None:
    """Print our embedding stage against plain float32 tiles over the same vectors."""
    command = [sys.executable, str(HERE / "vectors.py"), str(FULL_ROWS), str(vectors.DIMENSIONS)]
    subprocess.run(command, env={**os.environ, **ONE_THREAD}, check=True)  # noqa: S603


if __name__ == "__main__":
    main()
