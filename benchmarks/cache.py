"""What the store of bought outputs costs: 50,000 outputs of 100 classes, kept and found again.

    python -m benchmarks.cache

A warm run goes from the images to a tensor that is aligned with them, and asks no teacher. Beside it, in the same
rounds: loading the same array with numpy, and hashing the images, which no way of keeping outputs by sample can spare.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import record
from distill_worker.buying.known_teachers import load_description, save_description
from distill_worker.buying.order import claims_on
from distill_worker.buying.planning import plan_of_cached
from distill_worker.cache import Cache
from distill_worker.config.teacher_address import OpenInferenceAddress
from distill_worker.runs.sampling.targets import load_targets
from distill_worker.teachers.base import Description
from shared.sample_key import sample_keys

SAMPLES, CLASSES, REQUEST_SIZE, ROUNDS = 50_000, 100, 32, 9
TEACHER = Description("teacher", (3, 32, 32), CLASSES, None, {"logits": (CLASSES,)})
ADDRESS = OpenInferenceAddress()


def keep(place: Path, rows: Mapping[bytes, NDArray[np.float32]]) -> float:
    """Write every purchase down and then its outputs, as a worker with 16 requests in flight does; seconds."""
    with Cache(place) as cache, cache.buying() as buyer:
        save_description(cache, ADDRESS, "", TEACHER)
        claims = claims_on(cache, TEACHER, ("logits",), tuple(rows), payer="", request_size=REQUEST_SIZE)
        started = perf_counter()
        while purchases := cache.claim(claims, buyer, 16):
            for purchase in purchases:
                cache.complete(purchase, {"logits": np.stack([rows[key] for key in purchase.sample_keys])})
        return perf_counter() - started


def find(place: Path, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """From images to their outputs: what a run does where all is held."""
    keys = sample_keys(images)
    with Cache(place) as cache:
        known = load_description(cache, ADDRESS, "")
        assert known is not None, "the teacher was met"
        plan = plan_of_cached(known[0], cache, keys, kinds=("logits",))
        assert plan is not None, "everything is held"
        return load_targets(cache, plan.teacher_id, keys, plan.kinds)["logits"].numpy()


def main() -> None:
    """Measure, print and record."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (SAMPLES, 3, 32, 32), dtype=np.uint8)
    outputs = random.standard_normal((SAMPLES, CLASSES)).astype(np.float32)
    rows = dict(zip(sample_keys(images), outputs, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        array = Path(folder) / "outputs.npy"
        np.save(array, outputs)
        seconds = []
        for attempt in range(3):
            place = Path(folder) / f"cache-{attempt}.sqlite"
            seconds.append(keep(place, rows))
        record("cache", "keeping_50000_outputs", seconds, unit="s", better="lower", target=5.0)
        size = place.stat().st_size
        record(
            "cache",
            "file_vs_keys_and_outputs",
            [size / (outputs.nbytes + 32 * SAMPLES)],
            unit="ratio",
            better="lower",
            target=1.10,
        )
        record("cache", "file_vs_outputs_alone", [size / outputs.nbytes], unit="ratio", better="lower", target=1.10)
        ratios, warm, bare = [], [], []
        for _ in range(ROUNDS):
            started = perf_counter()
            np.load(array)
            sample_keys(images)
            between = perf_counter()
            found = find(place, images)
            ended = perf_counter()
            assert np.array_equal(found, outputs)
            bare.append(between - started)
            warm.append(ended - between)
            ratios.append(warm[-1] / bare[-1])
        record("cache", "warm_run", warm, unit="s", better="lower")
        record("cache", "numpy_load_and_hash", bare, unit="s", better="lower")
        record("cache", "warm_run_vs_numpy_load_and_hash", ratios, unit="ratio", better="lower", target=1.5)
        print(f"medians: warm {median(warm):.3f} s, numpy and hash {median(bare):.3f} s, ratio {median(ratios):.2f}")


if __name__ == "__main__":
    main()
