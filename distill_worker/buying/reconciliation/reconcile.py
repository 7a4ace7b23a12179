"""Compares the purchases in the cache with what the teacher charged.

It compares row by row if the teacher has a readable log; otherwise by its counter, which does not separate requests.
It is free, changes nothing, and may run while workers buy.

A query belongs to the purchase with its Idempotency-Key, whichever API key began that purchase: a rotated API key keeps
its log. By a counter, only the purchases under this account's own names can be compared.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from distill_worker.buying.reconciliation.report import Finding, Reconciliation, Row
from distill_worker.cache import Cache, PurchaseRecord
from distill_worker.errors import TeacherError, counted
from distill_worker.teachers.base import Description, LoggedQuery, Teacher
from distill_worker.teachers.oip_outputs import TOP_K_INDICES
from shared.output_kinds import FEATURES, TOP_K

_ANSWERED: Final = ("done", "unread")
_BY_COUNTER: Final[Mapping[str, Finding]] = {"done": "held", "unread": "unread", "open": "uncertain"}
_PARTS = {TOP_K_INDICES: TOP_K}
"""Tensors that are a part of another output."""


def reconcile(teacher: Teacher, description: Description, cache: Cache, *, shared_key: bool = False) -> Reconciliation:
    """Compare everything that the cache bought with this API key with what the teacher charged.

    Args:
        teacher: its log and its counter are read.
        description: the teacher's description of itself.
        cache: workers may go on buying into it.
        shared_key: whether others use the API key, so that queries without a purchase here are no difference.

    Raises:
        TeacherError: the teacher cannot be reached, or has neither a log nor a counter.
        CacheError: the cache cannot be read.
    """
    own = {teacher.payer, teacher.credential}
    done_before = {record.idempotency_key for record in cache.purchases() if record.status in _ANSWERED}
    quota_before = teacher.quota()
    log = teacher.queries()
    if log is not None:
        queries = list(log)
        quota = teacher.quota()
        # Queries that were settled while the log was read may be absent from it.
        certain = done_before | {query.idempotency_key for query in queries if query.status == "settled"}
        used = quota.used if quota is not None and quota == quota_before else None
        result = compare(_as_of_then(cache.purchases(), certain), queries, payers=own, used=used)
    elif quota_before is not None:
        records = (record for record in cache.purchases() if record.payer in own)
        result = compare_counter(_as_of_then(records, done_before), quota_before.used)
    else:
        raise TeacherError(
            f"expected a query log or a counter of charged samples, got neither from teacher {description.id}: nothing "
            "can be compared with the cache"
        )
    return replace(result, shared_key=shared_key, repeats_are_free=description.repeats_are_free)


def compare(
    purchases: Iterable[PurchaseRecord],
    queries: Iterable[LoggedQuery],
    *,
    payers: Collection[str] | None = None,
    used: int | None = None,
) -> Reconciliation:
    """Compare row by row.

    Args:
        purchases: of the whole cache, in the order in which they were begun.
        queries: all queries of the account, in any order.
        payers: the names of the account; purchases of other accounts count only if the log has them. None: all are
            this account's.
        used: the account's counter, in samples, if it did not change meanwhile.
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
        charges, in_flight = settled.pop(record.idempotency_key, []), held.pop(record.idempotency_key, None)
        if charges:
            paid.add(record.idempotency_key)
            rows += _charged(record, charges)
        elif in_flight or payers is None or record.payer in payers:
            rows += _not_charged(record, in_flight)
    rows += _bought_again(purchases, paid)
    for key, unknown in settled.items():
        rows += [_row("imported" if key in origins else "elsewhere", query) for query in unknown]
    rows += [_row("answering", query) for query in held.values()]
    if used is not None and used != charged:
        detail = f"{counted(used, 'sample')} in the counter, {charged} in the log"
        rows.append(Row("counter", abs(used - charged), detail=detail))
    return Reconciliation(tuple(rows), charged, "log")


def compare_counter(purchases: Iterable[PurchaseRecord], used: int) -> Reconciliation:
    """Compare sums alone: purchases of others on the account cannot be separated from answers that this cache lost.

    Args:
        purchases: this account's.
        used: its counter, in samples.
    """
    rows = []
    most = 0
    for record in purchases:
        samples = len(record.sample_keys)
        if record.status in _BY_COUNTER:
            most += samples
            rows.append(Row(_BY_COUNTER[record.status], samples, record.idempotency_key, record.query_id))
    least = sum(row.samples for row in rows if row.finding == "held")
    if used < least:
        rows.append(Row("unlogged", least - used, detail=f"{counted(least, 'sample')} in the cache, {used} charged"))
    if used > most:
        rows.append(Row("elsewhere", used - most, detail=f"{counted(most, 'sample')} sent, {used} charged"))
    return Reconciliation(tuple(rows), used, "counter")


def _as_of_then(purchases: Iterable[PurchaseRecord], certain: Collection[str | None]) -> Iterator[PurchaseRecord]:
    """The purchases as they were when the teacher was read: those that were not done then, as open."""
    for record in purchases:
        is_later = record.status in _ANSWERED and record.idempotency_key not in certain
        yield replace(record, status="open") if is_later else record


def _charged(record: PurchaseRecord, queries: list[LoggedQuery]) -> list[Row]:
    first, *more = queries
    again = [_row("charged twice", query) for query in more]
    if record.status in ("void", "unread"):
        return [_row("given up" if record.status == "void" else "unread", first), *again]
    if detail := _disagreement(record, first):
        return [replace(_row("differs", first), detail=detail), *again]
    return [_row("unfetched" if record.status == "open" else "held", first), *again]


def _not_charged(record: PurchaseRecord, in_flight: LoggedQuery | None) -> list[Row]:
    if record.status == "imported":
        return []
    if record.status == "unread":
        return [Row("unread, free", len(record.sample_keys), record.idempotency_key, record.query_id)]
    finding: Finding = "unlogged"
    if record.status != "done":
        finding = "answering" if in_flight else "waiting" if record.status == "open" else "refused"
    return [Row(finding, len(record.sample_keys), record.idempotency_key, record.query_id)]


def _bought_again(purchases: Iterable[PurchaseRecord], paid: Collection[str]) -> list[Row]:
    """Charged purchases with samples whose outputs were all paid for before. Void and unread ones brought none."""
    brought: defaultdict[tuple[str, bytes], set[str]] = defaultdict(set)
    rows = []
    for record in purchases:
        if record.idempotency_key not in paid or record.status in ("void", "unread"):
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
    """The differences between a purchase and its query; empty if there are none."""
    version = _answerer(record).rsplit("/", 1)[-1]
    bought = {kind if kind.startswith(FEATURES) else kind.partition(":")[0] for kind in record.kinds}
    logged = {_PARTS.get(output, output) for output in query.outputs}
    differences = [
        f"{what}: {expected} in the cache, {got} in the log"
        for what, expected, got in (
            ("samples", str(len(record.sample_keys)), str(query.samples)),
            ("outputs", ", ".join(sorted(bought)), ", ".join(sorted(logged)) or None),
            ("version", version, query.model_version if record.status == "done" else None),
        )
        if got and expected != got
    ]
    return "; ".join(differences)


def _origin(record: PurchaseRecord) -> str:
    """The Idempotency-Key that an imported output was paid under; its own is `import-KEY-NUMBER`, maybe nested."""
    return record.idempotency_key.replace("import-", "").partition("-")[0]


def _answerer(record: PurchaseRecord) -> str:
    return record.model_version or record.teacher_id


def _row(finding: Finding, query: LoggedQuery) -> Row:
    return Row(finding, query.samples, query.idempotency_key, query.request_id)
