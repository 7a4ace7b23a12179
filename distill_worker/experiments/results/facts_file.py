"""Reads what `distill-worker compare --json` printed."""

import json
from pathlib import Path
from typing import Any, Final

from distill_worker.errors import ConfigError

_NEEDED: Final = {"method": str, "n": int, "seed": int, "accuracy": float | int}
"""What each result has, with its type."""


def read_facts(path: Path) -> dict[str, Any]:
    """The facts of a comparison; see `run_comparison`. Raises `ConfigError` if the file has something else."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the results ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: {_EXPECTED}, got no JSON") from error
    results = facts.get("results") if isinstance(facts, dict) else None
    if not isinstance(results, list) or not results or not all(map(_is_result, results)):
        raise ConfigError(f"{path}: {_EXPECTED}, got JSON without such results")
    return dict(facts)


_EXPECTED: Final = "expected what distill-worker compare --json printed"


def _is_result(result: Any) -> bool:
    return isinstance(result, dict) and all(isinstance(result.get(name), kind) for name, kind in _NEEDED.items())
