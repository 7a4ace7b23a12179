"""What the worker's tests share."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.sample_key import sample_key


@pytest.fixture
def below_a_file(tmp_path: Path) -> Path:
    """A folder that nobody can make, not even root: its parent is a regular file."""
    file = tmp_path / "regular-file"
    file.write_bytes(b"")
    return file / "folder"


@pytest.fixture
def samples() -> dict[bytes, NDArray[np.uint8]]:
    """Twelve distinct images of shape `[1, 2, 2]` by sample key."""
    images = np.random.default_rng(0).integers(0, 256, (12, 1, 2, 2), dtype=np.uint8)
    return {sample_key(image): image for image in images}
