"""Other names of an account, under which earlier purchases are recorded: what the teacher's own log shows.

Earlier versions recorded a hash of the API key as the payer, so that after a rotation of its secret the account had
another name. An API key belongs to one account. So if the log has one purchase under a name, all are this account's,
and repeating an open one that was charged costs nothing.
"""

from collections.abc import Container
from typing import Final

from distill_worker.cache import Cache
from distill_worker.errors import TeacherError
from distill_worker.teachers.base import Description, Teacher

_CLOCKS_DIFFER_SECONDS: Final = 86_400.0
"""By how much the teacher's clock may be behind the worker's."""


def former_payers(teacher: Teacher, description: Description, cache: Cache, wanted: Container[bytes]) -> frozenset[str]:
    """Other names of this account, beside its payer and its credential, with open purchases of wanted samples.

    The teacher's log is read only if there are open purchases of wanted samples under other names.
    """
    names = (teacher.payer, teacher.credential)
    unknown = {
        purchase.payer
        for purchase in cache.open_purchases(description.id)
        if purchase.payer not in names and any(key in wanted for key in purchase.sample_keys)
    }
    return _in_log(teacher, cache, unknown) if unknown else frozenset()


def _in_log(teacher: Teacher, cache: Cache, payers: set[str]) -> frozenset[str]:
    """Those of the payers who began a purchase that is in this account's log."""
    records = [record for record in cache.purchases() if record.payer in payers]
    payer_of = {record.idempotency_key: record.payer for record in records}
    confirmed: set[str] = set()
    try:
        log = teacher.queries(since=min(record.created_at for record in records) - _CLOCKS_DIFFER_SECONDS)
        for query in log or ():
            if query.idempotency_key in payer_of:
                confirmed.add(payer_of[query.idempotency_key])
            if confirmed == payers:
                break
    except TeacherError:
        pass  # without a log they stay other accounts
    return frozenset(confirmed)
