"""The client of each protocol."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from distill_worker.config.teacher_address import (
    ChatAddress,
    LabelledScoresAddress,
    OpenInferenceAddress,
    TeacherAddress,
    VendorAddress,
)
from distill_worker.teachers.base import Teacher
from distill_worker.teachers.http_sender import Sender
from distill_worker.teachers.oip import OipTeacher
from distill_worker.teachers.vendors.chat import ChatTeacher
from distill_worker.teachers.vendors.labelled_scores import LabelledScoresTeacher
from distill_worker.teachers.vendors.one_image import Vendor


def teacher_at(
    address: TeacherAddress,
    *,
    url: str,
    api_key: str | None,
    on_retry: Callable[[str], None] = lambda _: None,
    on_clock: Callable[[float], None] = lambda _: None,
) -> AbstractContextManager[Teacher]:
    """Open a client of the teacher at `url`, in the protocol of its address; `on_clock` as in `Sender`."""
    sender = Sender(
        url,
        api_key=api_key,
        timeout_seconds=address.timeout_seconds,
        give_up_after_seconds=address.give_up_after_seconds,
        most_at_once=address.concurrency,
        on_retry=on_retry,
        on_clock=on_clock,
    )
    match address:
        case OpenInferenceAddress():
            return OipTeacher(
                sender,
                model=address.model,
                input_name=address.input_name,
                logits_name=address.output_name,
                binary=address.binary,
                repeats_are_free=address.repeats_are_free,
                model_version=address.model_version,
                num_classes=address.num_classes,
            )
        case LabelledScoresAddress():
            return LabelledScoresTeacher(
                sender,
                _vendor(address, url),
                top_k=address.top_k,
                score_digits=address.score_digits,
                fields=address.answer,
            )
        case ChatAddress():
            return ChatTeacher(
                sender,
                _vendor(address, url),
                prompt=address.prompt,
                top_k=address.top_k,
                top_logprobs=address.top_logprobs,
                detail=address.detail,
                parameters=address.parameters,
            )


def _vendor(address: VendorAddress, url: str) -> Vendor:
    return Vendor(
        url,
        address.model,
        address.labels,
        sends_files=address.send == "file",
        image_size=address.image_size,
        model_version=address.model_version,
        num_classes=address.num_classes,
        repeats_are_free=bool(address.repeats_are_free),
    )
