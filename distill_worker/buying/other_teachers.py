"""Samples to buy whose outputs were bought from another teacher, which may be the same one under another name.

A teacher without a fingerprint is named by its URL, model and version, so `localhost` in place of `127.0.0.1` makes
another teacher of it, and all samples would be paid for again.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from distill_worker.cache import Cache
from distill_worker.cache.purchases import open_purchases
from distill_worker.cache.raw_answers import unread_purchases
from distill_worker.errors import CacheError, counted

_MEANING: Final = re.compile(r"[0-9a-f]{12}")
"""The last part of a name of `OneImageTeacher`."""
_ASKED: Final = re.compile(r"asked-[0-9a-f]{12}")
_SENT: Final = re.compile(rf"{_ASKED.pattern}|file|\d+x\d+")


@dataclass(frozen=True)
class HeldOfAnother:
    """Samples to buy that were bought from another teacher: cached, in open purchases, or in kept answers."""

    teacher_id: str
    samples: int
    """Samples to buy whose outputs, of all kinds that are wanted, are in the cache, in an open purchase from it, or in
    an answer that is kept because it cannot be read."""
    may_be_the_same: bool
    """Whether the two names differ in the address alone, in the version alone, or in what the teacher is sent alone."""
    was_sent_otherwise: bool = False
    """Whether they differ in what the teacher is sent alone."""
    cache: Path | None = None
    """The cache that has them, if it is another one."""

    was_asked_otherwise: bool = False
    """Whether they differ in what is sent beside the image."""
    was_read_otherwise: bool = False
    """Whether they differ in the labels or fields by which answers are read alone."""

    def __str__(self) -> str:
        have = "has its outputs" if self.samples == 1 else "have their outputs"
        if self.cache is not None:
            return (
                f"{counted(self.samples, 'sample')} to buy {have} in the cache {self.cache}, from teacher "
                f"{self.teacher_id}; to use them, set output.cache to that file, or import what "
                f"`distill-worker cache export --cache {self.cache}` writes"
            )
        holds = (
            f"{counted(self.samples, 'sample')} to buy {have} in the cache, in an open purchase, or in a kept answer, "
            f"from teacher {self.teacher_id}"
        )
        if not self.may_be_the_same:
            return f"{holds}; outputs of different teachers are never mixed"
        if self.was_asked_otherwise:
            return (
                f"{holds}, which got another question: other values of teacher.prompt, labels, parameters, detail or "
                "top_logprobs. With those, these samples cost nothing"
            )
        if self.was_sent_otherwise:
            return (
                f'{holds}, which was sent other images of them. With teacher.send = "pixels", or teacher.send and '
                "teacher.image_size as in that name, these samples cost nothing"
            )
        if self.was_read_otherwise:
            return (
                f"{holds}, which read its answers under other values of teacher.labels or teacher.answer. With those, "
                "these samples cost nothing"
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
    rows = []
    for other in cache.teachers() if sample_keys else ():
        samples = 0 if other == teacher_id else _bought(cache, other, kinds, sample_keys)
        if samples:
            was_sent_otherwise = _whatever_is_sent(teacher_id) == _whatever_is_sent(other)
            is_alike = was_sent_otherwise or _may_be_the_same(teacher_id, other)
            rows.append(
                HeldOfAnother(
                    other,
                    samples,
                    is_alike,
                    was_sent_otherwise,
                    was_asked_otherwise=was_sent_otherwise and _asked(teacher_id) != _asked(other),
                    was_read_otherwise=_is_read_otherwise(teacher_id, other),
                )
            )
    return tuple(sorted(rows, key=lambda row: (not row.may_be_the_same, -row.samples, row.teacher_id)))


def held_in_other_caches(
    caches: Sequence[Path], teacher_id: str, kinds: Sequence[str], sample_keys: Sequence[bytes]
) -> tuple[HeldOfAnother, ...]:
    """The samples that other caches hold of this teacher, or of one that may be the same. Damaged caches hold none."""
    rows = []
    for place in caches if sample_keys else ():
        try:
            with Cache(place) as cache:
                for other in cache.teachers():
                    alike = other == teacher_id or _may_be_the_same(teacher_id, other)
                    if alike and (samples := _bought(cache, other, kinds, sample_keys)):
                        rows.append(HeldOfAnother(other, samples, may_be_the_same=True, cache=place))
        except CacheError:
            continue
    return tuple(rows)


def _bought(cache: Cache, teacher_id: str, kinds: Sequence[str], sample_keys: Sequence[bytes]) -> int:
    """How many of the samples were bought from a teacher in all of these kinds: answered, perhaps charged, or kept."""
    with cache.reading() as connection:
        unanswered = [*open_purchases(connection, teacher_id), *unread_purchases(connection, teacher_id, None)]
    sent = {key for purchase in unanswered if set(purchase.kinds).issuperset(kinds) for key in purchase.sample_keys}
    streams = cache.kinds_of(teacher_id)
    held = [cache.holdings(streams[kind]) for kind in kinds] if streams.keys() >= set(kinds) else []
    return sum(key in sent or (bool(held) and all(key in rows for rows in held)) for key in sample_keys)


def _whatever_is_sent(teacher_id: str) -> tuple[str, ...]:
    """The parts of a name without those that say what is sent, which `OneImageTeacher` puts before the last."""
    *parts, last = teacher_id.split("/")
    while parts and _SENT.fullmatch(parts[-1]):
        parts.pop()
    return (*parts, last)


def _asked(teacher_id: str) -> list[str]:
    return [part for part in teacher_id.split("/") if _ASKED.fullmatch(part)]


def _is_read_otherwise(teacher_id: str, other: str) -> bool:
    (*one, meaning), (*another, other_meaning) = teacher_id.split("/"), other.split("/")
    return one == another != [] and all(map(_MEANING.fullmatch, (meaning, other_meaning)))


def _may_be_the_same(teacher_id: str, other: str) -> bool:
    one, another = teacher_id.split("/"), other.split("/")
    if min(len(one), len(another)) == 1:  # a fingerprint
        return one[-1] == another[-1]
    return one[-2:] == another[-2:] or one[:-1] == another[:-1]
