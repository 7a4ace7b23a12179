"""The tables of the cache, as `migrations` leaves them.

Outputs are stored in blocks: one block holds the outputs of one kind that one purchase returned. So 50,000 outputs are
read as 1,600 rows, and a sample takes the space of its output, its key and a checksum, without an index entry.
"""

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table
from sqlalchemy import UniqueConstraint as Unique

metadata = MetaData()

Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only in a column called INTEGER

streams = Table(
    "streams",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("teacher_id", String(200), nullable=False),
    Column("output_kind", String(1000), nullable=False),
    Unique("teacher_id", "output_kind"),
)
"""One row for each teacher and output kind, so that an output does not repeat them.

A purchase of several kinds at once has a row of its own; its kind is their kinds, joined by `KIND_SEPARATOR`.
"""
KIND_SEPARATOR = "+"

stream_shapes = Table(
    "stream_shapes",
    metadata,
    Column("stream_id", ForeignKey("streams.id"), primary_key=True),
    Column("shape", String(80), nullable=False),
)
"""The shape of one sample's output, as numbers with commas between; absent where it is a plain vector."""

class_names = Table(
    "class_names",
    metadata,
    Column("teacher_id", String(200), primary_key=True),
    Column("names", String, nullable=False),
)
"""The names (JSON) of each teacher's classes, in the order of its outputs; absent where it stated none."""

purchases = Table(
    "purchases",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("stream_id", ForeignKey("streams.id"), nullable=False),
    Column("idempotency_key", String(64), nullable=False, unique=True),
    Column("payer", String(16), nullable=False),
    Column("sample_keys", LargeBinary, nullable=False),
    Column("status", String(10), nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("finished_at", Float(53)),
    Column("buyer_id", String(16)),
    Column("query_id", String(200)),
    Column("model_version", String(200)),
)
"""`status` is open, done, unread (the answer is in `raw_answers`), void (rejected and never charged, or abandoned) or
imported (paid for by another cache).

`buyer_id` is the process that has, or last had, the lease; `query_id` is the teacher's id of the request;
`model_version` is the id of the teacher that answered.
"""
is_open = purchases.c.status == "open"
Index("open_purchases", purchases.c.stream_id, sqlite_where=is_open, postgresql_where=is_open)
is_unread = purchases.c.status == "unread"
Index("unread_purchases", purchases.c.stream_id, sqlite_where=is_unread, postgresql_where=is_unread)

raw_answers = Table(
    "raw_answers",
    metadata,
    Column("id", Id, primary_key=True),
    Column("purchase_id", ForeignKey("purchases.id"), nullable=False),
    Column("asked_of", String(200), nullable=False),
    Column("answered_by", String(200), nullable=False),
    Column("headers", String, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("reason", String(1000)),
    Column("received_at", Float(53), nullable=False),
)
"""Paid responses as they arrived. Rows are added, never changed and never deleted.

`asked_of` and `answered_by` are the teacher that was asked and the one that answered, apart from the settings by which
answers are read. `headers` is JSON, `content` is compressed with zlib, `reason` is why the answer could not be read.
"""
Index("raw_answers_by_purchase", raw_answers.c.purchase_id)

blocks = Table(
    "blocks",
    metadata,
    Column("id", Id, primary_key=True),
    Column("stream_id", ForeignKey("streams.id"), nullable=False),
    Column("purchase_id", ForeignKey("purchases.id"), nullable=False),
    Column("positions", LargeBinary),
    Column("checksum", BigInteger, nullable=False),
    Column("row_checksums", LargeBinary, nullable=False),
    Column("vectors", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
"""Rows are added, never changed. If a sample has two outputs, the one with the smaller id counts.

`vectors` is little-endian float32, a row for each of the purchase's samples, or for those at `positions` (little-endian
uint32). `checksum` is the CRC-32 of the rows' sample keys and then the vectors, `row_checksums` (little-endian uint32)
those of each key and its vector, so that a damaged row does not invalidate its neighbours.
"""
Index("blocks_by_stream", blocks.c.stream_id, blocks.c.id)

set_aside = Table(
    "set_aside",
    metadata,
    Column("id", Id, primary_key=True),
    Column("stream_id", Integer, nullable=False),
    Column("purchase_id", Integer, nullable=False),
    Column("positions", LargeBinary),
    Column("row_checksums", LargeBinary),
    Column("vectors", LargeBinary, nullable=False),
    Column("reason", String(200), nullable=False),
    Column("at", Float(53), nullable=False),
)
"""Outputs that were paid for and cannot be served, byte for byte. Rows are added, never deleted."""

addresses = Table(
    "addresses",
    metadata,
    Column("address", String(1000), primary_key=True),
    Column("description", String, nullable=False),
    Column("seen_at", Float(53), nullable=False),
)
"""The last description (JSON) that the teacher at each address gave of itself."""
