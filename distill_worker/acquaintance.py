"""Teachers that were met before, and what they said of themselves: a run whose outputs are all held asks nobody."""

import os
from dataclasses import asdict
from typing import Any

from distill_worker.cache import Cache
from distill_worker.config import TeacherAddress
from distill_worker.teachers.base import Description


def remember(cache: Cache, address: TeacherAddress, payer: str, description: Description) -> None:
    """Keep what the teacher at this address says of itself to this account."""
    cache.meet(_name(address, payer), asdict(description))


def recall(cache: Cache, address: TeacherAddress, payer: str) -> tuple[Description, float] | None:
    """What it said when it was last asked, and when that was, in seconds since the epoch; None when it never was."""
    known = cache.met(_name(address, payer))
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
    return " ".join([address.protocol, url_of(address).rstrip("/"), address.model, payer])
