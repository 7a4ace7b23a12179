"""The identity of one sample, under which its outputs are stored: the same on every machine, for ever.

Invariant: the key depends on the pixels alone, never on a file name, an index, or the library that decoded the image.
"""

from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

KEY_BYTES = 32


def sample_key(image: NDArray[np.uint8]) -> bytes:
    """SHA-256 over dtype, shape and bytes of one canonical image.

    Args:
        image: uint8 `[channels, height, width]`, values 0 to 255.

    Returns:
        32 bytes: the digest of `b"uint8:CxHxW:"` followed by the pixels in row-major order.

    Raises:
        TypeError: the image is not uint8.
        ValueError: the image does not have three axes.
    """
    if image.dtype != np.uint8:
        raise TypeError(f"image: expected dtype uint8, got {image.dtype}; round and clip to 0..255 first")
    if image.ndim != 3:
        raise ValueError(f"image: expected shape [channels, height, width], got {list(image.shape)}")
    return sha256(_head(image.shape) + np.ascontiguousarray(image).tobytes()).digest()


def sample_keys(images: NDArray[np.uint8]) -> list[bytes]:
    """The keys of a stack of images, uint8 `[samples, channels, height, width]`, in order."""
    if images.ndim != 4:
        raise ValueError(f"images: expected shape [samples, channels, height, width], got {list(images.shape)}")
    if images.dtype != np.uint8:
        raise TypeError(f"images: expected dtype uint8, got {images.dtype}; round and clip to 0..255 first")
    head = _head(images.shape[1:])
    return [sha256(head + image.tobytes()).digest() for image in np.ascontiguousarray(images)]


def _head(shape: tuple[int, ...]) -> bytes:
    return f"uint8:{'x'.join(map(str, shape))}:".encode("ascii")
