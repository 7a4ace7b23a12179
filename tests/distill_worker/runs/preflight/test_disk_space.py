"""The space that a cache takes is less than what is asked for before a purchase."""

from pathlib import Path

import numpy as np
import pytest

from distill_worker.cache import Cache
from distill_worker.cache.raw_answers import RawAnswer
from distill_worker.runs.preflight.disk_space import space_for
from tests.distill_worker.purchases import intend


@pytest.mark.parametrize(("samples", "values", "request_size"), [(30, 10, 1), (200, 10, 1), (2000, 100, 64)])
@pytest.mark.parametrize("is_read", [True, False])
def test_cache_fits_in_its_space(samples: int, values: int, request_size: int, is_read: bool, tmp_path: Path) -> None:
    """With its log, before it is closed; answers that cannot be read are kept as their text."""
    keys = [number.to_bytes(32, "big") for number in range(samples)]
    outputs = np.random.default_rng(0).normal(size=(samples, values)).astype(np.float32)
    with Cache(tmp_path / "cache.sqlite") as cache:
        stream = cache.order("t", ["logits"])
        for start in range(0, samples, request_size):
            part = slice(start, start + request_size)
            purchase = intend(cache, stream, keys[part], payer="alice")
            if is_read:
                cache.complete(purchase, {"logits": outputs[part]})
            else:
                cache.keep(purchase, RawAnswer(repr(outputs[part].tolist()).encode(), {}, "t", "t"), reason="no JSON")
        taken = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert taken <= space_for(samples=samples, values=samples * values)
