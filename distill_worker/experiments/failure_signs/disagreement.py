"""A teacher that is wrong on the bought samples far more often than their labels suggest."""

from typing import Final

from distill_worker.data.agreement import Counts, is_certainly_below

SHARE_OF_WAY: Final = 0.5
"""On the way from chance to what is expected of the teacher: its test accuracy or, if that is not stated, 100 %.
Samples that are hard to classify cost a teacher a part of the way; half of it and more is lost by classes in another
order or by wrong preprocessing."""


def teacher_against_labels(counts: Counts, test_accuracy: float | None = None) -> str | None:
    """A teacher whose likeliest class is the label certainly less often than half of the way says.

    Args:
        counts: of the bought samples, with the labels of the data set.
        test_accuracy: of the teacher, a share of 1, if it is stated.
    """
    chance, expected = 1 / counts.num_classes, 1.0 if test_accuracy is None else test_accuracy
    bound = chance + SHARE_OF_WAY * (expected - chance)
    if not 0 < bound < 1 or not is_certainly_below(counts, bound):
        return None
    against = "what the labels suggest" if test_accuracy is None else f"its test accuracy of {100 * expected:.1f} %"
    return (
        f"The teacher's likeliest class is the label of {counts.agreements:,} of {counts.samples:,} bought samples "
        f"({100 * counts.agreements / counts.samples:.1f} %), far below {against}. Usually its classes are in another "
        "order, or it expects other preprocessing than the images get; a teacher that was made worse on purpose does "
        "so, too. Compare the names of its classes and its mean and std with those of the data before you buy more."
    )
