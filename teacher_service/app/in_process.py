"""The service inside a Python program, such as a notebook: a model gets an address, a ledger, a quota and an API key.

Invariant: what is served is a copy of the model as it was handed over, and it is never pickled. The quota is kept as in
any other service: in the ledger, on disk before an answer leaves.
"""

import atexit
import copy
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import structlog
from torch import nn

from shared.networks.foreign import described
from shared.networks.module_code import network_digest
from shared.weights import FINGERPRINT_LENGTH, fingerprint
from teacher_service.api.server import address, listen
from teacher_service.app.application import create_app
from teacher_service.app.server_thread import ServerThread
from teacher_service.database.engine import LedgerUnusable, explained, open_database
from teacher_service.errors.service_errors import ServiceError, Unauthorized
from teacher_service.keys.api_key import key_id_of
from teacher_service.keys.key_file import keep_key
from teacher_service.keys.request_schemas import CreateKeyRequest, parse_request
from teacher_service.keys.store import KeyStore
from teacher_service.ledger.group_commit import GroupCommit
from teacher_service.models import ModuleTeacher, Teacher, open_model
from teacher_service.models.packing.class_names import class_names as names_of
from teacher_service.models.packing.description import Description
from teacher_service.models.packing.preprocessing import NONE_STATED, Preprocessing, preprocessing_of
from teacher_service.models.packing.whole_network import card_of
from teacher_service.policy.key_terms import KeyTerms
from teacher_service.policy.quota import Quota
from teacher_service.settings import Settings

_KEY: Final = "notebook"
"""Name of the key, and of its file in the folder of the ledger."""


class RunningService:
    """A service that answers until `stop`; as a context manager, until its block ends."""

    def __init__(
        self, url: str, api_key: str, settings: Settings, keys: KeyStore, thread: ServerThread, resources: ExitStack
    ) -> None:
        """Made by `serve`."""
        self.url = url
        """Its address, such as http://127.0.0.1:41375."""
        self.api_key = api_key
        """The secret of its key, for `Authorization: Bearer <key>` or TEACHER_API_KEY."""
        self._settings = settings
        self._keys = keys
        self._thread = thread
        self._resources = resources
        self._is_running = True
        self._last: Quota | None = None
        atexit.register(self.stop)

    def quota(self) -> Quota:
        """The key's quota now, in samples: `limit`, `used`, `remaining`. After `stop`: as it was at the end."""
        return self._last or self._keys.show(key_id_of(self.api_key)).quota

    def stop(self) -> None:
        """Finish the queries in flight and end the service. A folder that `serve` made is deleted."""
        if not self._is_running:
            return
        self._is_running = False
        atexit.unregister(self.stop)
        with self._resources:
            self._thread.stop()
            with suppress(LedgerUnusable, ServiceError), _key_store(self._settings) as keys:
                self._last = keys.show(key_id_of(self.api_key)).quota

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        """For a notebook: what is running, without the secret."""
        quota, state = self.quota(), "at" if self._is_running else "stopped; was at"
        return f"<teacher {state} {self.url}; {quota.remaining} of {quota.limit} samples remain>"


def serve(
    model: nn.Module | str | Path,
    *,
    quota: int,
    class_names: Sequence[str] | str | None = None,
    preprocessing: Preprocessing | Mapping[str, Any] | str | None = None,
    image_size: int | tuple[int, int] | None = None,
    outputs: str = "logits",
    data_dir: str | Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    device: str = "auto",
    trust_code: bool = False,
) -> RunningService:
    """Serve a model from this process, behind a quota, as `teacher-service serve` does; return when it answers.

    with teacher_service.serve(model, class_names=["cat", "dog"], preprocessing="imagenet", quota=500) as teacher:
        print(teacher.url, teacher.api_key, teacher.quota().remaining)

    Args:
        model: a network from images, float [batch, channels, height, width], normalised, to logits; it is copied, and
            runs in evaluation mode and float32. Or the path of a file that `serve --weights` takes.
        quota: lifetime quota of the key, in samples.
        class_names: in the order of the logits, as a list, or as `pack --class-names` takes them; default 0, 1, 2, ...
        preprocessing: mean, std, image_size and resize, as a `Preprocessing`, a mapping or the name of a preset:
            imagenet, zero-to-one or minus-one-to-one.
        image_size: height and width of the images that clients send, or one number for both.
        outputs: what the key may see, as `keys create --outputs` takes it.
        data_dir: folder of the ledger and of the key's secret (`notebook.key`). Started again on the same folder, the
            service goes on with the same key and with what is left of its quota. By default a new folder, which is
            deleted when the service ends.
        host: address to listen on.
        port: port to listen on; 0 takes any free port.
        device: auto, cpu or cuda.
        trust_code: whether a file may name code that is then run.

    Raises:
        ValueError: the model, the key's terms or an argument does not fit; the message names it.
        LedgerUnusable: the ledger cannot be opened.
        OSError: the address cannot be used.
    """
    if not structlog.is_configured():  # or each query would print a line into the notebook
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("warning"))
    teacher = _teacher(model, class_names, _preprocessing(preprocessing, image_size), device, trust_code=trust_code)
    with ExitStack() as resources:
        folder = Path(data_dir or resources.enter_context(tempfile.TemporaryDirectory(prefix="teacher-"))).expanduser()
        settings = Settings(weights=None, data_dir=folder, database_url=None, host=host, port=port)
        api_key = _key(settings, quota, outputs)
        app = create_app(settings, teacher)
        listener = listen(host, port)
        url = address(listener)
        thread = ServerThread(listener, app, settings.drain_seconds)
        return RunningService(url, api_key, settings, app.state.service.keys, thread, resources.pop_all())


def _teacher(
    model: nn.Module | str | Path,
    class_names: Sequence[str] | str | None,
    preprocessing: Preprocessing,
    device: str,
    *,
    trust_code: bool,
) -> Teacher:
    if not isinstance(model, nn.Module):
        if class_names is not None or preprocessing != NONE_STATED:
            raise ValueError(
                f"model: expected no class_names and no preprocessing beside the file {model}, which states its own; "
                "leave them out, or write another file with `teacher-service pack`"
            )
        return open_model(Path(model).expanduser(), device, trust_code=trust_code)
    name = type(model).__name__
    try:
        network = copy.deepcopy(model).cpu().float().eval()
    except Exception as error:  # a module may hold anything
        raise ValueError(
            f"model: expected a module that can be copied, got an error from {name} ({described(error)}); leave out "
            "what a forward pass stored in it"
        ) from error
    names = names_of(class_names) if isinstance(class_names, str) else class_names
    description = Description(f"the model {name}", None if names is None else tuple(map(str, names)), preprocessing)
    card = card_of(network, f"given::{name}", description)
    identity = f"{fingerprint(card, network.state_dict())}:{network_digest(network)}"
    return ModuleTeacher(card, network, sha256(identity.encode()).hexdigest()[:FINGERPRINT_LENGTH], device)


def _preprocessing(
    given: Preprocessing | Mapping[str, Any] | str | None, image_size: int | tuple[int, int] | None
) -> Preprocessing:
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    return preprocessing_of(given).changed(image_size=size)


def _key(settings: Settings, quota: int, outputs: str) -> str:
    """The secret of the key in the folder of the ledger; a new key, if there is none.

    Raises:
        ValueError: the terms are wrong, the file is not that of a key of this ledger, or the key has another quota.
        LedgerUnusable: the ledger cannot be opened.
    """
    file = settings.data_dir / f"{_KEY}.key"
    try:
        request = parse_request(CreateKeyRequest, {"name": _KEY, "quota": quota, "outputs": outputs}, time.time())
        with _key_store(settings) as keys:
            keep_key(keys, _KEY, quota, file, KeyTerms(**request.given_terms))
            secret = file.read_text(encoding="ascii").strip()
            held = keys.authenticate(secret)
    except Unauthorized as error:
        raise ValueError(
            f"data_dir: expected in {file} the key of this ledger, got another or a revoked one; move the file away"
        ) from error
    except ServiceError as error:
        raise ValueError(error.detail.removeprefix("body: ")) from error
    if held.limit != quota:
        raise ValueError(
            f"quota: expected {held.limit}, which the key in {file} has, got {quota}; pass the same number, name "
            f"another data_dir, or add to it: teacher-service keys grant {_KEY} --samples N --data-dir "
            f"{settings.data_dir}"
        )
    return secret


@contextmanager
def _key_store(settings: Settings) -> Iterator[KeyStore]:
    """The keys of the ledger. Raises `LedgerUnusable`."""
    with explained(settings.ledger):
        engine = open_database(settings.ledger)
    commits = GroupCommit(engine)
    try:
        yield KeyStore(engine, commits, time.time)
    finally:
        commits.close()
        engine.dispose()
