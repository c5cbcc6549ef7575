"""Profiles: one TOML file sets every knob, typed and validated.

A profile may extend another (`extends = "mpersonas"`); what it does not set, it inherits. Unknown
keys are errors that name the nearest known one, because a misspelt threshold that silently keeps
its default spoils a whole run.
"""

import difflib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from persona_assets.errors import ProfileError
from persona_assets.identity import digest

PROFILES_FOLDER = Path(__file__).parent / "profiles"
DEFAULT_PROFILE = "demo"

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Detail = Literal["phrase", "sentence", "paragraph"]
ConversationType = Literal["general", "reasoning"]


class Knobs(BaseModel):
    """A group of settings; frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SeedSettings(Knobs):
    """Which documents are read and which of them are taken."""

    documents: str = Field(
        "samples",
        description='"samples" (bundled), "fineweb" (FineWeb2, FineWeb for English), or a path, glob or '
        "hf:// address of Parquet or JSONL files; {lang}, {iso639_3} and {script} are replaced",
    )
    limit: Positive = Field(1000, description="documents to take per language")
    min_chars: Count = Field(100, description="shorter documents are rejected")
    max_chars: Positive = Field(20_000, description="longer documents are rejected")
    min_language_score: Share = Field(0.0, description="of the corpus' own language score, where it has one")
    max_cluster_size: Positive | None = Field(
        None, description="reject documents of larger MinHash clusters (boilerplate), where the corpus says"
    )
    per_domain: Positive | None = Field(None, description="at most this many documents of one web domain")
    sample_share: Share = Field(1.0, description="take a deterministic sample of this share of the documents")
    sample_seed: int = Field(0, description="another seed, another sample")


class PriceSettings(Knobs):
    """Prices per million tokens, in whatever currency the budget is in."""

    input: Annotated[float, Field(ge=0)]
    cached_input: Annotated[float, Field(ge=0)] | None = Field(None, description="default: as `input`")
    output: Annotated[float, Field(ge=0)]


class BudgetSettings(Knobs):
    """What a run may spend at most, retries included; a run that reaches a limit stops and can be resumed.

    Every run starts from zero, and answers that are in the ledger cost nothing.
    """

    max_cost: Annotated[float, Field(gt=0)] | None = Field(None, description="in the currency of the prices")
    max_tokens: Positive | None = Field(None, description="of prompts and answers together")
    max_requests: Positive | None = None
    language_max_cost: Annotated[float, Field(gt=0)] | None = Field(None, description="of each language")
    language_max_tokens: Positive | None = None
    language_max_requests: Positive | None = None


class VllmSettings(Knobs):
    """vLLM in this process (engine = "vllm"); the names are those of vLLM's engine arguments."""

    path: str | None = Field(
        None, description="folder or hub name of the weights; default: llm.model, which names the model in the ledger"
    )
    revision: str | None = Field(None, description="hub revision of the weights")
    dtype: str = "auto"
    quantization: str | None = Field(None, description="default: what the model's configuration says")
    max_model_len: Positive | None = Field(None, description="tokens of prompt and answer; default: the model's own")
    gpu_memory_utilization: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        0.9, description="share of each GPU's memory; leave room where the embedding model uses the same GPU"
    )
    tensor_parallel_size: Positive = Field(1, description="GPUs that share each copy of the model")
    data_parallel_size: Positive = Field(1, description="copies of the model")
    chat_template_kwargs: dict[str, Any] = Field(
        default_factory=dict, description="for the chat template, such as {enable_thinking = false}"
    )
    max_string_chars: Positive = Field(
        8000, description="bound of strings in structured output that the schema leaves unbounded"
    )
    max_array_items: Positive = Field(
        64, description="bound of arrays in structured output that the schema leaves unbounded"
    )
    extra: dict[str, Any] = Field(default_factory=dict, description="any further engine arguments, as vLLM names them")


class BatchSettings(Knobs):
    """The provider's batch API (engine = "openai_batch"): within a day, for less money."""

    max_requests: Annotated[int, Field(ge=1, le=50_000)] = Field(50_000, description="requests of one batch")
    max_megabytes: Annotated[float, Field(gt=0.0, le=200.0)] = Field(
        190.0, description="size of one input file, in millions of bytes"
    )
    poll_s: Annotated[float, Field(gt=0)] = Field(10.0, description="first pause between looks at a batch")
    longest_poll_s: Annotated[float, Field(gt=0)] = Field(300.0, description="the pause grows up to this")
    max_rounds: Positive = Field(
        3, description="batches that one request goes through, where they expire, before it is recorded as failed"
    )
    price_factor: Share = Field(0.5, description="share of the price per token that a batch costs, for cost reports")


class LlmSettings(Knobs):
    """The model, where it answers, and how it is asked. The key comes only from the environment."""

    engine: Literal["openai", "openai_batch", "vllm", "replay"] = Field(
        "openai",
        description='"openai": any OpenAI-compatible endpoint; "openai_batch": its batch API (half price, within a'
        ' day); "vllm": vLLM in this process; "replay": the ledger alone',
    )
    model: str = "gpt-4o-mini"
    base_url: str | None = Field(None, description="default: OPENAI_BASE_URL, else the OpenAI API")
    api_key_variable: str = Field("OPENAI_API_KEY", description="environment variable that holds the key")
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 1.0
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    max_tokens: Positive = Field(2048, description="raising it asks again only for truncated answers")
    structured_output: Literal["json_schema", "json_object", "none"] = Field(
        "json_schema", description='what the endpoint supports; "none" relies on the prompt alone'
    )
    recordings: str | None = Field(
        None,
        description='answer files to import before asking: "samples", or a path in which {lang} is replaced',
    )
    concurrency: Positive = Field(256, description="requests in flight at most; fewer where the endpoint struggles")
    requests_per_minute: Positive | None = Field(None, description="cap on the requests sent")
    tokens_per_minute: Positive | None = Field(None, description="cap on the tokens of prompts and answers together")
    timeout_s: Annotated[float, Field(gt=0)] = 120.0
    max_attempts: Positive = Field(6, description="tries of one request before it is recorded as failed")
    outage_patience_s: Annotated[float, Field(ge=0)] = Field(
        600.0, description="how long an endpoint that has answered before may be down, or refuse everything"
    )
    max_reply_bytes: Positive = Field(16 * 2**20, description="longer HTTP bodies are given up as `body_too_large`")
    reask: bool | None = Field(
        None, description="ask once more, with the error, for a reply that cannot be read; default: if the engine asks"
    )
    price_per_million: PriceSettings | None = Field(
        None, description="prices of tokens: {input = 0.15, cached_input = 0.075, output = 0.6}"
    )
    max_failed_share: Share = Field(
        0.05, description="a stage in which more requests fail keeps the old partition and stops"
    )
    vllm: VllmSettings = VllmSettings()
    batch: BatchSettings = BatchSettings()

    @property
    def reasks(self) -> bool:
        """Whether replies that cannot be read are asked for once more: not by default where nobody is asked."""
        return self.engine != "replay" if self.reask is None else self.reask


class PersonaSettings(Knobs):
    """Text-to-persona: who is likely to read, write, like or dislike this text? (PersonaHub 2.1)."""

    requests_per_document: Positive = 1
    relations: tuple[Literal["read", "write", "like", "dislike"], ...] = ("read", "write", "like", "dislike")
    details: tuple[Detail, ...] = ("phrase", "sentence", "paragraph")


class ExpansionSettings(Knobs):
    """Persona-to-persona: who is in close relationship with this persona? (PersonaHub 2.2)."""

    hops: Annotated[int, Field(ge=0, le=6)] = 1
    parents_per_hop: Count | None = Field(
        None, description="personas of the last hop to expand, sampled by content; default: all"
    )
    requests_per_parent: Positive = 1
    relations: tuple[Literal["family", "work", "care", "community", "opponent", "unseen"], ...] = (
        "family",
        "work",
        "care",
        "community",
        "opponent",
        "unseen",
    )
    details: tuple[Detail, ...] = ("phrase", "sentence", "paragraph")
    parent_min_language_score: Share = Field(
        0.5, description="only personas in their language become parents, so that errors do not multiply"
    )


class FilterSettings(Knobs):
    """What a persona must pass (mPersonas: same language as the seed, score >= 0.5)."""

    language_model: str = Field("glotlid", description='"glotlid", "lid176", or the path of a fastText model')
    language_labels: Literal["glotlid", "lid176"] = Field(
        "glotlid", description="label set of a model given by its path"
    )
    min_language_score: Share = 0.5
    min_chars: Count = 10
    max_chars: Positive = 4000


class DedupSettings(Knobs):
    """Near-duplicates within one language (mPersonas: MinHash 0.7 / 128 / 1-gram, LaBSE cosine 0.85)."""

    permutations: Positive = 128
    jaccard: Share = 0.7
    jaccard_floor: Share = Field(0.5, description="edges are stored down to here, for a later re-cut")
    recall: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.99, description="probability that a pair at the threshold becomes a candidate"
    )
    embedder: str = Field("labse", description='"labse", "lexical", or a sentence-transformers path or hub name')
    revision: str | None = Field(None, description="hub revision of the embedding model; LaBSE is pinned")
    cosine: Share = 0.85
    cosine_floor: Share = 0.75
    twin_cosine: Share = Field(0.85, description="personas of two languages at least this alike are twins")


class ConversationSettings(Knobs):
    """Conversations driven by each kept persona."""

    per_persona: Positive = 1
    reasoning_share: Share = Field(0.5, description="share of type `reasoning`, the rest is `general`")
    exchanges: tuple[Annotated[int, Field(ge=1, le=4)], ...] = Field(
        (1, 2, 3), description="numbers of user-assistant pairs, drawn evenly"
    )
    min_language_score: Share = 0.5


class Profile(Knobs):
    """Every knob of a run."""

    name: str
    languages: tuple[str, ...] = Field((), description="languages run by default; empty: all")
    prompts: str | None = Field(None, description="folder of your own prompt packs; default: the bundled ones")
    seeds: SeedSettings = SeedSettings()
    llm: LlmSettings = LlmSettings()
    budget: BudgetSettings = BudgetSettings()
    personas: PersonaSettings = PersonaSettings()
    expansion: ExpansionSettings = ExpansionSettings()
    filters: FilterSettings = FilterSettings()
    dedup: DedupSettings = DedupSettings()
    conversations: ConversationSettings = ConversationSettings()

    def packs_folder(self, bundled: Path) -> Path:
        """The folder of the prompt packs: the profile's own, else the bundled one."""
        return Path(self.prompts).expanduser() if self.prompts else bundled

    def fingerprint(self, *keys: str) -> str:
        """Hash the named knobs or groups of knobs (dotted; everything by default), as 16 hex digits."""
        everything = self.model_dump(mode="json")
        chosen = {key: _pick(everything, key) for key in keys} if keys else everything
        return digest(json.dumps(chosen, sort_keys=True))


def _pick(values: Mapping[str, Any], key: str) -> object:
    picked: Any = values
    for step in key.split("."):
        picked = picked[step]
    return picked


def available_profiles() -> list[str]:
    """Names of the bundled profiles."""
    return sorted(path.stem for path in PROFILES_FOLDER.glob("*.toml"))


def load_profile(name_or_path: str, overrides: Mapping[str, object] | None = None) -> Profile:
    """Load a bundled profile by name, or a user's own by path, with dotted overrides on top.

    Args:
        name_or_path: `mpersonas`, or `my/profile.toml`.
        overrides: values by dotted key, such as `{"seeds.limit": 10}`.

    Raises:
        ProfileError: no such profile, not TOML, an unknown key, or a value of the wrong type.
    """
    values = _read(name_or_path, seen=())
    for key, value in (overrides or {}).items():
        *groups, knob = key.split(".")
        target = values
        for group in groups:
            target = cast("dict[str, Any]", target.setdefault(group, {}))
        target[knob] = value
    return _validate(values, where=f"profile {name_or_path!r}")


def _read(name_or_path: str, *, seen: tuple[str, ...]) -> dict[str, Any]:
    if name_or_path in seen:
        raise ProfileError(f"profiles extend each other in a circle: {' -> '.join([*seen, name_or_path])}")
    path = _locate(name_or_path, beside=Path(seen[-1]).parent if seen else None)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"profile {path} is not valid TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise ProfileError(f"profile {path} is not UTF-8 text: {error}") from error
    base = values.pop("extends", None)
    values.setdefault("name", path.stem)
    if base is None:
        return values
    return _merge(_read(str(base), seen=(*seen, str(path))), values)


def _locate(name_or_path: str, *, beside: Path | None) -> Path:
    bundled = PROFILES_FOLDER / f"{name_or_path}.toml"
    if bundled.is_file():
        return bundled
    for candidate in (Path(name_or_path), *([beside / name_or_path] if beside else [])):
        if candidate.is_file():
            return candidate
    known = available_profiles()
    near = difflib.get_close_matches(name_or_path, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ProfileError(
        f"no profile {name_or_path!r}: {hint}bundled are {', '.join(known)}; a file of your own is given by path"
    )


def _merge(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _validate(values: dict[str, Any], *, where: str) -> Profile:
    try:
        profile = Profile.model_validate(values)
    except ValidationError as error:
        raise ProfileError(f"{where}: {_first_fault(error)}") from None
    dedup = profile.dedup
    if dedup.jaccard_floor > dedup.jaccard or dedup.cosine_floor > dedup.cosine:
        raise ProfileError(f"{where}: a dedup floor lies above its threshold")
    if profile.llm.price_per_million is None and (profile.budget.max_cost or profile.budget.language_max_cost):
        raise ProfileError(f"{where}: a limit on the cost needs prices: set llm.price_per_million")
    if profile.seeds.min_chars > profile.seeds.max_chars:
        raise ProfileError(f"{where}: seeds.min_chars is larger than seeds.max_chars")
    return profile


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] != "extra_forbidden":
        return f"{place}: {fault['msg'].lower()} (got {fault['input']!r})"
    near = difflib.get_close_matches(place, known_keys(), n=1, cutoff=0.4)
    return f"unknown key {place!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def known_keys() -> list[str]:
    """Every dotted key a profile may set."""
    return ["extends", *_keys_of(Profile)]


def _keys_of(group: type[Knobs]) -> list[str]:
    keys: list[str] = []
    for name, field in group.model_fields.items():
        keys.append(name)
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Knobs):
            keys += [f"{name}.{key}" for key in _keys_of(kind)]
    return keys
