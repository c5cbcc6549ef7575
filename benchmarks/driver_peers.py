"""The peers that `driver.py` measures, each run by the Python of an environment of its own.

`python benchmarks/driver_peers.py NAME URL ROWS IN_FLIGHT`; prints what `driver_clients.py` does. Each
is used as its documentation uses it, with its caps on rates lifted and the same number in flight.
"""
# ruff: noqa: PLC0415  (every peer is in another environment)

import json
import logging
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from driver_clients import DOCUMENT, KEY, RETRIES, SYSTEM, Run, measured

NO_CAP = 10**9


def _texts(rows: int) -> list[dict[str, Any]]:
    return [{"number": number, "text": f"{number} {DOCUMENT}"} for number in range(rows)]


def curator(url: str, rows: int, in_flight: int) -> int:
    """Bespoke Curator, online mode.

    It counts tokens with tiktoken, which downloads its vocabulary; where it cannot, one token per byte
    stands in.
    """
    import tiktoken
    from bespokelabs import curator as library

    try:
        tiktoken.get_encoding("cl100k_base")
    except OSError:
        letters = {bytes([value]): value for value in range(256)}
        stand_in = tiktoken.Encoding("bytes", pat_str=r"\S+|\s+", mergeable_ranks=letters, special_tokens={})
        tiktoken.get_encoding = lambda _name: stand_in

    class Asker(library.LLM):  # type: ignore[misc]
        def prompt(self, row: dict[str, Any]) -> list[dict[str, str]]:
            return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": row["text"]}]

        def parse(self, row: dict[str, Any], response: str) -> dict[str, Any]:
            return {"number": row["number"], "reply": response}

    with tempfile.TemporaryDirectory() as folder:
        asker = Asker(
            model_name="tiny",
            backend="openai",
            generation_params={"max_tokens": 256},
            backend_params={
                "base_url": url,
                "api_key": KEY,
                "max_retries": RETRIES,
                "max_concurrent_requests": in_flight,
                "max_requests_per_minute": NO_CAP,
                "max_tokens_per_minute": NO_CAP,
                "require_all_responses": False,
            },
        )
        return len(asker(_texts(rows), working_dir=folder).dataset)


def data_designer(url: str, rows: int, in_flight: int) -> int:
    """NeMo Data Designer, one text column over seed rows."""
    import data_designer.config as dd
    import pandas as pd
    from data_designer.interface import DataDesigner

    provider = dd.ModelProvider(name="server", endpoint=url, provider_type="openai", api_key=KEY)
    parameters = dd.ChatCompletionInferenceParams(max_parallel_requests=in_flight, max_tokens=256)
    model = dd.ModelConfig(
        alias="model", model="tiny", provider="server", inference_parameters=parameters, skip_health_check=True
    )
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    builder.with_seed_dataset(dd.DataFrameSeedSource(df=pd.DataFrame(_texts(rows))))
    column = dd.LLMTextColumnConfig(name="persona", model_alias="model", system_prompt=SYSTEM, prompt="{{ text }}")
    builder.add_column(column)
    with tempfile.TemporaryDirectory() as folder:
        designer = DataDesigner(artifact_path=folder, model_providers=[provider])
        designer.set_run_config(dd.RunConfig(disable_early_shutdown=True))
        return len(designer.create(builder, num_records=rows).load_dataset())


def datatrove(url: str, rows: int, in_flight: int) -> int:
    """The inference runner of datatrove, against an endpoint that runs already."""
    from datatrove.data import Document
    from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
    from datatrove.pipeline.writers import JsonlWriter

    async def ask(document: Document, generate: Any) -> str:
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": document.text}]
        return str((await generate({"messages": messages, "max_tokens": 256})).text)

    config = InferenceConfig(
        server_type="endpoint",
        model_name_or_path="tiny",
        endpoint_url=url.removesuffix("/v1"),
        api_key=KEY,
        max_concurrent_generations=in_flight,
    )
    with tempfile.TemporaryDirectory() as folder:
        runner = InferenceRunner(ask, config, JsonlWriter(folder, compression=None))
        runner.run((Document(text=row["text"], id=str(row["number"])) for row in _texts(rows)), rank=0, world_size=1)
        return sum(len(path.read_text().splitlines()) for path in Path(folder).rglob("*.jsonl"))


def distilabel(url: str, rows: int, in_flight: int) -> int:
    """A distilabel pipeline with one task."""
    from distilabel.models import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration

    llm = OpenAILLM(
        model="tiny", base_url=url, api_key=KEY, max_retries=RETRIES, generation_kwargs={"max_new_tokens": 256}
    )
    data = [{"instruction": row["text"], "system_prompt": SYSTEM} for row in _texts(rows)]
    with tempfile.TemporaryDirectory() as folder:
        with Pipeline(name="bench", cache_dir=folder) as pipeline:
            load = LoadDataFromDicts(data=data, batch_size=in_flight)
            load >> TextGeneration(llm=llm, input_batch_size=in_flight)
        done = pipeline.run(use_cache=False)["default"]["train"]["generation"]
        return sum(reply is not None for reply in done)


PEERS: dict[str, tuple[Run, str]] = {
    "curator": (curator, "bespokelabs-curator"),
    "data-designer": (data_designer, "data-designer"),
    "datatrove": (datatrove, "datatrove"),
    "distilabel": (distilabel, "distilabel"),
}


def main() -> None:
    """Measure one peer."""
    os.environ.update(
        TELEMETRY_ENABLED="false",
        NEMO_TELEMETRY_ENABLED="false",
        CURATOR_DISABLE_RICH_DISPLAY="1",
        HF_HUB_OFFLINE="1",
        HF_DATASETS_DISABLE_PROGRESS_BARS="1",
        OPENAI_API_KEY=KEY,
    )
    logging.disable(logging.WARNING)
    name, url, rows, in_flight = sys.argv[1:5]
    run, distribution = PEERS[name]
    # Peers write to standard output as they like; the result is the last line.
    result = measured(run, url, int(rows), int(in_flight))
    print("\n" + json.dumps({**result, "version": f"{distribution} {version(distribution)}"}), flush=True)


if __name__ == "__main__":
    main()
