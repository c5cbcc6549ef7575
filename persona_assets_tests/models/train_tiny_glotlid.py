"""Train `tiny_glotlid.ftz`: a fastText model with GlotLID's labels, from the project's own texts.

Training needs the full fastText package (a compiler, about a minute), so the result is committed:

    python -m venv throwaway && throwaway/bin/pip install "numpy<2" setuptools wheel pybind11 fasttext
    throwaway/bin/python persona_assets_tests/models/train_tiny_glotlid.py

Run it again when a language is added to the samples.
"""

import json
import re
import tempfile
import tomllib
from pathlib import Path

import fasttext

PROJECT = Path(__file__).parents[2]
TARGET = Path(__file__).parent / "tiny_glotlid.ftz"
# GlotLID's labels of the neighbouring languages among the samples, by what their rows say.
NEIGHBOURS = {
    "bul": "bul_Cyrl",
    "cat": "cat_Latn",
    "fas": "pes_Arab",
    "glg": "glg_Latn",
    "jpn": "jpn_Jpan",
    "nld": "nld_Latn",
    "oci": "oci_Latn",
    "spa": "spa_Latn",
}


def lines() -> list[str]:
    """One labelled line per sentence of the sample documents and the prompt packs."""
    languages = tomllib.loads((PROJECT / "persona_assets/languages.toml").read_text(encoding="utf-8"))
    labels = NEIGHBOURS | {entry["iso639_3"]: entry["glotlid"][0] for entry in languages.values()}
    texts: list[tuple[str, str]] = []
    for code, entry in languages.items():
        samples = PROJECT / f"persona_assets/samples/documents/{code}.jsonl"
        if samples.is_file():
            for line in samples.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                texts.append((labels[row["language"]], row["text"]))
        pack = PROJECT / f"persona_assets/prompts/{code}.toml"
        texts += [(entry["glotlid"][0], text) for text in strings(tomllib.loads(pack.read_text(encoding="utf-8")))]
    return [
        f"__label__{label} {' '.join(sentence.split())}"
        for label, text in texts
        for sentence in re.split(r"[.!?。！？؟\n]+", text)
        if len(sentence.strip()) > 3
    ]


def strings(value: object) -> list[str]:
    """Every text in a parsed TOML file."""
    if isinstance(value, dict):
        return [text for part in value.values() for text in strings(part)]
    return [value] if isinstance(value, str) else []


def main() -> None:
    """Train, quantize and save."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as corpus:
        corpus.write("\n".join(lines()))
        corpus.flush()
        model = fasttext.train_supervised(
            corpus.name, dim=16, epoch=60, lr=0.6, minn=1, maxn=4, bucket=20_000, thread=1, seed=0, loss="softmax"
        )
        model.quantize(input=corpus.name, retrain=False, cutoff=8_000, qnorm=True)
    model.save_model(str(TARGET))


if __name__ == "__main__":
    main()
