"""A small image API as vendors have it: an image file in, the likeliest labels with their scores out.

Source: Hugging Face Inference API, "Image Classification": the body is the file, the answer a list of `label` and
`score`; 503 with `estimated_time` while the model is loaded.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.foreign.serving import Handler, running


@dataclass
class ForeignScores:
    """One model behind one address, what was asked of it, and what it charged."""

    predict: Callable[[NDArray[np.uint8]], NDArray[np.float64]]
    """The probabilities of one image `[channels, height, width]`."""
    labels: Sequence[str] = ("cat", "dog", "newt")
    told: int = 2
    """How many labels it gives."""
    digits: int | None = None
    version: str | None = None
    key: str = "secret"
    loading: int = 0
    """So many requests are answered by 503 while the model is loaded."""
    hang_up_after_paying: int = 0
    """So many requests are charged, and their connections broken instead of an answer."""
    charged: int = 0
    keys: list[str] = field(default_factory=list)
    """The Idempotency-Key of every request that was charged."""

    def __post_init__(self) -> None:
        self._lock = Lock()

    def answer(self, image: NDArray[np.uint8]) -> list[dict[str, object]]:
        """What it says of one image."""
        scores = self.predict(image)
        best = sorted(range(len(scores)), key=lambda index: -scores[index])[: self.told]
        return [
            {
                "label": self.labels[index],
                "score": float(scores[index]) if self.digits is None else round(float(scores[index]), self.digits),
            }
            for index in best
        ]

    def charge(self, key: str) -> bool:
        """Write it down; whether the answer is sent."""
        with self._lock:
            self.charged += 1
            self.keys.append(key)
            self.hang_up_after_paying -= 1
            return self.hang_up_after_paying < 0

    def is_loading(self) -> bool:
        """Whether this request is one too early."""
        with self._lock:
            self.loading -= 1
            return self.loading >= 0


@contextmanager
def served(model: ForeignScores) -> Iterator[str]:
    """The address that images are posted to."""

    class Server(Handler):
        def do_POST(self) -> None:  # noqa: N802 - the name is http.server's
            content = self.body()
            if self.path != "/classify":
                self.answer_json(404, {"error": "no such model"})
            elif self.headers["Authorization"] != f"Bearer {model.key}":
                self.answer_json(401, {"error": "invalid token"})
            elif self.headers["Content-Type"] != "image/png":
                self.answer_json(415, {"error": "expected an image"})
            elif model.is_loading():
                self.answer_json(503, {"error": "Model is currently loading", "estimated_time": 0.02})
            elif model.charge(self.headers.get("Idempotency-Key", "")):
                with Image.open(BytesIO(content)) as file:
                    pixels = np.asarray(file)
                image = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
                told = {} if model.version is None else {"X-Model-Version": model.version}
                self.answer_json(200, model.answer(image), told)
            else:
                self.hang_up()

    with running(Server) as url:
        yield f"{url}/classify"
