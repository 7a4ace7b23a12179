"""A teacher at the Protocol seam: it charges each Idempotency-Key once, remembers all, and fails when told to."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from distill_worker.cache import RawAnswer
from distill_worker.data.sent_images import Files
from distill_worker.errors import AnswerUnread, QuotaExhausted, TeacherStopped
from distill_worker.teachers.base import Answer, Description, LoggedQuery, Quota, Rate
from shared.output_kinds import OutputKind
from shared.sample_key import sample_keys

Fault = tuple[Literal["before", "after"], BaseException] | None
"""What one call of `buy` raises, before or after it charged; None answers."""


class Crash(BaseException):
    """The end of the process: nothing may handle it."""


def describe(
    teacher_id: str = "t",
    *,
    shape: tuple[int, int, int] = (1, 2, 2),
    num_classes: int = 3,
    max_request_size: int | None = None,
    outputs: Mapping[str, tuple[int, ...]] | None = None,
    tells: Sequence[str] = ("logits",),
) -> Description:
    """A description of `FakeTeacher`."""
    distributions = {kind: OutputKind.parse(kind).shape(num_classes) for kind in tells}
    return Description(teacher_id, shape, num_classes, max_request_size, {**distributions, **(outputs or {})})


def answer(images: NDArray[np.uint8], num_classes: int = 3) -> NDArray[np.float32]:
    """The fake's logits: the first pixels of each image."""
    return images.reshape(len(images), -1)[:, :num_classes].astype(np.float32)


def features(
    output: str, images: NDArray[np.uint8], shape: tuple[int, ...], num_classes: int = 3
) -> NDArray[np.float32]:
    """The fake's features: other values for each output, image and place."""
    places = np.arange(np.prod(shape)).reshape(shape) + sum(output.encode())
    return np.stack([places + 1000 * row[0] for row in answer(images, num_classes)]).astype(np.float32)


def told(output: str, images: NDArray[np.uint8], description: Description) -> NDArray[np.float32]:
    """What the fake says of these images, of any kind: all distributions follow from its logits."""
    kind = OutputKind.parse(output)
    if kind.is_features:
        return features(output, images, description.outputs[output], description.num_classes)
    logits = answer(images, description.num_classes)
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    probabilities = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    rounded = probabilities if kind.digits is None else np.round(probabilities, kind.digits)
    best = np.argsort(-logits, axis=1, kind="stable")
    found: dict[str, NDArray[Any]] = {
        "logits": logits,
        "log_probabilities": shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)),
        "probabilities": rounded,
        "top_k": np.stack([best, np.take_along_axis(rounded, best, axis=1)], axis=2)[:, : kind.k],
        "label": best[:, :1],
    }
    return np.asarray(found[kind.name], np.float32)


@dataclass
class FakeTeacher:
    """See the module; `limit` is its quota in samples, unlimited and untold when None."""

    payer: str = "alice"
    credential: str = ""
    log: Sequence[LoggedQuery] | None = None
    """What `queries` returns; None: it has no readable log."""
    limit: int | None = None
    faults: Iterable[Fault] = ()
    quota_error: Exception | None = None
    description: Description = field(default_factory=describe)
    sent: list[tuple[str, list[bytes]]] = field(default_factory=list)
    charged: dict[str, list[bytes]] = field(default_factory=dict)
    asked: list[tuple[str, ...]] = field(default_factory=list)
    paid_for: dict[str, tuple[str, ...]] = field(default_factory=dict)
    features: bool | None = None
    rates: tuple[Rate, ...] = ()
    stopped: bool = False
    paths_read: list[str] = field(default_factory=list)
    """The paths that were read of it, where it is served."""
    key_name: str | None = None

    def __post_init__(self) -> None:
        self._lock = Lock()
        self.will(*self.faults)

    def will(self, *faults: Fault) -> None:
        """Fail so from the next call on, one fault a call, and answer afterwards."""
        self._faults = iter(faults)

    @property
    def paid(self) -> int:
        """Samples charged for."""
        return sum(len(keys) for keys in self.charged.values())

    def describe(self) -> Description:
        """As it was made."""
        return self.description

    def quota(self) -> Quota | None:
        """Of its limit."""
        if self.quota_error is not None:
            raise self.quota_error
        if self.limit is None:
            return None
        return Quota(self.limit, self.paid, self.limit - self.paid, self.features, self.rates, self.key_name)

    def buy(
        self,
        images: NDArray[np.uint8],
        *,
        description: Description,
        idempotency_key: str,
        outputs: tuple[str, ...] = ("logits",),
    ) -> Answer:
        """Charge, unless this key was charged; the request must be the same then."""
        assert description == self.description
        keys = sample_keys(images)
        with self._lock:
            if self.stopped:
                raise TeacherStopped("nothing more is asked of the teacher", unpaid=True)
            self.sent.append((idempotency_key, keys))
            self.asked.append(outputs)
            when, error = next(self._faults, None) or (None, None)
            if error is not None and when == "before":
                raise error
            if idempotency_key not in self.charged:
                if self.limit is not None and self.paid + len(keys) > self.limit:
                    raise QuotaExhausted(f"{self.limit - self.paid} calls remain")
                self.charged[idempotency_key] = keys
                self.paid_for[idempotency_key] = outputs
            assert self.charged[idempotency_key] == keys, "one key, two requests"
            assert self.paid_for[idempotency_key] == outputs, "one key, two requests"
            if error is not None:
                raise error
        return Answer(
            {output: told(output, images, description) for output in outputs},
            self.description.id,
            f"query-{len(self.sent)}",
        )

    def use_files(self, files: Files) -> None:
        """It takes pixels."""

    def content_id(self, image: NDArray[np.uint8]) -> None:
        """It takes pixels."""

    def read(
        self,
        raw: RawAnswer,
        *,
        samples: int,  # noqa: ARG002 - see `Teacher`
        description: Description,  # noqa: ARG002
        idempotency_key: str,  # noqa: ARG002
        outputs: tuple[str, ...] = ("logits",),  # noqa: ARG002
    ) -> Answer:
        """Its answers are values, not bytes."""
        raise AnswerUnread("the fake reads no bytes", raw)

    def stop(self) -> None:
        """From now on `buy` sends nothing."""
        self.stopped = True

    def queries(self, since: float | None = None) -> Iterator[LoggedQuery] | None:  # noqa: ARG002 - all are returned
        """Its `log`."""
        return None if self.log is None else iter(self.log)
