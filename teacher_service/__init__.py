"""A model's logits behind a call quota, every query logged, over the Open Inference Protocol.

with teacher_service.serve(model, class_names=names, preprocessing="imagenet", quota=500) as teacher: ...
"""

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from teacher_service.app.in_process import RunningService, serve
    from teacher_service.models.packing.preprocessing import Preprocessing

__all__ = ["Preprocessing", "RunningService", "serve"]

_PLACES: Final = {
    "Preprocessing": "teacher_service.models.packing.preprocessing",
    "RunningService": "teacher_service.app.in_process",
    "serve": "teacher_service.app.in_process",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is used: PyTorch and the web framework take seconds, and the command needs them rarely."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
