"""A client of labelled scores whose settings are stated in one list."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from distill_worker.teachers.http_sender import Sender
from distill_worker.teachers.vendors.labelled_scores import LabelledScoresTeacher
from distill_worker.teachers.vendors.one_image import Vendor

_OF_VENDOR = {field.name for field in fields(Vendor)}


def labelled_scores(
    sender: Sender, *, url: str, model: str, labels: Mapping[str, int], **options: Any
) -> LabelledScoresTeacher:
    """A client with these settings of the vendor and of how its answers are read."""
    of_vendor = {name: options.pop(name) for name in _OF_VENDOR & options.keys()}
    return LabelledScoresTeacher(sender, Vendor(url, model, labels, **of_vendor), **options)
