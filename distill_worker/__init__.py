"""Buys a teacher's outputs once, keeps them, and trains students on them.

What this module exports is the Python API (docs/python.md), which stays as it is. A name is imported when it is used,
so that `import distill_worker` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from distill_worker.api.bought import Bought
    from distill_worker.api.buying import buy
    from distill_worker.api.distilling import Report, distill
    from distill_worker.api.loading import Class, Model, load
    from distill_worker.api.objective import Objective
    from distill_worker.errors import (
        CacheError,
        ConfigError,
        DataError,
        PlanRefused,
        QuotaExhausted,
        RunError,
        TeacherError,
        WeightsFileError,
        WorkerError,
    )

__all__ = [
    "Bought",
    "CacheError",
    "Class",
    "ConfigError",
    "DataError",
    "Model",
    "Objective",
    "PlanRefused",
    "QuotaExhausted",
    "Report",
    "RunError",
    "TeacherError",
    "WeightsFileError",
    "WorkerError",
    "buy",
    "distill",
    "load",
]

_PLACES: Final = {
    "Bought": "api.bought",
    "buy": "api.buying",
    "Report": "api.distilling",
    "distill": "api.distilling",
    "Class": "api.loading",
    "Model": "api.loading",
    "load": "api.loading",
    "Objective": "api.objective",
}
"""The module of each name; that of an error is `errors`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
