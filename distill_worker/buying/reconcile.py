"""What the cache says was bought, against what the teacher says was charged.

Row by row where the teacher keeps a log that can be read; else by its counter, which cannot tell one request from
another. Costs nothing, changes nothing, and may be asked while workers buy.

A query belongs to a purchase by its Idempotency-Key, whichever API key the purchase was begun with: an API key that was
rotated goes on with the same log, though not with the same purchases when only a counter is told.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from distill_worker.buying.reconciliation_report import Finding, Reconciliation, Row
from distill_worker.cache import Cache, PurchaseRecord
from distill_worker.errors import TeacherError
from distill_worker.teachers.base import Description, LoggedQuery, Teacher
from distill_worker.teachers.oip_outputs import TOP_K_INDICES
from shared.output_kinds import FEATURES, TOP_K

_PARTS = {TOP_K_INDICES: TOP_K}
"""Outputs that travel beside another, as a part of it."""


def reconcile(teacher: Teacher, description: Description, cache: Cache, *, shared_key: bool = False) -> Reconciliation:
    """Compare all that the cache ever bought by the teacher's API key with what the teacher says of it.

    Args:
        teacher: it is asked for its log, and for its counter.
        description: what it says of itself.
        cache: nobody need stop buying into it.
        shared_key: whether others use the API key, so that what this cache does not know is no difference.

    Raises:
        TeacherError: it cannot be asked, or tells neither what was asked nor how much was charged.
        CacheError: see there.
    """
    done_before = {record.idempotency_key for record in cache.purchases() if record.status == "done"}
    quota_before = teacher.quota()
    log = teacher.queries()
    if log is not None:
        queries = list(log)
        quota = teacher.quota()
        # What was settled while the log was read, page by page, may be absent there.
        certain = done_before | {query.idempotency_key for query in queries if query.status == "settled"}
        used = quota.used if quota is not None and quota == quota_before else None
        found = compare(_as_of_then(cache.purchases(), certain), queries, payer=teacher.payer, used=used)
    elif quota_before is not None:
        found = compare_counter(_as_of_then(cache.purchases(teacher.payer), done_before), quota_before.used)
    else:
        raise TeacherError(
            f"teacher {description.id} tells neither what was asked nor how much was charged, so there is nothing to "
            "compare the cache with"
        )
    return replace(found, shared_key=shared_key, repeats_are_free=description.repeats_are_free)


def compare(
    purchases: Iterable[PurchaseRecord],
    queries: Iterable[LoggedQuery],
    *,
    payer: str | None = None,
    used: int | None = None,
) -> Reconciliation:
    """Row by row.

    Args:
        purchases: of the whole cache, in the order in which they were begun.
        queries: all that the account ever asked, in any order.
        payer: the account; another's purchases are looked at only where the log has them. None: all are this account's.
        used: what the account's counter says, in samples, where it stood still meanwhile.
    """
    purchases = list(purchases)
    origins = {_origin(record) for record in purchases if record.status == "imported"}
    key_of_query = {record.query_id: record.idempotency_key for record in purchases if record.query_id is not None}
    settled: defaultdict[str, list[LoggedQuery]] = defaultdict(list)
    held: dict[str, LoggedQuery] = {}
    charged = 0
    for query in queries:
        key = query.idempotency_key or key_of_query.get(query.request_id, query.request_id)
        if query.status == "settled":
            settled[key].append(query)
            charged += query.samples
        elif query.status == "held":
            held[key] = query
    rows: list[Row] = []
    paid: set[str] = set()
    for record in purchases:
        found, answering = settled.pop(record.idempotency_key, []), held.pop(record.idempotency_key, None)
        if found:
            paid.add(record.idempotency_key)
            rows += _charged(record, found)
        elif answering or payer in (None, record.payer):
            rows += _not_charged(record, answering)
    rows += _bought_again(purchases, paid)
    for key, unknown in settled.items():
        rows += [_row("imported" if key in origins else "elsewhere", query) for query in unknown]
    rows += [_row("answering", query) for query in held.values()]
    if used is not None and used != charged:
        detail = f"the counter says {used} samples, the log {charged}"
        rows.append(Row("counter", abs(used - charged), detail=detail))
    return Reconciliation(tuple(rows), charged, "log")


def compare_counter(purchases: Iterable[PurchaseRecord], used: int) -> Reconciliation:
    """By sums alone: what others buy on the account cannot be told from what this cache lost.

    Args:
        purchases: this account's.
        used: what its counter says, in samples.
    """
    rows = []
    most = 0
    for record in purchases:
        samples = len(record.sample_keys)
        if record.status in ("done", "open"):
            most += samples
            finding: Finding = "held" if record.status == "done" else "uncertain"
            rows.append(Row(finding, samples, record.idempotency_key, record.query_id))
    least = sum(row.samples for row in rows if row.finding == "held")
    if used < least:
        rows.append(Row("unlogged", least - used, detail=f"{least} samples are held, and {used} were charged"))
    if used > most:
        rows.append(Row("elsewhere", used - most, detail=f"{most} samples were asked for, and {used} were charged"))
    return Reconciliation(tuple(rows), used, "counter")


def _as_of_then(purchases: Iterable[PurchaseRecord], certain: Collection[str | None]) -> Iterator[PurchaseRecord]:
    """Those that were not yet done when the teacher was asked, as open."""
    for record in purchases:
        is_later = record.status == "done" and record.idempotency_key not in certain
        yield replace(record, status="open") if is_later else record


def _charged(record: PurchaseRecord, queries: list[LoggedQuery]) -> list[Row]:
    first, *more = queries
    again = [_row("charged twice", query) for query in more]
    if record.status == "void":
        return [_row("given up", first), *again]
    if detail := _disagreement(record, first):
        return [replace(_row("differs", first), detail=detail), *again]
    return [_row("unfetched" if record.status == "open" else "held", first), *again]


def _not_charged(record: PurchaseRecord, answering: LoggedQuery | None) -> list[Row]:
    if record.status == "imported":
        return []
    finding: Finding = "unlogged"
    if record.status != "done":
        finding = "answering" if answering else "waiting" if record.status == "open" else "refused"
    return [Row(finding, len(record.sample_keys), record.idempotency_key, record.query_id)]


def _bought_again(purchases: Iterable[PurchaseRecord], paid: Collection[str]) -> list[Row]:
    """Purchases that brought nothing of some samples that had not been paid before. A void one brought nothing."""
    brought: defaultdict[tuple[str, bytes], set[str]] = defaultdict(set)
    rows = []
    for record in purchases:
        if record.idempotency_key not in paid or record.status == "void":
            continue
        again = 0
        for key in record.sample_keys:
            before = brought[_answerer(record), key]
            again += before.issuperset(record.kinds)
            before.update(record.kinds)
        if again:
            rows.append(Row("twice", again, record.idempotency_key, record.query_id))
    return rows


def _disagreement(record: PurchaseRecord, query: LoggedQuery) -> str:
    """In what a purchase is not what its query was; empty where nothing is known to differ."""
    version = _answerer(record).rsplit("/", 1)[-1]
    here = {kind if kind.startswith(FEATURES) else kind.partition(":")[0] for kind in record.kinds}
    there = {_PARTS.get(output, output) for output in query.outputs}
    told = [
        f"{what}: {expected} here, {found} there"
        for what, expected, found in (
            ("samples", str(len(record.sample_keys)), str(query.samples)),
            ("outputs", ", ".join(sorted(here)), ", ".join(sorted(there)) or None),
            ("version", version, query.model_version if record.status == "done" else None),
        )
        if found and expected != found
    ]
    return "; ".join(told)


def _origin(record: PurchaseRecord) -> str:
    """Under which Idempotency-Key an imported output was paid for: its own is `import-KEY-NUMBER`, or that again."""
    return record.idempotency_key.replace("import-", "").partition("-")[0]


def _answerer(record: PurchaseRecord) -> str:
    return record.model_version or record.teacher_id


def _row(finding: Finding, query: LoggedQuery) -> Row:
    return Row(finding, query.samples, query.idempotency_key, query.request_id)
