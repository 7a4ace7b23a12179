"""What is told instead of logits, against sums written out."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from teacher_service.inference.derived_outputs import DERIVED, derive
from teacher_service.policy.output_policy import OutputPolicy

ALL = OutputPolicy.parse("log_probabilities,probabilities,top_k:3,label")
LOGITS = np.array([[1.0, 3.0, 2.0, 3.0], [0.0, 0.0, 0.0, 0.0]], np.float32)


def test_each_kind_by_hand() -> None:
    """Softmax of (1, 3, 2, 3), term by term; the first of equal logits wins."""
    total = sum(math.exp(value) for value in (1, 3, 2, 3))
    row = [math.exp(value) / total for value in (1, 3, 2, 3)]
    found = derive(LOGITS, tuple(DERIVED), ALL)
    assert found.keys() == DERIVED
    np.testing.assert_allclose(found["probabilities"], [row, [0.25] * 4], rtol=1e-6)
    np.testing.assert_allclose(found["log_probabilities"][0], [math.log(value) for value in row], rtol=1e-6)
    np.testing.assert_array_equal(found["label"], [1, 0])
    np.testing.assert_array_equal(found["top_k_indices"], [[1, 3, 2], [0, 1, 2]])
    np.testing.assert_allclose(found["top_k"][0], [row[1], row[3], row[2]], rtol=1e-6)
    types = {name: values.dtype.name for name, values in found.items()}
    assert types == {
        "probabilities": "float32",
        "log_probabilities": "float32",
        "top_k": "float32",
        "label": "int64",
        "top_k_indices": "int64",
    }


def test_digits_are_those_of_the_policy() -> None:
    policy = OutputPolicy.parse("probabilities:1,top_k:9:0")
    found = derive(LOGITS, ("probabilities", "top_k", "logits"), policy)
    np.testing.assert_array_equal(found["probabilities"], np.array([[0.1, 0.4, 0.1, 0.4], [0.2] * 4], np.float32))
    np.testing.assert_array_equal(found["top_k"], np.zeros((2, 4)))
    assert found.keys() == {"probabilities", "top_k"}


@pytest.mark.filterwarnings("error")
@given(arrays(np.float32, (3, 5), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_largest_logits_neither_overflow_nor_lose_the_label(logits: NDArray[np.float32]) -> None:
    found = derive(logits, tuple(DERIVED), ALL)
    assert np.isfinite(found["probabilities"]).all()
    assert np.isfinite(found["log_probabilities"]).all()
    np.testing.assert_array_equal(found["label"], found["top_k_indices"][:, 0])
    np.testing.assert_array_equal(found["label"], logits.argmax(axis=1))
