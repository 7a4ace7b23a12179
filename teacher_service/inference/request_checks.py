"""Check an inference request before anything is paid for: the outputs it names and the images it carries.

Every check raises an error that names the field, what was expected and what the request holds.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from teacher_service.errors.service_errors import InvalidRequest, OutputNotAllowed
from teacher_service.inference.derived_outputs import DERIVED
from teacher_service.models import Teacher
from teacher_service.policy.output_policy import OutputPolicy

INPUT: Final = "images"
"""Name of the one input tensor."""


def checked_outputs(requested: tuple[str, ...], teacher: Teacher, policy: OutputPolicy) -> tuple[str, ...]:
    """The outputs to return: those requested by name, else the policy's default.

    Raises:
        InvalidRequest: an output does not exist, or none is named and the policy has no default.
        OutputNotAllowed: the policy does not allow one of them.
    """
    available = [*teacher.outputs, *sorted(DERIVED)]
    for output in requested:
        if output not in available:
            raise InvalidRequest(f"outputs: expected names among {', '.join(available)}, got {output[:80]!r}")
        if not policy.sees(output):
            raise OutputNotAllowed(
                f"outputs: expected outputs that this key may see ({policy}), got {output!r}. Nothing was charged; ask "
                "the service's operator for a key that may see it (`teacher-service keys create --outputs`, or "
                "`keys create --features`)."
            )
    outputs = requested or policy.default
    if not outputs:
        raise InvalidRequest(f"outputs: expected at least one name, as this key may see {policy}; got none")
    return outputs


def checked_images(
    tensors: Mapping[str, NDArray[Any]], image_shape: tuple[int, int, int], max_samples: int
) -> NDArray[Any]:
    """The input tensor: raw pixels uint8 `[samples, C, H, W]`, or encoded files as objects (bytes) `[samples]`.

    Raises:
        InvalidRequest: another input, data type, shape or number of samples.
    """
    if set(tensors) != {INPUT}:
        raise InvalidRequest(f"inputs: expected exactly one, called {INPUT!r}, got {sorted(tensors)}")
    images = tensors[INPUT]
    encoded = images.dtype.kind == "O"
    if not encoded and images.dtype != np.uint8:
        raise InvalidRequest(
            f"{INPUT}.datatype: expected UINT8 (raw pixels, 0 to 255) or BYTES (PNG or JPEG files), got "
            f"{images.dtype.name.upper()}"
        )
    if encoded and images.shape not in ((images.size,), (images.size, 1)):
        raise InvalidRequest(f"{INPUT}.shape: expected [samples] of encoded images, got {images.shape}")
    if not encoded and (images.ndim != 4 or images.shape[1:] != image_shape):
        raise InvalidRequest(
            f"{INPUT}.shape: expected [samples, {', '.join(map(str, image_shape))}], got {images.shape}"
        )
    if not 1 <= len(images) <= max_samples:
        raise InvalidRequest(f"{INPUT}.shape: expected 1 to {max_samples} samples a request, got {len(images)}")
    return images.ravel() if encoded else images
