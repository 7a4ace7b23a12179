"""A colour profile (ICC, version 2) that is written by hand, and what it says of colours, by its definition."""

import struct

import numpy as np
from numpy.typing import NDArray

WIDE = np.array([[0.6097, 0.2053, 0.1492], [0.3111, 0.6257, 0.0632], [0.0195, 0.0609, 0.7446]])
"""From the linear colours of Adobe RGB (1998) to XYZ at the white of D50, as its specification states them."""
GAMMA = 563 / 256
_FROM_XYZ_D50 = np.linalg.inv(
    np.array([[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]])
)
_WHITE = (0.9642, 1.0, 0.8249)


def profile(description: str) -> bytes:
    """The profile of Adobe RGB (1998), under any description."""
    text = description.encode() + b"\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(8 + 2 + 1 + 67),
        b"wtpt": _xyz(*_WHITE),
        **{name: _xyz(*column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), WIDE.T, strict=True)},
        **{name: b"curv\0\0\0\0" + struct.pack(">IH2x", 1, round(GAMMA * 256)) for name in (b"rTRC", b"gTRC", b"bTRC")},
    }
    table, data = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        padded = content + bytes(-len(content) % 4)
        table += struct.pack(">4sII", name, 128 + 4 + 12 * len(tags) + len(data), len(content))
        data += padded
    head = struct.pack(">I4xI4s4s4s12x4s", 0, 0x02400000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    head = (head.ljust(68, b"\0") + struct.pack(">III", *(round(value * 65536) for value in _WHITE))).ljust(128, b"\0")
    whole = head + table + data
    return struct.pack(">I", len(whole)) + whole[4:]


def in_srgb(colours: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The colours `[..., 3]` of such a profile in sRGB, from 0 to 255, computed from both definitions."""
    linear = ((colours / 255) ** GAMMA) @ WIDE.T @ _FROM_XYZ_D50.T
    linear = linear.clip(0, 1)
    encoded: NDArray[np.float64] = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return encoded * 255


def _xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">iii", *(round(value * 65536) for value in values))
