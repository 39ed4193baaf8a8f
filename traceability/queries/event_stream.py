"""Whole chains out of the database at the speed at which they can be hashed.

A binary COPY lets server and client work at once, and its rows are taken apart by hand: the
driver's own unpacking would cost as much as the hashing does. A row is an int16 count of fields,
then per field an int32 length (-1 for null) and its bytes, big-endian (PostgreSQL manual, «COPY»,
binary format). Timestamps are microseconds since 2000-01-01 UTC.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from itertools import chain as chained
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg import sql

from traceability.core.chain import ChainRow

POSTGRES_EPOCH_US = 946_684_800_000_000
# Signature, flags, length of the (empty) extension.
_HEADER_BYTES = 19
_TRAILER = b"\xff\xff"

# Where a field is null in almost every row it stands behind those that never are.
_QUERY = """
COPY (SELECT e.battery_id, e.seq, e.kind, e.schema, e.occurred_at, e.recorded_at, e.actor, e.site,
             e.leaf, e.event_id, e.participants_n, e.participants_hash, e.pcommit, e.salt,
             b.code, e.body
      FROM event e LEFT JOIN battery b USING (battery_id) {condition}
      ORDER BY e.battery_id, e.seq) TO STDOUT (FORMAT binary)
"""
_FIELDS = 16
# fields; id; seq; kind; schema; occurred; recorded; actor; site; leaf; four nulls; salt; len(code)
_COMMON = struct.Struct(">h4x16s4xi4xh4xh4xq4xq4xq4xii32siiiii16si")
_INTEGERS = {1: ">i", 2: ">h", 3: ">h", 4: ">q", 5: ">q", 6: ">q", 7: ">i", 10: ">i"}


class StoredChain(NamedTuple):
    """All records of one battery in order of seq; `code` is None when no battery row has it."""

    battery_id: bytes
    code: str | None
    rows: list[ChainRow]


def chains(
    raw: psycopg.Connection[Any], *, first: UUID | None = None, last: UUID | None = None
) -> Iterator[StoredChain]:
    """Yield the chains of all batteries, or of those from `first` to `last`, in order of id.

    Nothing else can be asked of the connection until the last one has been taken.
    """
    condition = sql.Composed([])
    if first is not None and last is not None:
        condition = sql.SQL("WHERE e.battery_id BETWEEN {} AND {}").format(first, last)
    with (
        psycopg.Cursor(raw) as cursor,
        cursor.copy(sql.SQL(_QUERY).format(condition=condition)) as copy,
    ):
        yield from _chains(copy)


def _chains(blocks: Iterable[Any]) -> Iterator[StoredChain]:
    unpack, size = _COMMON.unpack_from, _COMMON.size
    epoch = POSTGRES_EPOCH_US
    here: bytes | None = None
    code: str | None = None
    rows: list[ChainRow] = []
    for data in _without_header(blocks):
        if len(data) < size:
            if bytes(data) == _TRAILER:
                continue
            found, here_code, row = _any_row(data)
        else:
            (
                fields, found, seq, kind, schema, occurred, recorded, actor, site, leaf_len, leaf,
                no_event, no_count, no_hash, no_commitment, salt_len, salt, code_len,
            ) = unpack(data)  # fmt: skip
            end = size + code_len
            if (
                no_event == no_count == no_hash == no_commitment == -1
                and fields == _FIELDS
                and leaf_len == 32
                and salt_len == 16
                and code_len > 0
                and data[end : end + 4] == (len(data) - end - 4).to_bytes(4, "big")
            ):
                here_code = code if found == here else str(data[size:end], "utf-8")
                row = (
                    seq, kind, schema, occurred + epoch, recorded + epoch, actor, site,
                    None, None, None, str(data[end + 4 :], "utf-8"), salt, None, leaf,
                )  # fmt: skip
            else:
                found, here_code, row = _any_row(data)
        if found != here:
            if here is not None:
                yield StoredChain(here, code, rows)
            here, code, rows = found, here_code, []
        rows.append(row)
    if here is not None:
        yield StoredChain(here, code, rows)


def _without_header(blocks: Iterable[Any]) -> Iterator[Any]:
    parts = iter(blocks)
    for first in parts:
        # The header comes in one piece with the first row.
        return chained([first[_HEADER_BYTES:]] if len(first) > _HEADER_BYTES else [], parts)
    return iter(())


def _any_row(data: Any) -> tuple[bytes, str | None, ChainRow]:
    """Return a row of any shape: joint, redacted, or damaged."""
    parts = list(_fields_of(bytes(data)))
    numbers: dict[int, Any] = {
        at: None if part is None else struct.unpack(form, part)[0]
        for at, form in _INTEGERS.items()
        for part in [parts[at]]
    }
    for at in (4, 5):
        if numbers[at] is not None:
            numbers[at] += POSTGRES_EPOCH_US
    code, body = parts[14], parts[15]
    row: Any = (
        *(numbers[at] for at in range(1, 8)), parts[9], numbers[10], parts[11],
        None if body is None else body.decode(), parts[13], parts[12], parts[8],
    )  # fmt: skip
    return parts[0] or b"", None if code is None else code.decode(), row


def _fields_of(data: bytes) -> Iterator[bytes | None]:
    at = 2
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big", signed=True)
        at += 4
        yield None if length < 0 else data[at : at + length]
        at += max(length, 0)
