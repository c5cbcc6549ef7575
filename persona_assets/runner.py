"""Runs the asset graph for languages, one Dagster run each, without daemon or web UI."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dagster import AssetKey, AssetSelection, DagsterError, DagsterInstance, Definitions
from dagster._core.instance.ref import InstanceRef

from persona_assets.assets.results import OPTIONAL_TAG
from persona_assets.definitions import build_definitions
from persona_assets.errors import BudgetReachedError, EndpointError, PersonaAssetsError, StorageError, chain, explain
from persona_assets.home import DEFAULT_HOME, Home
from persona_assets.llm.spending import begin_run
from persona_assets.locks import held
from persona_assets.resources.run_settings import RunSettings

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
# The terminal belongs to the progress line; capturing it to a file would also lose the last words of
# a run whose disk is full.
CAPTURE_NOTHING = {
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
}
SILENT = {"telemetry": {"enabled": False}, "nux": {"enabled": False}}
INSTANCE_WAIT_S = 60.0
# What will fail the same way for every language: going on would only repeat the message.
FATAL = (EndpointError, StorageError)


class SelectionError(PersonaAssetsError):
    """A selection that names no asset."""


class RunFailedError(PersonaAssetsError):
    """A run that failed for a reason that is not the user's to mend directly, such as a failed check."""


@dataclass(frozen=True)
class LanguageRun:
    """How the run of one language ended; `error` is None when it succeeded."""

    lang: str
    run_id: str | None
    error: PersonaAssetsError | None


@contextmanager
def dagster_instance(home: Home) -> Iterator[DagsterInstance]:
    """Open the Dagster instance whose history the web UI shows for this home.

    DAGSTER_HOME wins; else the `dagster.yaml` of the current folder counts, if it is about this home.
    """
    if os.environ.get("DAGSTER_HOME"):
        with DagsterInstance.get() as instance:
            yield instance
        return
    home.dagster.mkdir(parents=True, exist_ok=True)
    configured = Path("dagster.yaml").is_file() and home.path == Path(DEFAULT_HOME).resolve()
    if configured:
        reference = InstanceRef.from_dir(str(home.dagster), config_dir=str(Path.cwd()), overrides=CAPTURE_NOTHING)
    else:
        overrides = {**CAPTURE_NOTHING, "storage": {"sqlite": {"base_dir": str(home.dagster)}}, **SILENT}
        reference = InstanceRef.from_dir(str(home.dagster), overrides=overrides)
    # Opening creates and migrates Dagster's SQLite files, which fails when two processes do it at once.
    with held(home.dagster / "instance", timeout_s=INSTANCE_WAIT_S, busy=_history_busy):
        instance = DagsterInstance.from_ref(reference)
    with instance:
        yield instance


def _history_busy(holder: str) -> PersonaAssetsError:
    return RunFailedError(
        f"Dagster's history has been opened by {holder} for {INSTANCE_WAIT_S:g} s: stop it and run again"
    )


def run_languages(
    languages: Sequence[str],
    settings: RunSettings,
    *,
    select: str | None = None,
    on_start: Callable[[str], None] | None = None,
) -> list[LanguageRun]:
    """Materialize the selected assets (all, by default) for each language, one run after the other.

    One language's failure does not stop the others, unless it would be theirs as well.

    Raises:
        SelectionError: `select` names no asset.
        StorageError: the home cannot be written.
    """
    definitions = build_definitions(settings)
    keys = selected_keys(definitions, select)
    begin_run()
    ended: list[LanguageRun] = []
    with dagster_instance(settings.at()) as instance:
        for lang in languages:
            if on_start:
                on_start(lang)
            ended.append(_run(lang, definitions, keys, settings, instance))
            if _concerns_all(ended[-1].error):
                break
    return ended


def _concerns_all(error: PersonaAssetsError | None) -> bool:
    return isinstance(error, FATAL) or (isinstance(error, BudgetReachedError) and error.whole_run)


def selected_keys(definitions: Definitions, select: str | None) -> list[AssetKey]:
    """Resolve a comma-separated selection in Dagster's syntax (`raw_personas+` adds what follows).

    Assets that are made together are selected together; optional ones only where they are named.

    Raises:
        SelectionError: it is not a selection, or names no asset.
    """
    graph = definitions.resolve_asset_graph()
    optional = {key for key in graph.materializable_asset_keys if OPTIONAL_TAG in graph.get(key).tags}
    if select is None:
        return sorted(graph.materializable_asset_keys - optional)
    chosen: set[AssetKey] = set()
    for part in select.split(","):
        try:
            keys = AssetSelection.from_string(part.strip()).resolve(graph)
        except DagsterError:
            keys = frozenset()
        if not keys:
            known = ", ".join(sorted(key.to_user_string() for key in graph.materializable_asset_keys))
            raise SelectionError(f"--select {part!r} names no asset; there are {known}")
        chosen |= {key for key in keys if key not in optional or key.to_user_string() in part}
    together = {sibling for key in chosen for sibling in graph.get(key).execution_set_asset_keys}
    return sorted((chosen | together) & graph.materializable_asset_keys)


def _run(
    lang: str,
    definitions: Definitions,
    keys: Sequence[AssetKey],
    settings: RunSettings,
    instance: DagsterInstance,
) -> LanguageRun:
    job = definitions.resolve_implicit_global_asset_job_def()
    try:
        result = job.execute_in_process(
            instance=instance,
            partition_key=lang,
            asset_selection=list(keys),
            run_config=QUIET,
            tags={"persona_assets/profile": settings.load().name, "persona_assets/language": lang},
        )
    except Exception as error:
        cause = explain(error) or _failed_check(error)
        if cause is None:
            raise
        return LanguageRun(lang, None, cause)
    return LanguageRun(lang, result.run_id, None)


def _failed_check(error: BaseException) -> PersonaAssetsError | None:
    for link in chain(error):
        if type(link).__name__ == "DagsterAssetCheckFailedError":
            return RunFailedError(f"an asset check failed: {str(link).splitlines()[0]}; details are in the web UI")
    return None
