"""The vLLM engine of this process: loaded once, shared by all stages and languages, released at the end.

`AsyncLLM` belongs to the event loop in which it was made: its output handler is a task of that loop. The driver
runs one `asyncio.run`, and so one loop, per stage. The engine therefore lives on a loop of its own, in a thread
that lasts as long as the engine, and those who ask bridge over to it.
"""

# mypy: disable-error-code="import-not-found"
# vLLM is an extra with an environment of its own.

import asyncio
import atexit
import dataclasses
import difflib
import multiprocessing
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, TypeVar

from persona_assets.errors import EndpointError, ProfileError
from persona_assets.llm.engines.vllm_guard import Guard
from persona_assets.llm.engines.vllm_weights import check_vllm, locate_weights
from persona_assets.settings import LlmSettings

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

T = TypeVar("T")

MESSAGE_CHARS = 300
WATCH_EVERY_S = 0.2
_ENVIRONMENT = {
    # A forked engine would inherit the open lock of the ledger, and keep it when this process is killed;
    # besides, forking a process that has threads (Polars has) can hang it.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_NO_USAGE_STATS": "1",
}


class LoadedEngine:
    """A running `AsyncLLM` and the loop that it lives on."""

    def __init__(self, settings: LlmSettings) -> None:
        self.settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm-engine", daemon=True)
        self._thread.start()
        self._guard = Guard()
        try:
            self.llm = self._wait_for(self._start())
        except BaseException:
            self._end_loop()
            raise

    @property
    def dead(self) -> bool:
        """Whether the engine has died and must be loaded anew."""
        return bool(self.llm.errored)

    def run(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Run a coroutine on the engine's loop; cancelling the future cancels it there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def shut_down(self) -> None:
        """End the engine's processes and its loop; takes a few seconds."""
        # Otherwise the handler takes the end that it is about to see for a crash, and logs a traceback.
        self.run(self._stop_handler()).result()
        self.llm.shutdown()
        # Its finalizer must not run at the end of the interpreter, when what it needs is gone.
        del self.llm
        self._end_loop()

    async def _start(self) -> "AsyncLLM":
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        return AsyncLLM.from_engine_args(AsyncEngineArgs(**engine_arguments(self.settings)))

    def _wait_for(self, start: "Coroutine[Any, Any, AsyncLLM]") -> "AsyncLLM":
        before = set(multiprocessing.active_children())
        started = self.run(start)
        done = False
        while not done:
            # Loading takes minutes for a large model, and may be killed, too.
            done = bool(wait([started], timeout=WATCH_EVERY_S).done)
            children = set(multiprocessing.active_children()) - before
            self._guard.watch(child.pid for child in children if child.pid is not None)
        return started.result()

    async def _stop_handler(self) -> None:
        handler = self.llm.output_handler
        if handler is not None:
            handler.cancel()
            await asyncio.gather(handler, return_exceptions=True)

    def _end_loop(self) -> None:
        self.run(_cancel_the_rest()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._guard.release()


async def _cancel_the_rest() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


_lock = threading.Lock()
_loaded: dict[str, LoadedEngine] = {}


def loaded(settings: LlmSettings) -> LoadedEngine | None:
    """The engine of these settings, if it is loaded and alive."""
    engine = _loaded.get(_identity(settings))
    return None if engine is None or engine.dead else engine


def load(settings: LlmSettings) -> LoadedEngine:
    """The engine of these settings, loaded now if need be; another one that is loaded makes way.

    Raises:
        ModelMissingError: vLLM or the weights are not on this machine.
        ProfileError: `llm.vllm.extra` names an argument that this vLLM does not have.
        EndpointError: vLLM cannot load the model.
    """
    with _lock:
        present = loaded(settings)
        if present is not None:
            return present
        check_vllm(settings)
        # Two engines do not fit on one machine: each takes most of the memory.
        _release_all()
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        engine_arguments(settings)
        try:
            engine = LoadedEngine(settings)
        except Exception as error:
            raise EndpointError(
                f"vLLM cannot load {settings.vllm.path or settings.model} ({first_line(error)}): see its messages"
                " above; often llm.vllm.gpu_memory_utilization, max_model_len or dtype do not suit the machine"
            ) from error
        _loaded[_identity(settings)] = engine
        # Registered last, so run first: what vLLM registered while loading would end the engine behind our back.
        atexit.unregister(release)
        atexit.register(release)
        return engine


def release() -> None:
    """End the engine that is loaded, if there is one; done at the end of the process in any case."""
    with _lock:
        _release_all()


def engine_arguments(settings: LlmSettings) -> dict[str, Any]:
    """The arguments of `vllm.AsyncEngineArgs` for a profile; `llm.vllm.extra` has the last word.

    Raises:
        ProfileError: an argument in `llm.vllm.extra` that this vLLM does not have.
    """
    from vllm import AsyncEngineArgs

    vllm = settings.vllm
    known = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    for name in vllm.extra:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ProfileError(f"llm.vllm.extra: vLLM has no engine argument {name!r}{hint}")
    arguments = {
        "model": str(locate_weights(settings)),
        "served_model_name": settings.model,
        "dtype": vllm.dtype,
        "quantization": vllm.quantization,
        "max_model_len": vllm.max_model_len,
        "gpu_memory_utilization": vllm.gpu_memory_utilization,
        "tensor_parallel_size": vllm.tensor_parallel_size,
        "data_parallel_size": vllm.data_parallel_size,
        # Prompts share their beginning (the instructions come first, the document last).
        "enable_prefix_caching": True,
        "disable_log_stats": True,
    }
    return arguments | vllm.extra


def first_line(error: BaseException) -> str:
    """The first line of a message, shortened."""
    lines = str(error).strip().splitlines()
    return " ".join(lines[0].split())[:MESSAGE_CHARS] if lines else type(error).__name__


def _identity(settings: LlmSettings) -> str:
    return f"{settings.model} {settings.vllm.model_dump_json()}"


def _release_all() -> None:
    while _loaded:
        _, engine = _loaded.popitem()
        engine.shut_down()
