"""Teachers that were met before, and what they said of themselves: a run whose outputs are all held asks nobody."""

import json
import os
from dataclasses import asdict
from hashlib import sha256
from typing import Any, Final

from distill_worker.cache import Cache
from distill_worker.config.teacher_address import TeacherAddress
from distill_worker.teachers.addresses import public_url
from distill_worker.teachers.base import Description

_SETTINGS_BEFORE: Final = {
    "input_name": "images",
    "output_name": "logits",
    "labels": {},
    "top_k": 5,
    "score_digits": None,
}
"""Settings of one protocol that stored names of the other depend on too: names were derived from all of them when the
protocols shared one section. Without these values, descriptions that were stored then would not be loaded any more."""
_LONGEST_PART: Final = 400


def remember(cache: Cache, address: TeacherAddress, payer: str, description: Description) -> None:
    """Keep what the teacher at this address says of itself to this account."""
    cache.save_teacher(_name(address, payer), asdict(description))


def recall(cache: Cache, address: TeacherAddress, payer: str) -> tuple[Description, float] | None:
    """What it said when it was last asked, and when that was, in seconds since the epoch; None when it never was."""
    known = cache.teacher_description(_name(address, payer))
    if known is None:
        return None
    facts, seen_at = known
    shape = facts["image_shape"]
    outputs = {kind: tuple(sizes) for kind, sizes in facts["outputs"].items()}
    description: dict[str, Any] = {**facts, "image_shape": shape and tuple(shape), "outputs": outputs}
    return Description(**description), seen_at


def url_of(address: TeacherAddress) -> str:
    """TEACHER_URL from the environment, or else the configured one."""
    return os.environ.get("TEACHER_URL") or address.url


def _name(address: TeacherAddress, payer: str) -> str:
    """Of the teacher at this address to this account, as it is configured: below the 1000 characters that are kept."""
    parts = [address.protocol, _short(public_url(url_of(address))), _short(address.model), payer, _settings(address)]
    return " ".join(parts)


def _settings(address: TeacherAddress) -> str:
    """A hash of the settings that the description depends on."""
    settings = _SETTINGS_BEFORE | address.description_settings
    return sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_PART else sha256(text.encode()).hexdigest()
