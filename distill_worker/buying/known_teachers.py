"""Stored descriptions of teachers: a run whose outputs are all in the cache sends no request."""

import json
import os
from dataclasses import asdict
from hashlib import sha256
from typing import Any, Final

from distill_worker.cache import Cache
from distill_worker.config.teacher_address import TeacherAddress
from distill_worker.teachers.base import Description
from distill_worker.teachers.http_client import checked_url
from distill_worker.teachers.http_errors import public_url

_SETTINGS_BEFORE: Final = {
    "input_name": "images",
    "output_name": "logits",
    "labels": {},
    "top_k": 5,
    "score_digits": None,
}
"""Settings that the name of every stored description depends on, in any protocol. Earlier versions had one section for
all protocols and hashed all its settings; with these defaults, their descriptions still load."""
_LONGEST_PART: Final = 400


def save_description(cache: Cache, address: TeacherAddress, credential: str, description: Description) -> None:
    """Store the description that the teacher at this address gave to the API key of this credential."""
    cache.save_teacher(_name(address, credential), asdict(description))


def load_description(cache: Cache, address: TeacherAddress, credential: str) -> tuple[Description, float] | None:
    """The stored description and its time, in seconds since the epoch; None if there is none."""
    stored = cache.teacher_description(_name(address, credential))
    if stored is None:
        return None
    facts, seen_at = stored
    shape = facts["image_shape"]
    outputs = {kind: tuple(sizes) for kind, sizes in facts["outputs"].items()}
    names = facts.get("class_names")
    description: dict[str, Any] = {
        **facts,
        "image_shape": shape and tuple(shape),
        "outputs": outputs,
        "class_names": names and tuple(names),
    }
    return Description(**description), seen_at


def url_of(address: TeacherAddress) -> str:
    """The URL in TEACHER_URL, or else the configured one.

    Raises:
        ConfigError: it is no URL of an HTTP server.
    """
    overriding = os.environ.get("TEACHER_URL", "").strip()
    return checked_url(overriding, "TEACHER_URL") if overriding else checked_url(address.url, "teacher.url")


def _name(address: TeacherAddress, credential: str) -> str:
    """The name of a stored description, below the 1000 characters that its column holds."""
    parts = [
        address.protocol,
        _short(public_url(url_of(address))),
        _short(address.model),
        credential,
        _settings(address),
    ]
    return " ".join(parts)


def _settings(address: TeacherAddress) -> str:
    """A hash of the settings that the description depends on."""
    settings = _SETTINGS_BEFORE | address.description_settings
    return sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_PART else sha256(text.encode()).hexdigest()
