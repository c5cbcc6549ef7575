"""Bounds for structured output: a model that rambles inside a string must still come to its end."""

from collections.abc import Mapping
from typing import Any

# A string that is already confined to some form must not get a second, conflicting limit.
_CONFINED = {"maxLength", "enum", "const", "pattern", "format"}


def bounded(schema: Mapping[str, Any], *, max_chars: int, max_items: int) -> dict[str, Any]:
    """Copy a JSON schema and bound every string and array that it leaves unbounded.

    Args:
        schema: the schema of the request, which stays as it is: the answer key hashes it.
        max_chars: `maxLength` of strings, in characters.
        max_items: `maxItems` of arrays.
    """

    def copied(node: Any) -> Any:
        if isinstance(node, list):
            return [copied(item) for item in node]
        if not isinstance(node, Mapping):
            return node
        copy = {key: copied_value(key, value) for key, value in node.items()}
        kinds = node.get("type")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if "string" in kinds and not _CONFINED & node.keys():
            copy["maxLength"] = max(max_chars, node.get("minLength", 0))
        if "array" in kinds and "maxItems" not in node:
            copy["maxItems"] = max(max_items, node.get("minItems", 0))
        return copy

    def copied_value(key: str, value: Any) -> Any:
        # Names of properties may be those of keywords ("type"), and examples are data, not schemas.
        if key in ("properties", "$defs", "definitions", "patternProperties") and isinstance(value, Mapping):
            return {name: copied(inner) for name, inner in value.items()}
        return value if key in ("enum", "const", "default", "examples") else copied(value)

    result: dict[str, Any] = copied(schema)
    return result
