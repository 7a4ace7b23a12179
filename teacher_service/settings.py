"""The service's settings, read once from `TEACHER_*` variables (and the command line), frozen, and passed in."""

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Each field is the environment variable `TEACHER_<FIELD>` in capitals."""

    model_config = SettingsConfigDict(
        env_prefix="TEACHER_", frozen=True, env_ignore_empty=True, use_attribute_docstrings=True
    )

    weights: Path | None = None
    """The self-describing weights file to serve, or an ONNX model."""
    model_name: str = Field(default="teacher", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """What the model is called on the wire."""
    data_dir: Path = Path("teacher-data")
    """Where the default SQLite ledger lives."""
    database_url: str | None = None
    """URL of the ledger, `sqlite:///file` or `postgresql://user:password@host/name`; by default a SQLite file in
    `data_dir`. On PostgreSQL, several services on several machines may share one."""
    host: str = "127.0.0.1"
    """Where it listens; `0.0.0.0` is every address of the machine."""
    port: int = Field(default=8000, ge=0, le=65535)
    """0 takes any free port; the address is printed on standard output."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What runs the model; `auto` is a GPU where there is one."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Other than float32, the network runs under autocast: faster on many GPUs, and another teacher, as its answers
    are not the same."""
    pin_memory: bool = True
    """Whether images reach a GPU through page-locked memory."""
    trust_code: bool = False
    """Whether the weights file may name a network of its own (`module:factory`), whose code is then run."""
    max_batch_size: int = Field(default=256, ge=1)
    """The most samples that one request may hold."""
    pass_size: int | None = Field(default=None, ge=1)
    """Samples that go through the model at once; by default 16 on a processor, whose cache holds no more, and
    `max_batch_size` on a GPU."""
    batch_timeout_seconds: float = Field(default=0.002, ge=0, le=1)
    """How long an idle model waits for requests that are admitted and on their way to it."""
    model_threads: int | None = Field(default=None, ge=1)
    """Processor threads that the model may use; by default as many as torch likes."""
    max_queued_samples: int = Field(default=4096, ge=1)
    """Samples admitted and not yet answered; beyond it requests get 503."""
    drain_seconds: float = Field(default=30, ge=0, le=3600)
    """How long a service that is told to stop answers what it admitted."""
    admin_key: SecretStr | None = Field(default=None, min_length=16)
    """What `/v1/admin` must be asked with; without it nobody may."""
    metrics_key: SecretStr | None = Field(default=None, min_length=16)
    """What `/metrics` and the models' statistics must be asked with; without it they are open."""
    log_level: Literal["info", "warning", "error"] = "info"
    """`info` has a line for every query."""
    log_format: Literal["logfmt", "json"] = "logfmt"
    """How a line is written."""
    answer_retention_hours: float = Field(default=24, gt=0)
    """How long an answer is kept for its Idempotency-Key to replay; `inf` for ever."""
    max_body_bytes: int = Field(default=64 * 2**20, ge=1024)
    """Of a body, as it comes and, where it is compressed, inflated."""
    max_json_bytes: int = Field(default=4 * 2**20, ge=1024)
    """Of a body, the JSON before any binary tensors: parsing more would keep the other requests waiting."""
    body_timeout_seconds: float = Field(default=30, gt=0, le=3600)
    """How long a request's body may take to arrive."""

    @model_validator(mode="after")
    def _a_full_request_fits_the_queue(self) -> Self:
        if self.max_queued_samples < self.max_batch_size:
            raise ValueError(f"max_queued_samples: expected at least max_batch_size ({self.max_batch_size})")
        return self

    @field_validator("database_url")
    @classmethod
    def _is_durable(cls, url: str | None) -> str | None:
        a_file = url is not None and url.startswith("sqlite:///") and ":memory:" not in url and len(url) > 10
        if url is not None and not a_file and not _names_a_server(url):
            raise ValueError(
                "expected the URL of a SQLite file (sqlite:///folder/ledger.sqlite) or of a PostgreSQL database "
                "(postgresql://user:password@host/name)"
            )
        return url

    @property
    def ledger(self) -> str | Path:
        """`database_url`, or the SQLite file in `data_dir`."""
        return self.database_url or self.data_dir / "ledger.sqlite"


def _names_a_server(url: str) -> bool:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:  # it is no number
        return False
    return parts.scheme == "postgresql" and len(parts.path) > 1 and port != 0
