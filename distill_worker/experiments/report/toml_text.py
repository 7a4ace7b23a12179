"""A configuration as the text of a TOML file."""

import json
from collections.abc import Iterator, Mapping
from typing import Any


def toml(values: Mapping[str, Any]) -> str:
    """The TOML of JSON-able values. TOML has no null: keys without a value are left out."""
    return "\n".join(_table(values, ())).strip() + "\n"


def _table(values: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    stated = {key: value for key, value in values.items() if value is not None}
    for key, value in stated.items():
        if not isinstance(value, Mapping) and not _is_tables(value):
            yield f"{_key(key)} = {_value(value)}"
    for key, value in stated.items():
        name = ".".join(map(_key, (*path, key)))
        if isinstance(value, Mapping):
            yield from ("", f"[{name}]", *_table(value, (*path, key)))
        elif _is_tables(value):
            for one in value:
                yield from ("", f"[[{name}]]", *_table(one, (*path, key)))


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) for one in value)


def _key(key: str) -> str:
    return key if key.isascii() and key.replace("_", "").replace("-", "").isalnum() else _value(key)


def _value(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_value(one) for one in value if one is not None)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(key)} = {_value(one)}' for key, one in value.items() if one is not None)}}}"
    if isinstance(value, float):
        return repr(value)  # `inf` and `nan` too
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
