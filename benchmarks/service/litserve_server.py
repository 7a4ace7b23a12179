"""LitServe as its manual has it, with dynamic batching on, in the variant that was fastest here.

`python -m benchmarks.service.litserve_server WEIGHTS PORT`, in `.venv-bench`. Raw bytes both ways were as fast as or
faster than base64 in JSON; its fast queue was no slower than its default one; a batch timeout of 0.5 ms was faster than
2 ms for a request alone, and no slower in company; and passes of at most 64 images were faster than one pass over 32
requests of 64 images each.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import litserve
import numpy as np
from fastapi import Body, Response
from numpy.typing import NDArray

from benchmarks.service.bare_loop import Predict, predictor

MAX_BATCH_SIZE = 64
BATCH_TIMEOUT_SECONDS = 0.0005
_Images = NDArray[np.uint8]
_Rows = NDArray[np.float32]


class LogitsApi(litserve.LitAPI):  # type: ignore[misc] # litserve is not in the environment that is checked
    """Requests of one image or more, `[samples, 3, 32, 32]` as raw bytes; logits as raw bytes."""

    def __init__(self, weights: Path, **options: Any) -> None:
        super().__init__(**options)
        self._weights = weights
        self._predict: Predict
        self._ends: NDArray[np.intp]

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Load the network, in the worker."""
        self._predict = predictor(self._weights)

    def decode_request(self, request: Annotated[bytes, Body(media_type="application/octet-stream")]) -> _Images:
        """Bytes to images."""
        return np.frombuffer(request, np.uint8).reshape(-1, 3, 32, 32)

    def batch(self, inputs: Sequence[_Images]) -> _Images:
        """Requests to one array."""
        self._ends = np.cumsum([len(images) for images in inputs])[:-1]
        return np.concatenate(inputs)

    def predict(self, images: _Images) -> _Rows:
        """Images to logits."""
        starts = range(0, len(images), MAX_BATCH_SIZE)
        return np.concatenate([self._predict(images[start : start + MAX_BATCH_SIZE]) for start in starts])

    def unbatch(self, rows: _Rows) -> list[_Rows]:
        """One array to answers."""
        return np.split(rows, self._ends)

    def encode_response(self, rows: _Rows) -> Response:
        """Logits to bytes."""
        return Response(rows.tobytes(), media_type="application/octet-stream")


def main(weights: Path, port: int) -> None:
    """Serve until SIGTERM: one worker on the CPU."""
    api = LogitsApi(weights, max_batch_size=MAX_BATCH_SIZE, batch_timeout=BATCH_TIMEOUT_SECONDS)
    litserve.LitServer(api, accelerator="cpu", devices=1, workers_per_device=1, fast_queue=True).run(
        host="127.0.0.1", port=port, num_api_servers=1, generate_client_file=False, log_level="warning"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
