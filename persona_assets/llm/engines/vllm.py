"""vLLM in this process: every request in flight is a sequence of its continuous batch."""

# mypy: disable-error-code="import-not-found"
# vLLM is an extra with an environment of its own.

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from persona_assets.errors import EndpointError
from persona_assets.llm.engines.base import AskError
from persona_assets.llm.engines.vllm_process import LoadedEngine, first_line, load, loaded
from persona_assets.llm.engines.vllm_schema import bounded
from persona_assets.llm.requests import Answer, Request
from persona_assets.settings import LlmSettings

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams


class VllmEngine:
    """Asks the engine of this process, which the first request loads.

    As many requests are batched as the driver keeps in flight; each comes back, and reaches the ledger, as soon as
    it is finished. There is no time limit on a request: vLLM itself ends an engine that hangs.

    The engine has an event loop of its own (see `vllm_process`); `ask` hands a coroutine over to that loop and
    awaits it from the caller's, so that any number of loops, one after the other, can use one engine.
    """

    asks = True

    def __init__(self, settings: LlmSettings) -> None:
        self._settings = settings

    async def ask(self, request: Request) -> Answer:
        """Ask once.

        Raises:
            AskError: this attempt failed.
            EndpointError: the engine cannot be loaded, has died, or cannot enforce a JSON schema.
            ModelMissingError: vLLM or the weights are not on this machine.
            ProfileError: `llm.vllm.extra` names an argument that this vLLM does not have.
        """
        engine = loaded(self._settings)
        if engine is None:
            engine = await asyncio.to_thread(load, self._settings)
        started = time.monotonic()
        output = await asyncio.wrap_future(engine.run(_generate(engine, request)))
        return _answer(request, output, time.monotonic() - started)

    async def close(self) -> None:
        """Leave the engine loaded for the next stage; `vllm_process.release` ends it."""


async def _generate(engine: LoadedEngine, request: Request) -> "RequestOutput":
    from vllm.exceptions import GracefulHTTPError, VLLMClientError
    from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

    try:
        prompt = await _rendered(engine, request)
        parameters = _sampling(engine, request, prompt_tokens=len(prompt["prompt_token_ids"]))
        # The request's key would not do as identifier: the engine may still be aborting the last try.
        outputs = [output async for output in engine.llm.generate(prompt, parameters, uuid4().hex)]
    except EngineDeadError:
        raise EndpointError(
            "the vLLM engine has died (its reason is in the messages above): the answers it gave are kept;"
            " run again, with a lower llm.vllm.gpu_memory_utilization or max_model_len if it was short of memory"
        ) from None
    except EngineGenerateError as error:
        raise AskError("engine_error", first_line(error.__cause__ or error), retryable=True) from None
    except GracefulHTTPError as error:
        raise AskError("rate_limit", first_line(error), retryable=True) from None
    except (VLLMClientError, ValueError) as error:
        raise _refused(error, request) from None
    return outputs[-1]


async def _rendered(engine: LoadedEngine, request: Request) -> Any:
    from vllm.renderers import ChatParams

    messages: Any = [{"role": message.role, "content": message.content} for message in request.messages]
    settings = engine.settings.vllm.chat_template_kwargs
    template = ChatParams(chat_template_kwargs={"add_generation_prompt": True, **settings})
    _, (prompt,) = await engine.llm.renderer.render_chat_async([messages], template)
    return prompt


def _sampling(engine: LoadedEngine, request: Request, *, prompt_tokens: int) -> "SamplingParams":
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    limit = engine.llm.model_config.max_model_len
    if prompt_tokens >= limit:
        raise AskError(
            "context_too_long", f"the prompt has {prompt_tokens} tokens, the model takes {limit} with the answer"
        )
    # What the model's authors recommend holds, as it does under `vllm serve`, unless the profile says otherwise.
    values: Mapping[str, Any] = {
        **engine.llm.model_config.get_diff_sampling_param(),
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": min(request.max_tokens, limit - prompt_tokens),
        "output_kind": RequestOutputKind.FINAL_ONLY,
        "structured_outputs": _structure(engine.settings, request),
    }
    return SamplingParams(**values)


def _structure(settings: LlmSettings, request: Request) -> Any:
    from vllm.sampling_params import StructuredOutputsParams

    form = request.response_format
    if form.kind == "json_schema" and form.schema is not None:
        vllm = settings.vllm
        schema = bounded(form.schema, max_chars=vllm.max_string_chars, max_items=vllm.max_array_items)
        return StructuredOutputsParams(json=schema)
    return None if form.kind == "none" else StructuredOutputsParams(json_object=True)


def _refused(error: Exception, request: Request) -> Exception:
    said = first_line(error)
    lowered = said.lower()
    if "context length" in lowered:
        return AskError("context_too_long", said)
    structured = request.response_format.kind != "none"
    if structured and any(word in lowered for word in ("schema", "grammar", "structured output")):
        return EndpointError(
            f"vLLM cannot hold the model to this JSON schema ({said}): choose another backend in"
            ' llm.vllm.extra.structured_outputs_config, or set llm.structured_output to "json_object" or "none"'
        )
    return AskError("invalid_request", said)


def _answer(request: Request, output: "RequestOutput", latency_s: float) -> Answer:
    completion = output.outputs[0]
    if completion.finish_reason not in ("stop", "length"):
        raise AskError(str(completion.finish_reason), "the engine broke the answer off", retryable=True)
    return Answer(
        key=request.key,
        text=completion.text,
        finish_reason=completion.finish_reason,
        max_tokens=request.max_tokens,
        model=request.model,
        endpoint="vllm",
        prompt_tokens=len(output.prompt_token_ids or ()),
        cached_tokens=output.num_cached_tokens,
        completion_tokens=len(completion.token_ids),
        latency_s=round(latency_s, 4),
        answered_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
