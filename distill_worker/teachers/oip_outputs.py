"""Output kinds in the Open Inference Protocol: their tensors, which kinds a model sells, and their values."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from distill_worker.errors import counted
from shared.output_kinds import (
    FEATURES,
    LABEL,
    LOG_PROBABILITIES,
    LOGITS,
    PROBABILITIES,
    TOP_K,
    OutputKind,
)
from shared.output_kinds.sums import sums_may_be_off_by

TOP_K_INDICES: Final = "top_k_indices"

_FLOATING: Final = frozenset({"FP16", "FP32", "FP64"})
_WHOLE: Final = frozenset({"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"})
_ONE_NUMBER_A_CLASS: Final = (LOGITS, LOG_PROBABILITIES, PROBABILITIES)
_ROUNDING: Final = 1e-3
"""How far outside 0 and 1 a probability may be: FP16 has three digits."""


def tensor_names(kind: str, logits_name: str) -> tuple[str, ...]:
    """The tensors that hold a kind."""
    name = kind if kind.startswith(FEATURES) else kind.partition(":")[0]
    if name == TOP_K:
        return TOP_K, TOP_K_INDICES
    return (logits_name if name == LOGITS else name,)


def number_of_classes(tensors: Sequence[Mapping[str, Any]], logits_name: str) -> int | None:
    """The number of classes in the metadata of a model's outputs, or None."""
    by_name = {str(tensor["name"]): tensor for tensor in tensors}
    for name in (logits_name, LOG_PROBABILITIES, PROBABILITIES):
        shape = _sample_shape(by_name.get(name, {}), _FLOATING)
        if shape is not None and len(shape) == 1:
            return shape[0]
    return None


def class_names(stated: object) -> tuple[str, ...] | None:
    """The class names that a model's metadata state, however many; None if they are no list of texts, or empty."""
    if not stated or not isinstance(stated, list) or not all(isinstance(name, str) for name in stated):
        return None
    return tuple(stated)


def available(
    tensors: Sequence[Mapping[str, Any]], logits_name: str, num_classes: int, policy: str | None
) -> dict[str, tuple[int, ...]]:
    """The shape of one sample's output by kind, of all kinds that a model sells.

    Args:
        tensors: the metadata of its outputs.
        logits_name: the name of its logits.
        num_classes: the number of classes.
        policy: the kinds that the account has access to, separated by commas, if the server states them; `features`
            means those of every layer.
    """
    whole = dict(_whole(tensors, logits_name, num_classes))
    if policy is None:
        return whole | _static_top_k(tensors, num_classes)
    names = {str(tensor["name"]) for tensor in tensors}
    allowed_shapes: dict[str, tuple[int, ...]] = {}
    for entry in (part.strip() for part in policy.split(",")):
        if entry.startswith("features"):
            allowed_shapes |= {kind: shape for kind, shape in whole.items() if _covers(entry, kind)}
            continue
        try:
            allowed = OutputKind.parse(entry)
        except ValueError:
            continue  # a kind of a later version
        if names.issuperset(tensor_names(entry, logits_name)):
            allowed_shapes[str(allowed)] = allowed.shape(num_classes)
    return allowed_shapes


def read(
    kind: str,
    tensors: Mapping[str, NDArray[Any]],
    logits_name: str,
    samples: int,
    shape: tuple[int, ...] | None,
    classes: int,
) -> NDArray[np.float32]:
    """A kind from the tensors of an answer, as float32 `[samples, *shape]`; of any shape if `shape` is None.

    Raises:
        ValueError: a tensor is absent, or the tensors hold something else; the message says what.
    """
    names = tensor_names(kind, logits_name)
    for name in names:
        if name not in tensors:
            raise ValueError(f"expected the output {name!r} in the answer, got none")
    try:
        return _values(kind, [tensors[name] for name in names], samples, shape, classes)
    except (ValueError, TypeError) as error:
        expected = [samples, *(["..."] if shape is None else shape)]
        raise ValueError(f"expected finite {kind} of shape {expected}, got {error}") from error


def _values(
    kind: str, values: list[NDArray[Any]], samples: int, shape: tuple[int, ...] | None, classes: int
) -> NDArray[np.float32]:
    name = kind.partition(":")[0]
    if name == TOP_K:
        largest, indices = values
        _check_classes(indices, classes)
        if largest.shape != indices.shape:
            raise ValueError(f"{list(largest.shape)} probabilities and {list(indices.shape)} classes")
        if (np.diff(np.sort(indices.reshape(samples, -1), axis=1), axis=1) == 0).any():
            raise ValueError("one class twice for one sample")
        pairs = np.stack([indices.astype(np.float64), largest.astype(np.float64)], axis=-1)
        order = np.argsort(-pairs[..., 1], axis=1, kind="stable")
        values = [np.take_along_axis(pairs, order[..., None], axis=1)]
        _check_probabilities(largest, kind, whole=largest.shape[1:] == (classes,))
    elif name == LABEL:
        _check_classes(values[0], classes)
        values = [values[0].reshape(samples, -1).astype(np.float64)]
    elif name == PROBABILITIES:
        _check_probabilities(values[0], kind, whole=True)
    (output,) = values
    expected = (samples, *(output.shape[1:] if shape is None else shape))
    if output.dtype.kind != "f" or output.shape != expected:
        raise ValueError(f"{'BYTES' if output.dtype.hasobject else output.dtype} {list(output.shape)}")
    with np.errstate(over="ignore"):
        rounded = output.astype(np.float32)
    if not np.isfinite(rounded).all():
        raise ValueError(_not_finite(output, rounded))
    return rounded


def _not_finite(values: NDArray[Any], rounded: NDArray[np.float32]) -> str:
    """How many values are not finite, by kind, and which is the first; `rounded` are the same values as float32."""
    counts = {
        "NaN": int(np.isnan(values).sum()),
        "infinite": int(np.isinf(values).sum()),
        "too large for float32": int((np.isinf(rounded) & np.isfinite(values)).sum()),
    }
    named = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    first = np.argwhere(~np.isfinite(rounded))[0].tolist()
    return f"{named} of {counted(values.size, 'value')}, the first at {first}"


def _whole(
    tensors: Sequence[Mapping[str, Any]], logits_name: str, num_classes: int
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """All kinds in the metadata but top_k, in full precision."""
    for tensor in tensors:
        name = LOGITS if tensor["name"] == logits_name else str(tensor["name"])
        stated = _with_classes(tensor, num_classes) if name in _ONE_NUMBER_A_CLASS else tensor
        shape = _sample_shape(stated, _WHOLE | _FLOATING if name == LABEL else _FLOATING)
        if shape is None or (name == LOGITS and tensor["name"] != logits_name):
            continue
        if name.startswith(FEATURES) and name != FEATURES:
            yield name, shape
        elif name == LABEL and shape in ((), (1,)):
            yield name, (1,)
        elif name in _ONE_NUMBER_A_CLASS and shape == (num_classes,):
            yield name, shape


def _static_top_k(tensors: Sequence[Mapping[str, Any]], num_classes: int) -> dict[str, tuple[int, ...]]:
    """`top_k`, if the metadata state its number of classes."""
    shapes = {str(tensor["name"]): _sample_shape(tensor, _WHOLE | _FLOATING) for tensor in tensors}
    shape = shapes.get(TOP_K)
    if shape is None or len(shape) != 1 or shapes.get(TOP_K_INDICES) != shape or shape[0] > num_classes:
        return {}
    kind = OutputKind(TOP_K, shape[0])
    return {str(kind): kind.shape(num_classes)}


def _sample_shape(tensor: Mapping[str, Any], datatypes: frozenset[str]) -> tuple[int, ...] | None:
    """The shape of one sample's part, if it is fixed and its values can be stored; otherwise None."""
    shape = tensor.get("shape")
    if tensor.get("datatype", "FP32") not in datatypes or not isinstance(shape, list) or not shape:
        return None
    return tuple(shape[1:]) if all(isinstance(size, int) and size > 0 for size in shape[1:]) else None


def _with_classes(tensor: Mapping[str, Any], num_classes: int) -> Mapping[str, Any]:
    """The metadata of a distribution, with the number of classes where it is left open."""
    match tensor.get("shape"):
        case [samples, -1] if num_classes:
            return {**tensor, "shape": [samples, num_classes]}
    return tensor


def _covers(entry: str, kind: str) -> bool:
    return kind.startswith(FEATURES) and entry in ("features", kind)


def _check_classes(values: NDArray[Any], classes: int) -> None:
    whole = values.dtype.kind in "iu" or (values.dtype.kind == "f" and bool((values == np.floor(values)).all()))
    if not whole or (values.size and (values.min() < 0 or values.max() >= classes)):
        raise ValueError(f"values that are no classes from 0 to {classes - 1}")


def _check_probabilities(values: NDArray[Any], kind: str, *, whole: bool) -> None:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError(_not_finite(values, values))
    if values.dtype.kind != "f" or not ((values >= -_ROUNDING) & (values <= 1 + _ROUNDING)).all():
        raise ValueError("values that are no probabilities")
    if values.ndim != 2 or not values.size:
        return
    sums, off_by = values.astype(np.float64).sum(axis=1), sums_may_be_off_by(OutputKind.parse(kind), values)
    if (sums > 1 + off_by).any() or (whole and (sums < 1 - off_by).any()):
        raise ValueError(f"sums from {sums.min():.6g} to {sums.max():.6g}, where probabilities add up to 1")
