"""Runs to follow, and readers of what a tracker wrote."""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_accumulator import (
    EventAccumulator as PluginEventAccumulator,
)

from distill_worker.training.trackers.tracker import Logged, TrackedRun

_WANDB_BLOCK = 32768


def run_in(directory: Path, *, resumes_after: int = 0, earlier: Sequence[Logged] = ()) -> TrackedRun:
    """A run to follow."""
    configuration = {"method": {"name": "ckd", "k": 3}, "plus": [], "n": 24}
    return TrackedRun("1a2b", directory.name, directory, configuration, resumes_after, earlier)


def curves(run_directory: Path) -> dict[str, list[tuple[int, float]]]:
    """Step and value by name, as TensorBoard shows them. Its two readers must agree."""
    events = EventAccumulator(str(run_directory / "tensorboard"))
    events.Reload()
    read = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    of_server = PluginEventAccumulator(str(run_directory / "tensorboard"))
    of_server.Reload()
    for tag, curve in read.items():
        assert [(event.step, event.tensor_proto.float_val[0]) for event in of_server.Tensors(tag)] == curve
    return read


def wandb_records(path: Path) -> Iterator[Any]:
    """The records in a file of W&B's offline mode, which is a log of LevelDB."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # made when it is imported

    content, place, data = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if (room := _WANDB_BLOCK - place % _WANDB_BLOCK) < 7:
            place += room
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        data += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield Record.FromString(data)
            data = b""
