"""Which open purchases of other payers' names are this account's: what the teacher's own log says.

Earlier versions recorded a hash of the API key as the payer, so that after a rotation of its secret the account had
another name. Repeating a purchase that this account was charged for costs nothing.
"""

from collections.abc import Container
from typing import Final

from distill_worker.cache import Cache
from distill_worker.errors import TeacherError
from distill_worker.teachers.base import Description, Teacher

_CLOCKS_DIFFER_SECONDS: Final = 86_400.0
"""By how much the teacher's clock may be behind the worker's."""


def charged_under_other_names(
    teacher: Teacher, description: Description, cache: Cache, wanted: Container[bytes]
) -> frozenset[str]:
    """Idempotency-Keys of open purchases of wanted samples under other names that were charged to this account.

    The teacher's log is read only if there are open purchases of wanted samples under other names.
    """
    names = {teacher.payer, teacher.credential}
    others = {
        purchase.idempotency_key
        for purchase in cache.open_purchases(description.id)
        if purchase.payer not in names and any(key in wanted for key in purchase.sample_keys)
    }
    if not others:
        return frozenset()
    begun = min(record.created_at for record in cache.purchases() if record.idempotency_key in others)
    try:
        log = teacher.queries(since=begun - _CLOCKS_DIFFER_SECONDS)
        return frozenset(
            query.idempotency_key
            for query in log or ()
            if query.idempotency_key in others and query.status != "released"
        )
    except TeacherError:
        return frozenset()  # without a log they stay those of another account
