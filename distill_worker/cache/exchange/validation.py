"""Checks of a file of outputs before one of them is added: the file is foreign, and may be wrong or hostile."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from distill_worker.cache.database.schema import KIND_SEPARATOR
from distill_worker.cache.database.storable_text import is_storable
from distill_worker.cache.exchange.formats import Bought
from shared.output_kinds import LOG_PROBABILITIES, LOGITS, PROBABILITIES, OutputKind
from shared.sample_key import KEY_BYTES

_LONGEST_SHAPE = 80
_LONGEST_KIND = 1000
_LAST_TIME = 1e12
"""Largest distance from the epoch, in seconds: such a time can be printed."""


def first_fault(streams: Sequence[Bought]) -> str | None:
    """The first fault, as the text that follows "expected" in an error; None if there is none."""
    for bought in streams:
        if not _is_text(bought.teacher_id) or not bought.teacher_id or not is_storable(bought.teacher_id):
            return f"a teacher's id of up to 200 characters, got {str(bought.teacher_id)[:60]!r}"
        if not _is_kind(bought.kind):
            return f"a kind of output, got {str(bought.kind)[:60]!r}"
        fault = _wrong_outputs(bought) or _wrong_purchases(bought) or _wrong_class_names(bought)
        if fault is not None:
            return f"{fault} among the {bought.kind} of {bought.teacher_id}"
    if len({(bought.teacher_id, bought.kind) for bought in streams}) != len(streams):
        return "each teacher's outputs of one kind once, in one shape"
    return None


def _wrong_outputs(bought: Bought) -> str | None:
    samples, shape, kind = len(bought.sample_keys), bought.shape, OutputKind.parse(bought.kind)
    keys: set[Any] = set(bought.sample_keys)
    if len(keys) != samples or not all(isinstance(key, bytes) and len(key) == KEY_BYTES for key in keys):
        return "sample keys of 32 bytes, each once"
    if not shape or min(shape) < 1 or len(",".join(map(str, shape))) > _LONGEST_SHAPE:
        return f"a shape of sizes from 1, got {str(list(shape))[:60]}"
    if bought.values.shape != (samples, math.prod(shape)):
        return "an output for each sample"
    if not kind.is_features and shape != kind.shape(shape[0]):
        return f"an output's shape, got {list(shape)}"
    return None if np.isfinite(bought.values).all() else "finite outputs"


def _wrong_purchases(bought: Bought) -> str | None:
    whose, purchases = bought.purchase, bought.purchases
    if whose.shape != (len(bought.sample_keys),) or whose.dtype.kind not in "iu":
        return "a purchase for each sample"
    if not ((whose >= 0) & (whose < len(purchases))).all():
        return "a purchase for each sample"
    for purchase in purchases:
        for name in ("idempotency_key", "query_id", "model_version"):
            if purchase[name] is not None and not _is_text(purchase[name]):
                return f"a text or nothing as {name}"
        if not _is_time(purchase["created_at"]):
            return "a time as created_at"
        if purchase["finished_at"] is not None and not _is_time(purchase["finished_at"]):
            return "a time or nothing as finished_at"
    return None


def _wrong_class_names(bought: Bought) -> str | None:
    names = bought.class_names
    if names is None:
        return None
    is_whole = OutputKind.parse(bought.kind).name in (LOGITS, LOG_PROBABILITIES, PROBABILITIES)
    if not all(map(_is_text, names)) or (is_whole and len(names) != bought.shape[0]):
        return f"a class name for each class, got {len(names)} names"
    return None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_kind(kind: Any) -> bool:
    if not isinstance(kind, str) or KIND_SEPARATOR in kind or not is_storable(kind, _LONGEST_KIND):
        return False
    try:
        return str(OutputKind.parse(kind)) == kind
    except ValueError:
        return False


def _is_time(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and bool(-_LAST_TIME < value < _LAST_TIME)
