"""The service's metrics in Prometheus' text format, under the names that Triton Inference Server uses.

Metrics without a counterpart there, such as quotas, begin with `teacher_`.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from teacher_service.inference.counters import DURATION_BOUNDS, Counters
from teacher_service.policy.quota import Quota

_MICROSECONDS = 1e6


def metrics_text(
    counters: Counters, quotas: Iterable[Quota], *, model: str, version: str, pending_samples: int
) -> bytes:
    """All metrics, as text.

    Args:
        counters: counters of this process.
        quotas: quota of every key, from the ledger: the same in every process that shares it.
        model: name of the model.
        version: fingerprint of the model.
        pending_samples: samples admitted and not yet answered.
    """
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(_Fixed([*_of_model(counters, model, version, pending_samples), *_of_keys(quotas)]))
    return generate_latest(registry)


class _Fixed(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _of_model(counters: Counters, model: str, version: str, pending_samples: int) -> Iterator[Metric]:
    names, values = ["model", "version"], [model, version]
    passes = counters.passes
    seconds_computed = sum(taken.seconds for taken in passes.values())
    rejections = counters.rejected
    for name, meaning, value in (
        (
            "nv_inference_request_success",
            "Queries answered, including replays",
            counters.answered.count + counters.replayed.count,
        ),
        ("nv_inference_count", "Samples answered and charged", counters.samples),
        ("nv_inference_exec_count", "Passes of the model", sum(taken.count for taken in passes.values())),
        (
            "nv_inference_request_duration_us",
            "From the start of a query to its response",
            _MICROSECONDS * counters.answered.seconds,
        ),
        (
            "nv_inference_queue_duration_us",
            "Time that charged queries waited for the model",
            _MICROSECONDS * counters.queued.seconds,
        ),
        ("nv_inference_compute_infer_duration_us", "Passes of the model", _MICROSECONDS * seconds_computed),
        ("nv_cache_num_hits_per_model", "Replays of a stored answer, free", counters.replayed.count),
    ):
        counter = CounterMetricFamily(name, meaning, labels=names)
        counter.add_metric(values, value)
        yield counter
    failures = CounterMetricFamily(
        "nv_inference_request_failure", "Queries rejected or failed, by the kind of problem", labels=[*names, "reason"]
    )
    for kind, rejected in sorted(rejections.items()):
        failures.add_metric([*values, kind], rejected.count)
    yield failures
    pending = GaugeMetricFamily("nv_inference_pending_sample_count", "Samples admitted, not yet answered", labels=names)
    pending.add_metric(values, pending_samples)
    yield pending
    yield _histogram(
        "teacher_batch_size_samples",
        "Samples in one pass of the model",
        (names, values),
        {2.0**power: sum(taken.count for size, taken in passes.items() if size <= 2**power) for power in range(11)},
        sum(taken.count for taken in passes.values()),
        sum(size * taken.count for size, taken in passes.items()),
    )
    counts = accumulate(counters.durations[bucket] for bucket in range(len(DURATION_BOUNDS)))
    yield _histogram(
        "teacher_request_duration_seconds",
        "From the start of a charged query to its response",
        (names, values),
        dict(zip(DURATION_BOUNDS, counts, strict=True)),
        counters.answered.count,
        counters.answered.seconds,
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
    """`below` maps each upper bound to its cumulative count."""
    histogram = HistogramMetricFamily(name, meaning, labels=labels[0])
    buckets = [(str(bound), float(number)) for bound, number in below.items()]
    histogram.add_metric(labels[1], [*buckets, ("+Inf", float(count))], total)
    return histogram
