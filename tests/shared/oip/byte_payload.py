"""BYTES elements in binary, as a client sends them."""

import struct
from collections.abc import Sequence


def byte_payload(elements: Sequence[bytes]) -> bytes:
    """Each element after its length, 4 bytes, little-endian."""
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)
