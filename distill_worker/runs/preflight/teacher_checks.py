"""Checks of a teacher's description against the data of a run."""

from distill_worker.data.pictures.rules import FIRST
from distill_worker.errors import PlanRefused, counted
from distill_worker.runs.classes import agreement_so_far
from distill_worker.runs.preflight.facts import Sale
from distill_worker.runs.sampling.samples import Samples

SENT_AS = "UINT8"
"""The datatype in which images are sent: their pixels, from 0 to 255."""


def check_image_shape(sale: Sale) -> None:
    """Raise `PlanRefused` if the teacher takes images of another shape than the data's."""
    expected, got = sale.description.image_shape, sale.run.samples.dataset.image_shape
    if expected is not None and expected != got:
        raise PlanRefused(
            f"data: expected images of shape {list(expected)}, which the teacher takes, got {list(got)} in the data "
            "set. Nothing was spent. Check teacher.url and teacher.model, or set data.image_size"
        )
    if (channels := sale.description.channels) not in (None, got[0]):
        raise PlanRefused(
            f"data: expected images of {channels} channels, which the teacher takes, got {got[0]} in the data set. "
            "Nothing was spent. Check teacher.url and teacher.model"
        )


def check_classes(sale: Sale) -> None:
    """Raise `PlanRefused` if the teacher has another number of classes than the data."""
    description, got = sale.description, len(sale.run.samples.dataset.class_names)
    expected = description.num_classes
    if got == expected or (got > expected and description.may_lack_classes):
        return
    least = "at least " if description.may_lack_classes else ""
    raise PlanRefused(
        f"data: expected {least}{expected} classes, as the teacher has, got {got} in {sale.run.samples.dataset.name}. "
        "Nothing was spent. Check teacher.url, teacher.model and the data set"
    )


def check_agreement(sale: Sale) -> None:
    """Raise `PlanRefused` if outputs are left to buy, and those in the cache do not agree with the labels."""
    run = sale.run
    if not sale.values_to_buy:
        return
    if agreement := agreement_so_far(run.config, [run.samples], sale.description, sale.cache, sale.kinds):
        try:
            agreement.check()
        except PlanRefused as error:
            raise PlanRefused(f"{error}. Nothing was spent now") from error


def check_picture_rules(sale: Sale) -> None:
    """Raise `PlanRefused` if outputs are left to buy, those of some images were bought as the first rules read these,
    and the run names no rules.
    """
    config, samples = sale.run.config, sale.run.samples
    streams = sale.cache.kinds_of(sale.description.id).values()
    if config.data.rules is not None or not streams or not sale.samples_to_buy:
        return
    train, test = samples.dataset.train, samples.dataset.test  # a picture may have been in the other part
    first = {*train.first_keys.values(), *test.first_keys.values()}
    if first and config.augmentation.query_view == "augmented":
        by_first = config.model_copy(update={"data": config.data.model_copy(update={"rules": FIRST})})
        first = {*Samples.of(by_first).bought_keys}.difference(samples.bought_keys)
    held = max(len(first) - len(sale.cache.missing(stream, first)) for stream in streams) if first else 0
    if held:
        raise PlanRefused(
            f"data.rules: expected 1 or 2, because outputs of {counted(held, 'image')} were bought as an earlier "
            "version reads these (on their side, without their transparency, in other colours or another shape), got "
            "no value. Nothing was spent. Write data.rules = 1 to use these outputs, or data.rules = 2 to read images "
            "as this version does, and buy outputs again where they differ"
        )


def check_datatype(sale: Sale) -> None:
    """Raise `PlanRefused` if the teacher takes images in another datatype than the one that is sent."""
    if (got := sale.description.input_datatype) not in (None, SENT_AS):
        raise PlanRefused(
            f"teacher.input_name: expected an input that takes images as {SENT_AS}, pixels from 0 to 255, got one that "
            f"takes {got}. Nothing was spent. Put the conversion of pixels into the model on the server, or set "
            "teacher.input_name to another input"
        )
