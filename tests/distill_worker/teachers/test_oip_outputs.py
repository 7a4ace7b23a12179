"""Tensors of an answer as the kinds that are kept, and those that are not what they are called."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from distill_worker.teachers.oip_outputs import read

FLOATS = np.array([[0.5, 0.25], [0.75, 0.125]], np.float32)
CLASSES = np.array([[2, 0], [1, 2]], np.int64)


def _read(kind: str, shape: tuple[int, ...] | None = None, **tensors: Any) -> list[Any]:
    found: list[Any] = read(kind, tensors, "logits", samples=2, shape=shape, classes=3).tolist()
    return found


def test_top_k_is_pairs_of_class_and_probability() -> None:
    pairs = [[[2, 0.5], [0, 0.25]], [[1, 0.75], [2, 0.125]]]
    assert _read("top_k:2", (2, 2), top_k=FLOATS, top_k_indices=CLASSES) == pairs
    assert _read("top_k:2:3", None, top_k=FLOATS, top_k_indices=CLASSES.astype(np.int32)) == pairs


def test_top_k_comes_largest_first_whatever_the_server_does() -> None:
    backwards = {"top_k": FLOATS[:, ::-1], "top_k_indices": CLASSES[:, ::-1]}
    assert _read("top_k:2", (2, 2), **backwards) == [[[2, 0.5], [0, 0.25]], [[1, 0.75], [2, 0.125]]]


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.float32])
@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_label_is_one_class_a_sample_in_any_datatype(dtype: type, shape: tuple[int, ...]) -> None:
    assert _read("label", (1,), label=np.array([2, 0], dtype).reshape(shape)) == [[2], [0]]


@pytest.mark.parametrize(
    ("kind", "shape", "tensors"),
    [
        ("label", (1,), {"label": np.array([0, 3])}),
        ("label", (1,), {"label": np.array([0, -1])}),
        ("label", (1,), {"label": np.array([0.5, 1])}),
        ("label", (1,), {"label": np.array([np.nan, 1])}),
        ("label", (1,), {"label": np.array([0, 1, 2, 0])}),
        ("label", (1,), {"label": np.array(1)}),
        ("label", (1,), {"label": np.array([b"cat", b"dog"], object)}),
        ("probabilities", (3,), {"probabilities": np.array([[0.5, 0.5, 0], [2, -1, 0]])}),
        ("probabilities", (3,), {"probabilities": np.array([[0.5, 0.5, 0], [np.nan, 1, 0]])}),
        ("probabilities", (3,), {"probabilities": np.array([[1, 0, 0], [0, 1, 0]])}),
        ("top_k:2", (2, 2), {"top_k": FLOATS, "top_k_indices": CLASSES[:, :1]}),
        ("top_k:2", (2, 2), {"top_k": FLOATS, "top_k_indices": np.array([[1, 1], [0, 2]])}),
        ("top_k:2", (2, 2), {"top_k": FLOATS, "top_k_indices": CLASSES + 1}),
        ("top_k:2", (2, 2), {"top_k": 3 * FLOATS, "top_k_indices": CLASSES}),
        ("top_k:1", (1, 2), {"top_k": FLOATS, "top_k_indices": CLASSES}),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else "",
)
def test_tensors_that_are_not_what_they_are_called_are_refused(
    kind: str, shape: tuple[int, ...], tensors: Mapping[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read(kind, tensors, "logits", samples=2, shape=shape, classes=3)


def test_half_of_top_k_is_not_enough() -> None:
    with pytest.raises(ValueError, match="top_k_indices"):
        _read("top_k:2", (2, 2), top_k=FLOATS)
