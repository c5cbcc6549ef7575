"""The language filter against bare fastText: python benchmarks/language_id.py [FILE] [--model MODEL].

Both predict the same texts in one process, in turns, a thousand at a time, and the best CPU time of
each counts. FILE is anything `persona-assets evaluate language-id` reads; without it the bundled sample
documents are read, sentence by sentence.
"""

import argparse
import re
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl

from persona_assets.filters.evaluation import read_labelled
from persona_assets.filters.language_id import load_identifier, locate_model
from persona_assets.filters.personas import judge_personas
from persona_assets.languages import language
from persona_assets.settings import FilterSettings

SAMPLES = Path(__file__).parents[1] / "persona_assets" / "samples" / "documents"
ROUNDS = 5
CHUNK = 1000
AIM = 0.9


def texts_of(file: Path | None, text: str, label: str) -> list[str]:
    """The texts to predict, each of one line."""
    if file:
        found = read_labelled(file, text=text, label=label)["text"].to_list()
    else:
        documents = pl.concat([pl.read_ndjson(path).select("text") for path in sorted(SAMPLES.glob("*.jsonl"))])["text"]
        found = [part for document in documents for part in re.split(r"(?<=[.!?。])\s*", document) if part]
    return [one.replace("\n", " ") for one in found]


def best_cpu_s(tasks: dict[str, Callable[[list[str]], object]], texts: list[str]) -> dict[str, float]:
    """The CPU seconds of each task: the best of several rounds for each thousand texts, in turns."""
    spent = dict.fromkeys(tasks, 0.0)
    for first in range(0, len(texts), CHUNK):
        best = dict.fromkeys(tasks, float("inf"))
        for _ in range(ROUNDS):
            for name, task in tasks.items():
                started = time.process_time()
                task(texts[first : first + CHUNK])
                best[name] = min(best[name], time.process_time() - started)
        for name in tasks:
            spent[name] += best[name]
    return spent


def main() -> None:
    """Print texts per CPU second and the ratio to bare fastText."""
    import fasttext

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--model", default="lid176")
    parser.add_argument("--text", default="text")
    parser.add_argument("--label", default="lang")
    given = parser.parse_args()
    texts = texts_of(given.file, given.text, given.label)
    bare = fasttext.load_model(str(locate_model(given.model)[0]))
    ours = load_identifier(given.model)
    settings, lang = FilterSettings(language_model=given.model), language("en")

    def whole(some: list[str]) -> object:
        frame = pl.DataFrame({"persona_id": [str(row) for row in range(len(some))], "persona": some})
        return judge_personas(frame, lang, ours, settings)

    seconds = best_cpu_s(
        {
            "bare fastText, a loop of predict(text)": lambda some: [bare.predict(text) for text in some],
            "identify": ours.identify,
            "the whole filter": whole,
        },
        texts,
    )
    base = next(iter(seconds.values()))
    print(f"{len(texts)} texts, {given.model}; aim: at least {AIM:.0%}")
    for name, spent in seconds.items():
        print(f"{name:42} {len(texts) / spent:10,.0f} texts per CPU second {base / spent:7.1%}")


if __name__ == "__main__":
    main()
