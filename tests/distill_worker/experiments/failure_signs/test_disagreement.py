"""A teacher that is wrong on the bought samples far more often than their labels suggest."""

from scipy.stats import binom

from distill_worker.data.agreement import Counts
from distill_worker.experiments.failure_signs.disagreement import teacher_against_labels


def test_classes_in_another_order_are_far_below_the_test_accuracy() -> None:
    """Three of ten classes are at their places."""
    sign = teacher_against_labels(Counts(60, 200, 10), 0.98)
    assert sign is not None
    assert "the label of 60 of 200 bought samples (30.0 %), far below its test accuracy of 98.0 %. " in sign
    assert "another order" in sign


def test_teacher_without_a_stated_accuracy_is_compared_with_the_labels() -> None:
    sign = teacher_against_labels(Counts(60, 200, 10))
    assert sign is not None
    assert "far below what the labels suggest" in sign


def test_bound_is_half_of_the_way_and_certain() -> None:
    """Of 10 classes and an accuracy of 90 %, half of the way is 50 %; the test is the exact binomial one."""
    last = max(count for count in range(100) if binom.cdf(count, 100, 0.5) < 1e-4)
    assert teacher_against_labels(Counts(last, 100, 10), 0.9) is not None
    assert teacher_against_labels(Counts(last + 1, 100, 10), 0.9) is None


def test_few_samples_and_weak_teachers_are_silent() -> None:
    """A teacher that gets 45 % of the test images right gets 45 % of the bought samples right."""
    assert teacher_against_labels(Counts(0, 10, 10), 0.98) is None
    assert teacher_against_labels(Counts(0, 0, 10), 0.98) is None
    assert teacher_against_labels(Counts(450, 1000, 100), 0.45) is None
