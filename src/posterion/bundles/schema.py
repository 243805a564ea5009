"""The part of JSON Schema that the card's schema uses: const, type, required, properties, items."""

from typing import Any

__all__ = ["violations"]

_TYPES: dict[str, tuple[type, ...]] = {
    "array": (list,),
    "boolean": (bool,),
    "integer": (int,),
    "null": (type(None),),
    "number": (int, float),
    "object": (dict,),
    "string": (str,),
}


def violations(value: Any, schema: dict[str, Any], path: str = "") -> list[str]:
    """List where ``value`` breaks ``schema``, each as one short sentence; empty if nowhere.

    >>> violations({"n": "1"}, {"required": ["m"], "properties": {"n": {"type": "integer"}}})
    ["'m' is missing", 'n is not of type integer']
    """
    here = path or "the card"
    if "const" in schema and value != schema["const"]:
        return [f"{here} is not {schema['const']!r}"]
    allowed = schema.get("type", [])
    allowed = [allowed] if isinstance(allowed, str) else allowed
    if allowed and not any(_is(value, name) for name in allowed):
        return [f"{here} is not of type {' or '.join(allowed)}"]
    if isinstance(value, (int, float)) and value < schema.get("minimum", value):
        return [f"{here} is below {schema['minimum']}"]
    found = []
    if isinstance(value, dict):
        prefix = f"{path}." if path else ""
        missing = [key for key in schema.get("required", []) if key not in value]
        found += [f"{prefix}{key!r} is missing" for key in missing]
        for key, inner in schema.get("properties", {}).items():
            if key in value:
                found += violations(value[key], inner, f"{prefix}{key}")
    if isinstance(value, list) and "items" in schema:
        for i, item in enumerate(value):
            found += violations(item, schema["items"], f"{path}[{i}]")
    return found


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES[name])
