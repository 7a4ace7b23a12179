"""TensorBoard's own reader reads what is written."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from distill_worker.training.trackers.event_file import (
    _checksum,
    append_event,
    first_event,
    scalars_event,
    start_event,
)


def test_checksum_is_the_published_one() -> None:
    """CRC-32C of RFC 3720, appendix B.4, and the mask of TFRecord."""
    for content, crc in ((bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E)):
        masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32
        assert _checksum(content) == struct.pack("<I", masked)


@given(
    step=st.integers(0, 2**62),
    values=st.dictionaries(st.text(min_size=1, max_size=200), st.floats(width=32), min_size=1, max_size=5),
)
def test_numbers_come_back(tmp_path_factory: pytest.TempPathFactory, step: int, values: dict[str, float]) -> None:
    file = tmp_path_factory.mktemp("events") / "events.out.tfevents.1"
    for event in (first_event(1.5), start_event(2.0, step), scalars_event(2.5, step, values)):
        append_event(file, event)
    first, start, scalars = EventFileLoader(str(file)).Load()
    assert (first.wall_time, first.file_version) == (1.5, "brain.Event:2")
    assert (start.step, start.session_log.status) == (step, start.session_log.START)
    assert (scalars.wall_time, scalars.step) == (2.5, step)
    read = {value.tag: value.tensor.float_val[0] for value in scalars.summary.value}
    assert read.keys() == values.keys()
    np.testing.assert_array_equal([read[name] for name in values], list(values.values()))


def test_half_a_record_hides_none_before_it(tmp_path: Path) -> None:
    """What a kill in the middle of a write leaves."""
    file = tmp_path / "events.out.tfevents.1"
    append_event(file, first_event(1.0))
    append_event(file, scalars_event(1.0, 1, {"loss": 2.0}))
    append_event(file, scalars_event(1.0, 2, {"loss": 1.0}))
    file.write_bytes(file.read_bytes()[:-5])
    assert [event.step for event in EventFileLoader(str(file)).Load()] == [0, 1]
