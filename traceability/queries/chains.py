"""One battery's chain as it is stored, and the check of it at the moment of reading.

Nobody is shown a stored badge: whoever says «the chain holds» has made every hash again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import connection

from traceability.core import canonical, chain, history
from traceability.core.errors import ChainBroken, TraceabilityError
from traceability.core.events import EventKind

_COLUMNS = (
    "seq, kind, schema, occurred_at, recorded_at, actor, site, event_id, participants_n,"
    " participants_hash, body, salt, pcommit, leaf"
)


class StoredRecord(NamedTuple):
    """One row of the ledger as it stands in the database."""

    seq: int
    kind: int
    schema: int
    occurred_at: datetime
    recorded_at: datetime
    actor: int
    site: int
    event_id: UUID | None
    participants_n: int | None
    participants_hash: bytes | None
    body: str | None
    salt: bytes | None
    pcommit: bytes | None
    leaf: bytes

    @property
    def is_erased(self) -> bool:
        """Return whether the payload was redacted and only its commitment is left."""
        return self.body is None

    def payload(self) -> dict[str, object] | None:
        """Return the payload as a JSON object, None when it is erased or is none."""
        if self.body is None:
            return None
        try:
            value = json.loads(self.body)
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    def entry(self) -> history.Entry:
        """Return what the fold needs of the record.

        Raises:
            ValueError: a kind that never was.
            Malformed: a payload that the fold must read is none.
        """
        return history.entry_of(
            seq=self.seq,
            kind=EventKind(self.kind),
            schema=self.schema,
            occurred_at=self.occurred_at,
            recorded_at=self.recorded_at,
            body=self.payload() if self.kind in FOLDED else None,
        )

    def chain_row(self) -> chain.ChainRow:
        """Return the record as `core.chain` takes it."""
        return (
            self.seq, self.kind, self.schema, chain.microseconds(self.occurred_at),
            chain.microseconds(self.recorded_at), self.actor, self.site, self.event_id,
            self.participants_n, self.participants_hash, self.body, self.salt, self.pcommit,
            self.leaf,
        )  # fmt: skip


# Parsing a thousand payloads for the fold would cost more than the fold.
FOLDED = frozenset({EventKind.CORRECTED, EventKind.SEPARATED})


def tell(
    records: Iterable[StoredRecord],
    *,
    as_of: datetime | None = None,
    known_at: datetime | None = None,
) -> history.Story | None:
    """Return the fold of a chain, None where it cannot be folded.

    Records that were tampered with may break the fold anywhere. They are shown all the same:
    what is wrong with them is for `check` to say.
    """
    try:
        return history.tell([r.entry() for r in records], as_of=as_of, known_at=known_at)
    except (TraceabilityError, ValueError, LookupError):
        return None


@dataclass(frozen=True, slots=True)
class StoredHead:
    """Where the lock row says that the chain ends."""

    seq: int
    leaf: bytes


@dataclass(frozen=True, slots=True)
class ChainCheck:
    """What re-making every hash of a chain came to.

    `damage` is "" for a chain that stands, else a word of `core.chain.verify_chain`, or `head`:
    the records stand, and the chain once ended elsewhere. `damaged_seq` is the first record that
    does not stand; `head_leaf` (32 bytes) the last hash of a chain that does.
    """

    records: int
    head_leaf: bytes | None
    damage: str = ""
    damaged_seq: int | None = None

    @property
    def is_whole(self) -> bool:
        """Return whether the chain stands."""
        return not self.damage


def records_of(battery_id: UUID) -> list[StoredRecord]:
    """Return a battery's records in order of seq."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM event WHERE battery_id = %s ORDER BY seq",  # noqa: S608 - constant columns
            (battery_id,),
        )
        return [StoredRecord._make(row) for row in cursor.fetchall()]


def records_at(battery_id: UUID, seqs: Collection[int]) -> list[StoredRecord]:
    """Return some of a battery's records in order of seq."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM event"  # noqa: S608 - constant columns
            " WHERE battery_id = %s AND seq = ANY(%s) ORDER BY seq",
            (battery_id, list(seqs)),
        )
        return [StoredRecord._make(row) for row in cursor.fetchall()]


def records_of_many(
    battery_ids: Iterable[UUID],
    *,
    bodies_of: Collection[EventKind],
    only: Collection[EventKind] | None = None,
) -> dict[UUID, list[StoredRecord]]:
    """Return the records of several batteries in order of seq, in one query.

    Only the payloads of `bodies_of` are read (the others look erased); with `only`, no record of
    another kind.
    """
    found: dict[UUID, list[StoredRecord]] = {}
    bodies = [kind.value for kind in bodies_of]
    kinds = [kind.value for kind in only] if only is not None else None
    columns = _COLUMNS.replace(" body,", " CASE WHEN kind = ANY(%s) THEN body END,")
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT battery_id, {columns} FROM event WHERE battery_id = ANY(%s)"  # noqa: S608 - constant columns
            " AND (%s::smallint[] IS NULL OR kind = ANY(%s::smallint[])) ORDER BY battery_id, seq",
            (bodies, list(battery_ids), kinds, kinds),
        )
        for battery_id, *row in cursor.fetchall():
            found.setdefault(battery_id, []).append(StoredRecord._make(row))
    return found


def check(code: str, records: Sequence[StoredRecord], head: StoredHead | None) -> ChainCheck:
    """Return what a chain's hashes come to when they are made again, now."""
    try:
        end = chain.verify_chain(code, (record.chain_row() for record in records))
    except ChainBroken as broken:
        seq = broken.params["seq"]
        damage = str(broken.params["damage"])
        return ChainCheck(len(records), None, damage, seq if isinstance(seq, int) else None)
    # The lock row is made by the second record: a chain of one has none.
    if head is None and end.seq > 0:
        return ChainCheck(len(records), None, "head", end.seq)
    if head is not None and (head.seq, head.leaf) != (end.seq, end.leaf):
        return ChainCheck(len(records), None, "head", min(head.seq, end.seq) + 1)
    return ChainCheck(len(records), end.leaf)


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A record down to its bytes, all in lower-case hexadecimal but the payload."""

    record: str
    leaf: str
    previous_leaf: str
    commitment: str
    salt: str
    body: str | None


def raw_of(code: str, records: Sequence[StoredRecord], seq: int) -> RawRecord | None:
    """Return the bytes that one record's hash covers, None when there is no such record."""
    place = next((place for place, record in enumerate(records) if record.seq == seq), None)
    if place is None:
        return None
    record = records[place]
    previous = records[place - 1].leaf if place else chain.NO_RECORD
    commitment = _commitment(record)
    content = chain.record_bytes(
        chain.Record(
            code=code,
            seq=record.seq,
            kind=record.kind,
            schema=record.schema,
            occurred_us=chain.microseconds(record.occurred_at),
            recorded_us=chain.microseconds(record.recorded_at),
            actor=record.actor,
            site=record.site,
            prev=previous,
            pcommit=commitment,
        )
    )
    return RawRecord(
        record=content.hex(),
        leaf=record.leaf.hex(),
        previous_leaf=previous.hex(),
        commitment=commitment.hex(),
        salt=record.salt.hex() if record.salt is not None else "",
        body=record.body,
    )


def _commitment(record: StoredRecord) -> bytes:
    if record.body is not None and record.salt is not None:
        inner = canonical.commitment(record.salt, record.body.encode())
    else:
        inner = record.pcommit or chain.NO_RECORD
    if record.event_id is None:
        return inner
    return canonical.joint_commitment(
        record.event_id, record.participants_n or 0, record.participants_hash or b"", inner
    )
