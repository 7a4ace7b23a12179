"""Students that should have one teacher, and have learned from several.

A cache keeps the outputs of each version of a teacher apart, a run reads those of one, and a comparison rejects
students that another one taught. A sweep keeps its finished students, so a later version may teach the others.
"""

from collections import Counter
from collections.abc import Iterable

from distill_worker.errors import counted
from distill_worker.experiments.failure_signs.listing import listed


def several_teachers(teacher_ids: Iterable[str | None]) -> str | None:
    """More than one teacher among the students of one data set and teacher.

    Args:
        teacher_ids: of the students, one each; None without a teacher.
    """
    students = Counter(one for one in teacher_ids if one is not None)
    if len(students) < 2:
        return None
    cases = [f"{one} taught {counted(number, 'student')}" for one, number in students.most_common()]
    return (
        f"Students of one teacher have learned from several versions of it: {listed(cases)}. Usually its service or "
        "its weights changed while the sweep went on, and the cache holds outputs of each version. Their accuracies do "
        "not compare: run the sweep in another compare.directory, with one version."
    )
