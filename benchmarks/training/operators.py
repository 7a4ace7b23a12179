"""Which operators a step spends its time in."""

from collections import defaultdict
from collections.abc import Callable, Mapping

from torch.profiler import ProfilerActivity, profile

_GROUPS: Mapping[str, tuple[str, ...]] = {
    "convolution": ("convolution", "addmm", "aten::mm"),
    "batch_norm": ("batch_norm",),
    "activation": ("relu", "threshold_backward", "clamp_min"),
    "sums": ("aten::add", "aten::mul", "aten::sum", "aten::mean", "aten::div"),
}
"""Parts of operators' names. `sums` has the residual connections, sums of gradients, pooling and the optimiser."""
REST = "rest"


def seconds_by_group(step: Callable[[], object], steps: int) -> dict[str, list[float]]:
    """The seconds that each group of operators takes by itself, one value for each of `steps` steps."""
    step()
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(steps):
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            step()
        taken = dict.fromkeys([*_GROUPS, REST], 0.0)
        for event in profiled.key_averages():
            taken[_group_of(event.key)] += event.self_cpu_time_total / 1e6
        for group, value in taken.items():
            seconds[group].append(value)
    return seconds


def _group_of(operator: str) -> str:
    return next((group for group, parts in _GROUPS.items() if any(part in operator for part in parts)), REST)
