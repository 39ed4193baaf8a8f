"""The one writer of records: single appends, sets of appends, births in bulk, redaction.

Nothing here decides whether an event may happen: a service has decided that on what it read, and
passes the `seq` it read at. A head that has moved since raises StaleHead. Every call needs an
open transaction, so that the record and the projections it changes stand or fall together.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import wraps
from typing import ParamSpec, TypeVar
from uuid import UUID

import psycopg
from django.db import DatabaseError, connection, transaction

from traceability.core import canonical, chain, codes, submission
from traceability.core.errors import AlreadyRegistered, LedgerBusy, Malformed, StaleHead
from traceability.core.events import EventKind
from traceability.models.parties import Credential
from traceability.services.copying import copy_births

STALE_HEAD = "LG001"
UNIQUE_VIOLATION = "23505"
# Serialisation failure, deadlock, lock timeout: the same call may succeed a moment later.
TRY_AGAIN = frozenset({"40001", "40P01", "55P03"})
# Below this the set-based function is as fast as COPY and needs no right to the table.
COPY_FROM = 1_000

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Joint:
    """What ties one record to those of the other batteries of the same event."""

    event_id: UUID
    participants_n: int
    participants_hash: bytes


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event that has been decided on and waits for its place in the chain.

    `expected_seq` is the seq of the chain's last record as it was read, -1 for none. Of several
    events of one battery in a set, the first states it and the others follow (None).
    """

    battery_id: UUID
    code: str
    expected_seq: int | None
    kind: EventKind
    schema: int
    occurred_at: datetime
    body: str
    salt: bytes
    site: int = 0
    joint: Joint | None = None

    def inner_commitment(self) -> bytes:
        """Return the commitment to this battery's own payload, 32 bytes."""
        return canonical.commitment(self.salt, self.body.encode())

    def commitment(self) -> bytes:
        """Return what the record carries: the inner commitment, or the joint one over it."""
        inner = self.inner_commitment()
        if self.joint is None:
            return inner
        return canonical.joint_commitment(
            self.joint.event_id, self.joint.participants_n, self.joint.participants_hash, inner
        )


@dataclass(frozen=True, slots=True)
class Appended:
    """Where an event came to stand. `leaf` is its record's hash, 32 bytes."""

    event: NewEvent
    seq: int
    unit: int
    ordinal: int
    recorded_at: datetime
    leaf: bytes

    @property
    def battery_id(self) -> UUID:
        """Return whose chain the record stands in."""
        return self.event.battery_id


def new_event(
    *,
    code: str,
    expected_seq: int | None,
    kind: EventKind,
    schema: int,
    occurred_at: datetime,
    payload: Mapping[str, object],
    site: int = 0,
) -> NewEvent:
    """Return an event with its payload in canonical bytes and a fresh salt."""
    return NewEvent(
        battery_id=codes.battery_id_of(code),
        code=code,
        expected_seq=expected_seq,
        kind=kind,
        schema=schema,
        occurred_at=occurred_at,
        body=canonical.canonical(payload),
        salt=secrets.token_bytes(canonical.SALT_BYTES),
        site=site,
    )


def append(event: NewEvent, *, credential: Credential) -> Appended:
    """Append one event in one round trip and return where it stands.

    Raises:
        StaleHead: the chain is no longer at `expected_seq`.
        AlreadyRegistered: a first event for a code that has a chain.
    """
    demand_transaction()
    if event.joint is not None:
        raise AssertionError("a joint event has several records: append_many")
    with _refusals(event.code), connection.cursor() as cursor:
        cursor.execute(
            "SELECT o_unit, o_seq, o_recorded, o_leaf FROM ledger_append("
            "%s::uuid, %s, %s, %s::smallint, %s::smallint, %s, %s, %s, %s, %s)",
            (
                event.battery_id,
                event.code,
                event.expected_seq,
                event.kind.value,
                event.schema,
                event.occurred_at,
                credential.number,
                event.site,
                event.body,
                event.salt,
            ),
        )
        unit, seq, recorded_at, leaf = cursor.fetchone()
    return Appended(event, seq, unit, 0, recorded_at, bytes(leaf))


def append_many(events: Sequence[NewEvent], *, credential: Credential) -> list[Appended]:
    """Append a set of events as one submission and return their places in the order given.

    Raises:
        StaleHead: some chain moved since it was read; nothing is written.
        AlreadyRegistered: a first event for a code that has a chain.
    """
    demand_transaction()
    if not 0 < len(events) <= submission.MOST_EVENTS:
        raise Malformed(field="events", reason="count", count=len(events))
    joints = [event.joint for event in events]
    columns = (
        [event.battery_id for event in events],
        [event.code for event in events],
        [event.expected_seq for event in events],
        [event.kind.value for event in events],
        [event.schema for event in events],
        [event.occurred_at for event in events],
        credential.number,
        [event.site for event in events],
        [event.body for event in events],
        [event.salt for event in events],
        [joint and joint.event_id for joint in joints],
        [joint and joint.participants_n for joint in joints],
        [joint and joint.participants_hash for joint in joints],
    )
    with _refusals(events[0].code), connection.cursor() as cursor:
        cursor.execute(
            "SELECT o_unit, o_seq, o_recorded, o_leaf FROM ledger_append_many("
            "%s::uuid[], %s::text[], %s::integer[], %s::smallint[], %s::smallint[],"
            "%s::timestamptz[], %s, %s::integer[], %s::text[], %s::bytea[], %s::uuid[],"
            "%s::integer[], %s::bytea[])",
            columns,
        )
        unit, seqs, recorded, leaves = cursor.fetchone()
    return [
        Appended(event, seqs[k], unit, k, recorded[k], bytes(leaves[k]))
        for k, event in enumerate(events)
    ]


def append_births(events: Sequence[NewEvent], *, credential: Credential) -> list[Appended]:
    """Append the first records of chains that do not exist yet, as one submission.

    Large sets go by binary COPY with the hashes made here, which needs the loader's right to the
    table; small ones through the function. The primary key refuses a code that has a chain.
    """
    if len(events) < COPY_FROM:
        return append_many(events, credential=credential)
    demand_transaction()
    with _refusals(""), connection.cursor() as cursor:
        cursor.execute("SELECT o_unit, o_now FROM ledger_open_unit(%s)", (len(events),))
        unit, recorded_at = cursor.fetchone()
        leaves = copy_births(cursor, events, credential.number, unit, recorded_at)
    return [
        Appended(event, 0, unit, k, recorded_at, leaf)
        for k, (event, leaf) in enumerate(zip(events, leaves, strict=True))
    ]


def redact(*, battery_id: UUID, seq: int) -> bool:
    """Erase one record's payload and salt, keep its commitment; return whether there was one."""
    demand_transaction()
    with connection.cursor() as cursor:
        cursor.execute("SELECT ledger_redact(%s, %s)", (battery_id, seq))
        return bool(cursor.fetchone()[0])


def joined(events: Sequence[NewEvent], *, event_id: UUID) -> list[NewEvent]:
    """Return the events of several batteries tied together as one (a swap, a regrouping).

    Each record carries the same id, the number of participants and the hash over all of them.
    """
    participants_hash = canonical.participants_hash(
        [(event.battery_id.bytes, event.inner_commitment()) for event in events]
    )
    joint = Joint(event_id, len(events), participants_hash)
    return [replace(event, joint=joint) for event in events]


def retrying_once(command: Callable[P, R]) -> Callable[P, R]:
    """Run a durable command again when the chain it decided on has moved meanwhile.

    The second run reads and decides afresh; a second StaleHead goes to the caller.
    """

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except StaleHead:
            return command(*args, **kwargs)

    return run


def unit_root(events: Sequence[NewEvent]) -> bytes:
    """Return the RFC 6962 root over what the sender submitted, 32 bytes."""
    return submission.unit_root(
        [
            submission.digest(
                event.code,
                event.kind.value,
                event.schema,
                chain.microseconds(event.occurred_at),
                event.commitment(),
            )
            for event in events
        ]
    )


def demand_transaction() -> None:
    """Raise AssertionError outside a transaction: a record would stand without its projections."""
    if not transaction.get_connection().in_atomic_block:
        raise AssertionError("the ledger is written inside a transaction")


@contextmanager
def _refusals(code: str) -> Iterator[None]:
    """Turn the database's refusals into ours, by SQLSTATE and never by a constraint's name."""
    try:
        yield
    except (DatabaseError, psycopg.Error) as error:
        # COPY goes past Django, and so do its errors.
        cause = error if isinstance(error, psycopg.Error) else error.__cause__
        sqlstate = cause.sqlstate if isinstance(cause, psycopg.Error) else None
        if sqlstate == STALE_HEAD:
            raise StaleHead(battery=code) from error
        if sqlstate == UNIQUE_VIOLATION:
            raise AlreadyRegistered(battery=code) from error
        if sqlstate in TRY_AGAIN:
            raise LedgerBusy(retry_after_s=1) from error
        raise
