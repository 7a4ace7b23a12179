"""A run's figures, with their targets, and its table."""

import statistics
from collections.abc import Iterator, Sequence

from benchmarks.figures import Figure, figure
from benchmarks.service.cells import CELLS, Cell, Measurements
from benchmarks.service.subjects import SUBJECTS

SUITE = "service"
SHARE_TARGETS = {Cell(64, 8): 0.93, Cell(1, 32): 0.70}
"""Of the bare loop of 64 images a pass, for ours with quota and durable log."""
LITSERVE_TARGETS = {Cell(64, 8): 1.0, Cell(1, 32): 1.5, Cell(1, 1): 1.3}
UNCOUNTED_TARGET = 0.97
LEDGER_ADDS_MS_TARGET = 3.0


def figures(found: Measurements) -> Iterator[Figure]:
    """Every figure that the subjects which were measured allow."""
    for images, rates in found.bare.items():
        yield figure(SUITE, f"bare_loop_b{images}", rates, unit="images/s", better="higher")
    for (name, cell), series in found.series.items():
        target = SHARE_TARGETS.get(cell) if name == "binary" else None
        yield figure(SUITE, f"{name}_{cell}", series.images_per_second, unit="images/s", better="higher")
        yield figure(SUITE, f"{name}_{cell}_p50", series.p50_ms, unit="ms", better="lower")
        yield figure(SUITE, f"{name}_{cell}_p99", series.p99_ms, unit="ms", better="lower")
        yield figure(SUITE, f"{name}_{cell}_vs_bare_loop", series.share, unit="ratio", better="higher", target=target)
    yield from _comparisons(found)


def table(found: Measurements) -> str:
    """Medians over the rounds, with the slowest and fastest round of the images a second."""
    lines = [f"bare loop, {images} a pass: {_spread(rates)} images/s" for images, rates in found.bare.items()]
    for cell in CELLS:
        lines += ["", f"{cell.batch} image(s) a request, {cell.concurrency} in flight"]
        lines += [f"  {'':26}{'images/s (min..max)':>24}{'of bare':>9}{'p50 ms':>10}{'p99 ms':>10}"]
        for subject in SUBJECTS:
            if series := found.series.get((subject.name, cell)):
                share, p50, p99 = (statistics.median(each) for each in (series.share, series.p50_ms, series.p99_ms))
                rates = _spread(series.images_per_second)
                lines.append(f"  {subject.title:26}{rates:>24}{share:>9.2f}{p50:>10.2f}{p99:>10.2f}")
    return "\n".join(lines)


def _comparisons(found: Measurements) -> Iterator[Figure]:
    for cell in CELLS:
        ours, litserve, uncounted = (found.series.get((name, cell)) for name in ("binary", "litserve", "uncounted"))
        if ours and litserve:
            faster = _ratios(ours.images_per_second, litserve.images_per_second)
            target = LITSERVE_TARGETS.get(cell)
            yield figure(SUITE, f"binary_{cell}_vs_litserve", faster, unit="ratio", better="higher", target=target)
        if ours and uncounted:
            kept = _ratios(ours.images_per_second, uncounted.images_per_second)
            name = f"binary_{cell}_vs_uncounted"
            yield figure(SUITE, name, kept, unit="ratio", better="higher", target=UNCOUNTED_TARGET)
            if cell.concurrency == 1:
                added = [with_ - without for with_, without in zip(ours.p50_ms, uncounted.p50_ms, strict=True)]
                name = f"ledger_adds_to_p50_{cell}"
                yield figure(SUITE, name, added, unit="ms", better="lower", target=LEDGER_ADDS_MS_TARGET)


def _ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [our / their for our, their in zip(ours, theirs, strict=True)]


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f}..{max(values):.0f})"
