"""A teacher behind the Open Inference Protocol v2: our service, or any other server of that protocol."""

import json
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from distill_worker.cache import RawAnswer
from distill_worker.data.sent_images import Files
from distill_worker.errors import TeacherChanged, TeacherError
from distill_worker.teachers import oip_account, oip_outputs, oip_query_log
from distill_worker.teachers.base import Answer, Description, LoggedQuery, Quota, read_paid
from distill_worker.teachers.http_errors import shown_text, status_of
from distill_worker.teachers.http_sender import Sender, received
from shared import oip


class OipTeacher:
    """A client of one model on one server. A context manager; thread-safe."""

    def __init__(
        self,
        sender: Sender,
        *,
        model: str,
        input_name: str = "images",
        logits_name: str = "logits",
        binary: bool = True,
        repeats_are_free: bool | None = None,
        model_version: str | None = None,
        num_classes: int | None = None,
    ) -> None:
        """A client of this model, in this version; of the latest if `model_version` is None.

        The last three also replace what the server does not state, or states wrongly (`repeats_are_free`).
        """
        self.payer = self.credential = sender.credential
        self._sender = sender
        self._url = sender.url
        self._model = model
        self._input_name = input_name
        self._logits_name = logits_name
        self._binary = binary
        self._repeats_are_free = repeats_are_free
        self._model_version = model_version
        self._num_classes = num_classes
        self._path = f"/v2/models/{model}"
        self._has_versions = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._sender.__exit__(kind, error, traceback)

    def use_files(self, files: Files) -> None:
        """Nothing: the protocol takes pixels."""

    def content_id(self, image: NDArray[np.uint8]) -> None:
        """None: samples with the same pixels are one sample."""

    def stop(self) -> None:
        """See `Teacher.stop`."""
        self._sender.stop()

    def describe(self) -> Description:
        """The model's identity and shapes from its metadata, and the outputs that this account has access to.

        Raises:
            TeacherError: also if the server does not list the configured version.
        """
        extensions = self._extensions()
        metadata = self._metadata()
        account = oip_account.account(self._sender) or {}
        self.payer, policy = oip_account.payer(account) or self.credential, oip_account.policy(account)
        try:
            version = self._version(metadata)
            if self._model_version is not None and len(_versions(metadata)) > 1:
                metadata = self._metadata(version)
            images = _tensor(metadata["inputs"], self._input_name)
            sizes = tuple(int(size) for size in images["shape"][1:])
            channels, height, width = sizes
            tensors = metadata["outputs"]
            stated_classes = oip_outputs.number_of_classes(tensors, self._logits_name)
            classes = stated_classes or self._num_classes
            outputs = oip_outputs.available(tensors, self._logits_name, classes or 0, policy)
            parameters = metadata.get("parameters") or {}
            largest = parameters.get("max_batch_size")
            max_request_size = int(largest) if largest is not None and int(largest) > 0 else None
            class_names = oip_outputs.class_names(parameters.get(oip.CLASS_NAMES))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, StopIteration) as error:
            raise self._unusable(metadata) from error
        if classes is None or not (outputs or policy):
            raise self._unusable(metadata)
        self._binary = self._binary and oip.BINARY_EXTENSION in extensions
        states_free = oip.IDEMPOTENCY_EXTENSION in extensions
        return Description(
            # A fingerprint names the same teacher on every server; any other version names it on this server only.
            id=version if oip.FINGERPRINT_EXTENSION in extensions else self._local_id(version),
            image_shape=(channels, height, width) if min(sizes) > 0 else None,
            num_classes=classes,
            max_request_size=max_request_size,
            outputs=outputs,
            repeats_are_free=states_free if self._repeats_are_free is None else self._repeats_are_free,
            class_names=class_names,
            input_datatype=images.get("datatype"),
            channels=channels if channels > 0 else None,
            states_classes=stated_classes is not None,
        )

    def _extensions(self) -> list[Any]:
        extensions = self._sender.json("/v2").get("extensions")
        return extensions if isinstance(extensions, list) else []

    def _metadata(self, version: str | None = None) -> dict[str, Any]:
        """The metadata of the model, or of one version of it."""
        try:
            return self._sender.json(self._path if version is None else f"{self._path}/versions/{version}")
        except TeacherError as error:
            if status_of(error) != 404:
                raise
            wrong = f"teacher.model: expected the model's name on the server, got {self._model!r}"
            if version is not None:
                wrong = f"teacher.model_version: expected a version that the server describes, got {version!r}"
            raise TeacherError(f"{error}; check {wrong}") from error

    def quota(self) -> Quota | None:
        """The response of `GET /v1/quota`; None if there is no such endpoint."""
        return oip_account.quota(self._sender)

    def queries(self, since: float | None = None) -> Iterator[LoggedQuery] | None:
        """The pages of `GET /v1/queries`; None if there is no such endpoint."""
        return oip_query_log.queries(self._sender, since)

    def buy(
        self,
        images: NDArray[np.uint8],
        *,
        description: Description,
        idempotency_key: str,
        outputs: tuple[str, ...] = ("logits",),
    ) -> Answer:
        """See `Teacher.buy`. The request names the model's version, so a server with another one rejects it.

        Raises:
            TeacherChanged: the server has another version now.
        """
        version = self._version_of(description)
        body = self._encoded(images, self._tensor_names(outputs), idempotency_key)
        try:
            response = self._sender.buy(
                f"{self._path}/versions/{version}/infer" if self._has_versions else f"{self._path}/infer",
                samples=len(images),
                repeats_are_free=description.repeats_are_free,
                content=body.content,
                headers={**body.headers, "Idempotency-Key": f'"{idempotency_key}"'},
            )
        except TeacherError as error:
            if status_of(error) == 404 and (now := self._version_now(version)) != version:
                raise self._changed(version, now, "nothing more was sent") from error
            raise
        raw = received(response, asked_of=description.id, answered_by=description.id)
        return self.read(
            raw, samples=len(images), description=description, idempotency_key=idempotency_key, outputs=outputs
        )

    def read(
        self,
        raw: RawAnswer,
        *,
        samples: int,
        description: Description,
        idempotency_key: str,
        outputs: tuple[str, ...] = ("logits",),
    ) -> Answer:
        """See `Teacher.read`."""
        version = self._version_of(description)
        names = self._tensor_names(outputs)

        def read(raw: RawAnswer) -> Answer:
            try:
                head, tensors = oip.decode_response(raw.content, raw.headers.get(oip.HEADER_LENGTH.lower()), names)
            except oip.ProtocolError as error:
                raise ValueError(
                    f"{self._url}: expected an answer in the Open Inference Protocol, got another ({error})"
                ) from error
            if head.id not in (None, "", idempotency_key):
                raise ValueError(
                    f"{self._url}: expected the answer to request {idempotency_key}, got that to request "
                    f"{shown_text(head.id)}"
                )
            answered = head.model_version or version
            try:
                bought = {kind: self._values(kind, tensors, samples, description) for kind in outputs}
            except ValueError as error:
                of_another = f", in an answer of version {answered} instead of {version}" if answered != version else ""
                raise ValueError(f"{self._url}: {error}{of_another}") from error
            teacher_id = description.id
            if answered != version:
                teacher_id = self._local_id(answered) if description.id == self._local_id(version) else answered
            return Answer(bought, teacher_id, raw.headers.get("x-request-id"))

        return read_paid(raw, read)

    def _values(
        self, kind: str, tensors: dict[str, NDArray[Any]], samples: int, description: Description
    ) -> NDArray[np.float32]:
        # A kind that is not sold any more was sold when this purchase began, so its answer is stored.
        expected = description.outputs.get(kind)
        return oip_outputs.read(kind, tensors, self._logits_name, samples, expected, description.num_classes)

    def _tensor_names(self, outputs: Iterable[str]) -> list[str]:
        names = (name for kind in outputs for name in oip_outputs.tensor_names(kind, self._logits_name))
        return list(dict.fromkeys(names))

    def _version_of(self, description: Description) -> str:
        return description.id.removeprefix(self._local_id("")).rsplit("/", 1)[-1]

    def _encoded(self, images: NDArray[np.uint8], names: Iterable[str], request_id: str) -> oip.Body:
        if self._binary:
            return oip.encode_request({self._input_name: images}, outputs=list(names), request_id=request_id)
        tensor = {"name": self._input_name, "shape": list(images.shape), "datatype": "UINT8"}
        head = {
            "id": request_id,
            "inputs": [{**tensor, "data": images.ravel().tolist()}],
            "outputs": [{"name": name} for name in names],
        }
        return oip.Body(json.dumps(head, separators=(",", ":")).encode(), None)

    def _version(self, metadata: dict[str, Any]) -> str:
        """The version to buy from: the configured one, or else the latest."""
        versions = _versions(metadata)
        self._has_versions = bool(versions)
        if self._model_version is None:
            return _latest(versions)
        if versions and self._model_version not in versions:
            raise TeacherError(
                f"{self._url}: expected version {self._model_version!r} of model {self._model!r}, as "
                f"teacher.model_version says, but the server lists {', '.join(versions)}. Nothing was spent"
            )
        return self._model_version

    def _version_now(self, before: str) -> str:
        """The version before, if the server still lists it as wanted; otherwise the latest."""
        try:
            versions = _versions(self._sender.json(self._path))
            return before if self._model_version in versions else _latest(versions)
        except (TeacherError, IndexError, TypeError, ValueError):
            return before

    def _unusable(self, metadata: dict[str, Any]) -> TeacherError:
        return TeacherError(
            f"{self._url}: expected model {self._model!r} to take `{self._input_name}` [N, C, H, W] and return "
            f"`{self._logits_name}` [N, classes] or another known output, got {str(metadata)[:300]}; set "
            "teacher.input_name, output_name, model_version or num_classes if the server does not state them"
        )

    def _changed(self, before: str, now: str, so: str) -> TeacherChanged:
        return TeacherChanged(
            f"{self._url}: expected version {before} of model {self._model!r}, which the plan is for, got version "
            f"{now}; {so}"
        )

    def _local_id(self, version: str) -> str:
        return f"{self._url}/{self._model}/{version}"


def _versions(metadata: dict[str, Any]) -> list[str]:
    """The versions in the metadata, which are part of names and URLs. Raises `TypeError` for anything else."""
    stated = metadata.get("versions") or []
    versions = [str(version) for version in stated if isinstance(version, str | int)]
    if not isinstance(stated, list) or len(versions) < len(stated) or any(shown_text(it) != it for it in versions):
        raise TypeError(f"expected a list of versions, got {stated!r}")
    return versions


def _latest(versions: list[str]) -> str:
    """The largest version if all are whole numbers, otherwise the last in the list."""
    are_numbers = all(version.isascii() and version.isdecimal() for version in versions)
    return max(versions, key=int) if versions and are_numbers else versions[-1]


def _tensor(tensors: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(tensor for tensor in tensors if tensor["name"] == name)
