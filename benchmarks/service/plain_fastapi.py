"""What somebody would write in an afternoon: FastAPI, JSON both ways, the model under a lock in the thread pool.

`python -m benchmarks.service.plain_fastapi WEIGHTS PORT`; nothing is counted, batched or kept.
"""

import sys
from pathlib import Path
from threading import Lock

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.service.bare_loop import Predict, predictor


class Question(BaseModel):
    """Raw pixels, `[samples, channels, height, width]`."""

    images: list[list[list[list[int]]]]


class Answer(BaseModel):
    """Logits, `[samples, classes]`."""

    logits: list[list[float]]


def create_app(predict: Predict) -> FastAPI:
    """The application around a model that one thread at a time may run."""
    app = FastAPI()
    one_at_a_time = Lock()

    @app.post("/predict")
    def ask(question: Question) -> Answer:
        images = np.array(question.images, np.uint8)
        with one_at_a_time:
            logits = predict(images)
        return Answer(logits=logits.tolist())

    return app


if __name__ == "__main__":
    uvicorn.run(create_app(predictor(Path(sys.argv[1]))), host="127.0.0.1", port=int(sys.argv[2]), access_log=False)
