"""The service's numbers in Prometheus' text format, under the names that Triton Inference Server gave to them.

What has no counterpart there (quotas, refusals by kind) begins with `teacher_`.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from teacher_service.inference.counters import DURATION_BOUNDS, Statistics
from teacher_service.policy.quota import Quota

_MICROSECONDS = 1e6


def metrics_text(
    statistics: Statistics, quotas: Iterable[Quota], *, model: str, version: str, pending_samples: int
) -> bytes:
    """All numbers, once.

    Args:
        statistics: of this process.
        quotas: of every key, as the ledger has them: the same from every process that shares it.
        model: the name of the model.
        version: its fingerprint.
        pending_samples: admitted and not yet answered, now.
    """
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(_Once([*_of_model(statistics, model, version, pending_samples), *_of_keys(quotas)]))
    return generate_latest(registry)


class _Once(Collector):
    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        return self._found


def _of_model(statistics: Statistics, model: str, version: str, pending_samples: int) -> Iterator[Metric]:
    names, values = ["model", "version"], [model, version]
    passes = statistics.passes
    seconds_computed = sum(taken.seconds for taken in passes.values())
    refusals = statistics.refused
    for name, meaning, value in (
        (
            "nv_inference_request_success",
            "Queries answered, replays among them",
            statistics.answered.count + statistics.replayed.count,
        ),
        ("nv_inference_count", "Samples answered and charged", statistics.samples),
        ("nv_inference_exec_count", "Passes of the model", sum(taken.count for taken in passes.values())),
        (
            "nv_inference_request_duration_us",
            "From the start of a query to its answer",
            _MICROSECONDS * statistics.answered.seconds,
        ),
        (
            "nv_inference_queue_duration_us",
            "Waiting of charged queries for the model",
            _MICROSECONDS * statistics.queued.seconds,
        ),
        ("nv_inference_compute_infer_duration_us", "Passes of the model", _MICROSECONDS * seconds_computed),
        ("nv_cache_num_hits_per_model", "Replays of a stored answer, free", statistics.replayed.count),
    ):
        counter = CounterMetricFamily(name, meaning, labels=names)
        counter.add_metric(values, value)
        yield counter
    failures = CounterMetricFamily(
        "nv_inference_request_failure", "Queries refused or failed, by the problem's kind", labels=[*names, "reason"]
    )
    for kind, refused in sorted(refusals.items()):
        failures.add_metric([*values, kind], refused.count)
    yield failures
    pending = GaugeMetricFamily("nv_inference_pending_sample_count", "Samples admitted, not yet answered", labels=names)
    pending.add_metric(values, pending_samples)
    yield pending
    yield _histogram(
        "teacher_batch_size_samples",
        "Samples of one pass of the model",
        (names, values),
        {2.0**power: sum(taken.count for size, taken in passes.items() if size <= 2**power) for power in range(11)},
        sum(taken.count for taken in passes.values()),
        sum(size * taken.count for size, taken in passes.items()),
    )
    counts = accumulate(statistics.durations[bucket] for bucket in range(len(DURATION_BOUNDS)))
    yield _histogram(
        "teacher_request_duration_seconds",
        "From the start of a charged query to its answer",
        (names, values),
        dict(zip(DURATION_BOUNDS, counts, strict=True)),
        statistics.answered.count,
        statistics.answered.seconds,
    )


def _of_keys(quotas: Iterable[Quota]) -> Iterator[Metric]:
    gauges = {
        "limit": GaugeMetricFamily("teacher_quota_limit_samples", "Samples granted", labels=["key_id"]),
        "used": GaugeMetricFamily("teacher_quota_used_samples", "Samples charged", labels=["key_id"]),
        "reserved": GaugeMetricFamily("teacher_quota_reserved_samples", "Samples held", labels=["key_id"]),
        "remaining": GaugeMetricFamily("teacher_quota_remaining_samples", "Samples left", labels=["key_id"]),
    }
    for quota in quotas:
        for name, gauge in gauges.items():
            gauge.add_metric([quota.key_id], getattr(quota, name))
    yield from gauges.values()


def _histogram(
    name: str,
    meaning: str,
    labels: tuple[list[str], list[str]],
    below: dict[float, int],
    count: int,
    total: float,
) -> Metric:
    """`below` has how many there were up to each bound."""
    histogram = HistogramMetricFamily(name, meaning, labels=labels[0])
    buckets = [(str(bound), float(number)) for bound, number in below.items()]
    histogram.add_metric(labels[1], [*buckets, ("+Inf", float(count))], total)
    return histogram
