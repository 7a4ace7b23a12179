"""The service's settings: read once from `TEACHER_*` variables and command-line options, and immutable."""

import re
from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.durable.database_url import ESCAPES
from shared.durable.engine import url_fault

_SERVICE_LINK: Final = re.compile(r"(?:tcp|udp|sctp)://\S+:\d+")


class Settings(BaseSettings):
    """Settings of the service; the environment variable of each is `TEACHER_` and its name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix="TEACHER_",
        frozen=True,
        env_ignore_empty=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,  # it may be a secret
    )

    weights: Path | None = None
    """The file to serve, which describes itself: a weights file, an ONNX model, or an archive of TorchScript or
    torch.export."""
    model_name: str = "teacher"
    """Name of the model in URLs and responses."""
    data_dir: Path = Path("teacher-data")
    """Folder of the default SQLite ledger."""
    database_url: str | None = None
    """URL of the ledger, `sqlite:///file` or `postgresql://user:password@host/name`; by default a SQLite file in
    `data_dir`. In a user name or password, write % as %25, @ as %40, : as %3A, / as %2F, # as %23 and ? as %3F. Several
    services, on several machines, may share a PostgreSQL ledger."""
    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` is every address of the machine."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 takes any free port. The address is printed to standard output. A value `tcp://...`, which
    Kubernetes sets for a service named `teacher`, is ignored."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device that runs the model; `auto` takes a GPU if there is one."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Floating-point type of the network; other than float32, it runs under autocast. That is faster on many GPUs, but
    its outputs differ, so it counts as another teacher."""
    pin_memory: bool = True
    """Whether images are copied to a GPU through page-locked memory."""
    trust_code: bool = False
    """Whether the file may bring code that the service then runs: it names its own network (`module:factory`), or is a
    TorchScript or torch.export archive."""
    max_batch_size: int = Field(default=256, ge=1)
    """Maximum samples in one request."""
    pass_size: int | None = Field(default=None, ge=1)
    """Maximum samples in one pass of the model; by default 16 on a CPU, whose cache holds no more, and `max_batch_size`
    on a GPU."""
    batch_timeout_seconds: float = Field(default=0.002, ge=0, le=1)
    """How long an idle model waits for admitted requests that are not ready yet, to share a pass with them."""
    model_threads: int | None = Field(default=None, ge=1)
    """Maximum CPU threads of the model; by default PyTorch chooses."""
    max_queued_samples: int = Field(default=4096, ge=1)
    """Maximum samples admitted and not yet answered; a request beyond it gets 503."""
    drain_seconds: float = Field(default=30, ge=0, le=3600)
    """Maximum time to finish the queries in flight when the service is stopped."""
    admin_key: SecretStr | None = Field(default=None, min_length=16)
    """Bearer token for `/v1/admin`; if unset, the admin API is disabled."""
    metrics_key: SecretStr | None = Field(default=None, min_length=16)
    """Bearer token for `/metrics` and the statistics of models; if unset, they require none."""
    log_level: Literal["info", "warning", "error"] = "info"
    """Lowest level that is logged; `info` writes a line for every query."""
    log_format: Literal["logfmt", "json"] = "logfmt"
    """Format of a log line."""
    answer_retention_hours: float = Field(default=24, gt=0)
    """How long an answer is stored for replay under its Idempotency-Key; `inf` keeps it for ever."""
    max_body_bytes: int = Field(default=64 * 2**20, ge=1024)
    """Maximum size of a request body, both as sent and decompressed."""
    max_json_bytes: int = Field(default=4 * 2**20, ge=1024)
    """Maximum size of the JSON in a request body: parsing more would delay other requests."""
    body_timeout_seconds: float = Field(default=30, gt=0, le=3600)
    """Maximum time for a request body to arrive."""

    @field_validator("*", mode="before")
    @classmethod
    def _has_no_space_around(cls, value: object) -> object:
        """A file that holds a secret ends with a newline, and so does a variable that is made of it."""
        return value.strip() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _a_full_request_fits_the_queue(self) -> Self:
        if self.max_queued_samples < self.max_batch_size:
            raise ValueError(
                f"max_queued_samples: expected at least max_batch_size ({self.max_batch_size}), got "
                f"{self.max_queued_samples}"
            )
        return self

    @field_validator("model_name")
    @classmethod
    def _fits_a_url(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
            raise ValueError("expected 1 to 64 letters, digits and . _ - with a letter or digit first")
        return name

    @field_validator("port", mode="before")
    @classmethod
    def _is_no_service_link(cls, port: object) -> object:
        return cls.model_fields["port"].default if is_service_link(port) else port

    @field_validator("weights", "data_dir")
    @classmethod
    def _home_is_expanded(cls, path: Path | None) -> Path | None:
        try:
            return None if path is None else path.expanduser()
        except RuntimeError as error:
            raise ValueError(f"expected ~ or the name of a user after it, got {str(path)!r}") from error

    @field_validator("database_url")
    @classmethod
    def _is_a_database_on_disk(cls, url: str | None) -> str | None:
        a_file = url is not None and url.startswith("sqlite:///") and ":memory:" not in url and len(url) > 10
        if url is None or a_file:
            return url
        if not _is_postgresql_url(url):
            raise ValueError(
                "expected the URL of a SQLite file (sqlite:///folder/ledger.sqlite) or of a PostgreSQL database "
                f"(postgresql://user:password@host/name); in a user name or password, {ESCAPES}"
            )
        if (fault := url_fault(url)) is not None:
            raise ValueError(fault)
        return url

    @property
    def ledger(self) -> str | Path:
        """`database_url`, or the SQLite file in `data_dir`."""
        return self.database_url or self.data_dir / "ledger.sqlite"


def is_service_link(port: object) -> bool:
    """Whether this is what Kubernetes, or a link of Docker, sets `TEACHER_PORT` to for a service named `teacher`."""
    return isinstance(port, str) and _SERVICE_LINK.fullmatch(port.strip()) is not None


def _is_postgresql_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # the port is not a number, or the host is in wrong brackets
        return False
    return parts.scheme == "postgresql" and len(parts.path) > 1 and port != 0
