"""A small model that chats about images, behind the API of chat completions.

Source: OpenAI, API reference, "Create chat completion": messages of text and `image_url` parts in, `choices` with a
message and its log-probabilities out; an unknown field is answered by 400.
"""

import json
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from math import log
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.foreign.serving import Handler, running


@dataclass
class ForeignChat:
    """One model behind one address, what was asked of it, and what it charged."""

    predict: Callable[[NDArray[np.uint8], str], tuple[str, Mapping[str, float]]]
    """What it answers to an image `[channels, height, width]` and a question: a text, and the probability of each token
    that could have been the first."""
    answered_as: str | None = None
    """The name by which the model calls itself, if it is not the one that was asked."""
    has_log_probabilities: bool = True
    charged: int = 0
    requests: list[dict[str, Any]] = field(default_factory=list)
    images: list[NDArray[np.uint8]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = Lock()

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The completion of a request, which is charged."""
        question, picture = request["messages"][0]["content"]
        _, _, encoded = picture["image_url"]["url"].partition(";base64,")
        with Image.open(BytesIO(b64decode(encoded))) as file:
            pixels = np.asarray(file)
        image = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
        text, tokens = self.predict(image, question["text"])
        with self._lock:
            self.charged += 1
            self.requests.append({**request, "messages": question["text"]})
            self.images.append(image)
        message = {"role": "assistant", "content": text}
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "message": message, "logprobs": None}
        if request.get("logprobs"):
            best = sorted(tokens.items(), key=lambda entry: -entry[1])[: request["top_logprobs"]]
            listed = [{"token": token, "logprob": log(probability)} for token, probability in best]
            choice["logprobs"] = {"content": [{**listed[0], "top_logprobs": listed}]}
        name = self.answered_as or request["model"]
        return {"id": "1", "object": "chat.completion", "created": 0, "model": name, "choices": [choice]}


@contextmanager
def served(model: ForeignChat) -> Iterator[str]:
    """The address of the API, without the path of chat completions."""

    class Server(Handler):
        def do_POST(self) -> None:  # noqa: N802 - the name is http.server's
            request = json.loads(self.body())
            if self.path != "/v1/chat/completions":
                self.answer_json(404, {"error": {"message": "no such path"}})
            elif self.headers["Authorization"] != "Bearer secret":
                self.answer_json(401, {"error": {"message": "Incorrect API key provided"}})
            elif "logprobs" in request and not model.has_log_probabilities:
                self.answer_json(400, {"error": {"message": "Unrecognized request argument supplied: logprobs"}})
            else:
                self.answer_json(200, model.answer(request))

    with running(Server) as url:
        yield f"{url}/v1"
