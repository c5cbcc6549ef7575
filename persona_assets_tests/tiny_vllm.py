"""A random language model small enough for tests of the real vLLM engine on a CPU.

It has the files of a real model (tokenizer with chat template, configuration) and no weights: the engine makes
them up (`load_format = "dummy"`). What it says is noise; that it is said in the form asked for is the engine's doing.
`python -m persona_assets_tests.tiny_vllm MODEL LEDGER COUNT` asks it from a process that a test may kill.
"""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from persona_assets.llm.engines.base import Engine
from persona_assets.llm.engines.vllm import VllmEngine
from persona_assets.llm.ledger import Ledger, open_ledger
from persona_assets.llm.requests import Message, Request, ResponseFormat
from persona_assets.settings import LlmSettings, VllmSettings

VOCABULARY = 1024
CONTEXT = 1024

CHAT_TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message.role }}\n{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)

# What the engine needs on a machine without an accelerator; set before vllm is imported.
CPU_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}

# Arguments of the engine that suit the model: the guidance backend never lets a control character into a string.
ENGINE_SETTINGS: dict[str, Any] = {
    "max_model_len": CONTEXT,
    "dtype": "float32",
    # Noise has no reason to end a string.
    "max_string_chars": 60,
    "extra": {
        "load_format": "dummy",
        "enforce_eager": True,
        "enable_chunked_prefill": False,
        "seed": 0,
        "structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True},
    },
}


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"relation": {"enum": ["read", "write"]}, "persona": {"type": "string"}},
    "required": ["relation", "persona"],
    "additionalProperties": False,
}

STAGE, LANG = "text_to_persona", "en"


def tiny_settings(model: Path) -> LlmSettings:
    """Settings that load the model in process."""
    return LlmSettings(engine="vllm", model="tiny", vllm=VllmSettings(path=str(model), **ENGINE_SETTINGS))


def question(
    number: int,
    *,
    kind: str = "json_schema",
    schema: Mapping[str, Any] = SCHEMA,
    max_tokens: int = 300,
    text: str = "",
    model: str = "tiny",
) -> Request:
    """A request whose answer is an object of `schema`, where `kind` asks for that."""
    return Request(
        stage=STAGE,
        lang=LANG,
        origin=str(number),
        model=model,
        messages=(Message("system", "Describe one person."), Message("user", f"Document {number}. {text}")),
        response_format=ResponseFormat(kind, name="persona", schema=schema),  # type: ignore[arg-type]
        max_tokens=max_tokens,
    )


async def ask_all(engine: Engine, requests: Sequence[Request], ledger: Ledger, *, in_flight: int = 8) -> None:
    """Ask what the ledger does not hold, and record every answer as it comes."""
    held = ledger.lookup(requests)
    waiting = iter([request for request in requests if request.key not in held])

    async def work() -> None:
        for request in waiting:
            ledger.record(await engine.ask(request))

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(work())
    await engine.close()


def make_tiny_model(folder: Path) -> Path:
    """Write the model's files to `folder`; takes about three seconds."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Config

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|pad|>", "<|start|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words = Path(__file__).with_name("endpoint_texts.py").read_text(encoding="utf-8")
    tokenizer.train_from_iterator([words], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|pad|>")
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
        architectures=["Qwen2ForCausalLM"],
        dtype="float32",
    )
    config.save_pretrained(folder)
    return folder


def main() -> None:
    """Ask COUNT questions, recording every answer."""
    model, folder, count = sys.argv[1:]
    os.environ.update(CPU_ENVIRONMENT)
    requests = [question(number) for number in range(int(count))]
    with open_ledger(Path(folder), STAGE, LANG) as ledger:
        asyncio.run(ask_all(VllmEngine(tiny_settings(Path(model))), requests, ledger))


if __name__ == "__main__":
    main()
