"""Samples to buy whose outputs were bought from another teacher, which may be the same one under another name.

A teacher without a fingerprint is named by its URL, model and version, so `localhost` in place of `127.0.0.1` makes
another teacher of it, and all samples would be paid for again.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from distill_worker.cache import Cache
from distill_worker.errors import counted

_SENT: Final = re.compile(r"file|\d+x\d+")


@dataclass(frozen=True)
class HeldOfAnother:
    """Outputs of samples to buy that are in the cache, or in open purchases, from another teacher."""

    teacher_id: str
    samples: int
    """Samples to buy whose outputs, of all kinds that are wanted, are in the cache or in an open purchase from it."""
    may_be_the_same: bool
    """Whether the two names differ in the address alone, in the version alone, or in what the teacher is sent alone."""
    was_sent_otherwise: bool = False
    """Whether they differ in what the teacher is sent alone."""

    def __str__(self) -> str:
        have = "has its outputs" if self.samples == 1 else "have their outputs"
        holds = (
            f"{counted(self.samples, 'sample')} to buy {have} in the cache, or in an open purchase, from teacher "
            f"{self.teacher_id}"
        )
        if not self.may_be_the_same:
            return f"{holds}; outputs of different teachers are never mixed"
        if self.was_sent_otherwise:
            return (
                f'{holds}, which was sent other images of them. With teacher.send = "pixels", or teacher.send and '
                "teacher.image_size as in that name, these samples cost nothing"
            )
        return (
            f"{holds}, which may be the same teacher. A teacher's name is teacher.url/teacher.model/version. If it is "
            "the same, set teacher.url (or TEACHER_URL), teacher.model and teacher.model_version as in that name, and "
            "these samples cost nothing"
        )


def held_of_others(
    cache: Cache, teacher_id: str, kinds: Sequence[str], sample_keys: Sequence[bytes]
) -> tuple[HeldOfAnother, ...]:
    """The other teachers that outputs of these samples were bought from, the most likely ones first."""
    streams = [cache.streams(kind) for kind in kinds]
    others = set.intersection(*map(set, streams)) - {teacher_id} if streams and sample_keys else set()
    rows = []
    for other in others:
        held = [cache.holdings(of_kind[other]) for of_kind in streams]
        opened = {
            key
            for purchase in cache.open_purchases(other)
            if set(purchase.kinds).issuperset(kinds)
            for key in purchase.sample_keys
        }
        samples = sum(key in opened or all(key in rows for rows in held) for key in sample_keys)
        if samples:
            was_sent_otherwise = _whatever_is_sent(teacher_id) == _whatever_is_sent(other)
            is_alike = was_sent_otherwise or _may_be_the_same(teacher_id, other)
            rows.append(HeldOfAnother(other, samples, is_alike, was_sent_otherwise))
    return tuple(sorted(rows, key=lambda row: (not row.may_be_the_same, -row.samples, row.teacher_id)))


def _whatever_is_sent(teacher_id: str) -> tuple[str, ...]:
    """The parts of a name without those that say what is sent, which `LabelledScoresTeacher` puts before the last."""
    *parts, last = teacher_id.split("/")
    while parts and _SENT.fullmatch(parts[-1]):
        parts.pop()
    return (*parts, last)


def _may_be_the_same(teacher_id: str, other: str) -> bool:
    one, another = teacher_id.split("/"), other.split("/")
    if min(len(one), len(another)) == 1:  # a fingerprint
        return one[-1] == another[-1]
    return one[-2:] == another[-2:] or one[:-1] == another[:-1]
