"""Binary COPY for the hot tables, with the rows packed by hand.

The driver's own packing would cost as much as the hashing does. A binary COPY row is an int16
count of fields, then per field an int32 length and its bytes, all big-endian (PostgreSQL manual,
«COPY», binary format). Timestamps are microseconds since 2000-01-01 UTC.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from traceability.core import chain
from traceability.core.canonical import commitment

if TYPE_CHECKING:
    from datetime import datetime

    from traceability.services.ledger import NewEvent

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
POSTGRES_EPOCH_US = 946_684_800_000_000
# Larger writes stop client and server from overlapping.
BLOCK_BYTES = 1 << 16

BIRTHS = (
    "COPY event (battery_id, seq, kind, schema, site, occurred_at, recorded_at, actor, unit,"
    " ordinal, leaf, salt, body) FROM STDIN (FORMAT binary)"
)
# fields; id; seq; kind; schema; site; occurred; recorded; actor; unit; ordinal; leaf; salt; len
_BIRTH = struct.Struct(">h i16s ii ih ih ii iq iq iq iq ii i32s i16s i").pack
_FINGERPRINT = struct.Struct(">h iq i16s ii").pack


def copy_births(
    cursor: Any, events: Sequence[NewEvent], actor: int, unit: int, recorded_at: datetime
) -> list[bytes]:
    """Send first records by COPY and return their leaves, 32 bytes each, in the order given."""
    recorded_us = chain.microseconds(recorded_at)
    leaves: list[bytes] = []
    send_leaf = leaves.append

    def rows() -> Iterable[bytes]:
        recorded = recorded_us - POSTGRES_EPOCH_US
        for ordinal, event in enumerate(events):
            occurred_us = chain.microseconds(event.occurred_at)
            body = event.body.encode()
            leaf = chain.leaf_of(
                event.kind,
                0,
                occurred_us,
                recorded_us,
                actor,
                event.site,
                event.schema,
                event.code.encode(),
                chain.NO_RECORD,
                commitment(event.salt, body),
            )
            send_leaf(leaf)
            yield _BIRTH(
                13,
                16, event.battery_id.bytes,
                4, 0,
                2, event.kind,
                2, event.schema,
                4, event.site,
                8, occurred_us - POSTGRES_EPOCH_US,
                8, recorded,
                8, actor,
                8, unit,
                4, ordinal,
                32, leaf,
                16, event.salt,
                len(body),
            ) + body  # fmt: skip

    send(cursor, BIRTHS, rows())
    return leaves


def fingerprint_rows(fingerprints: Iterable[tuple[int, bytes, int]]) -> Iterable[bytes]:
    """Yield COPY rows of (fingerprint, battery id of 16 bytes, number of the claiming unit)."""
    for fingerprint, battery_id, claim in fingerprints:
        yield _FINGERPRINT(3, 8, fingerprint, 16, battery_id, 4, claim)


def send(cursor: Any, statement: str, rows: Iterable[bytes]) -> None:
    """Run a binary COPY, gathering rows into blocks of about 64 KB."""
    with cursor.copy(statement) as copy:
        block = bytearray(HEADER)
        for row in rows:
            block += row
            if len(block) >= BLOCK_BYTES:
                copy.write(bytes(block))
                block.clear()
        copy.write(bytes(block) + TRAILER)
