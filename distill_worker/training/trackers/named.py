"""Trackers by their names: entry points of installed packages, this one included."""

from importlib.metadata import EntryPoint, entry_points
from typing import Final

from distill_worker.errors import ConfigError
from distill_worker.training.trackers.tracker import Tracker
from shared.expectations import no_choice

GROUP: Final = "distill_worker.trackers"
"""The group of entry points."""
_OURS: Final = "tuition"


def tracker_named(name: str) -> Tracker:
    """A new tracker.

    Raises:
        ConfigError: the name is unknown, or stands for trackers of several packages; a package that the tracker needs
            is not installed; or the tracker cannot be used.
    """
    points = tuple(entry_points(group=GROUP, name=name))
    if not points:
        names = sorted({point.name for point in entry_points(group=GROUP)})
        raise ConfigError(f"output.trackers: {no_choice(name, names)}; other trackers come with packages of their own")
    if len(points) > 1:
        packages = ", ".join(sorted(map(_package, points)))
        raise ConfigError(f"output.trackers: expected one tracker {name!r}, got those of {packages}; uninstall one")
    try:
        tracker: Tracker = points[0].load()()
    except ImportError as error:
        raise ConfigError(f"output.trackers: {name}: {error}; {_remedy(points[0])}") from error
    except Exception as error:  # code of others, which may raise anything
        raise ConfigError(f"output.trackers: {name}: {error}") from error
    return tracker


def _package(point: EntryPoint) -> str:
    return "an unknown package" if point.dist is None else point.dist.name


def _remedy(point: EntryPoint) -> str:
    package = _package(point)
    what = f"the extra: pip install '{_OURS}[{point.name}]'" if package == _OURS else f"what {package} needs"
    return f"install {what}"
