"""The record of one event and the hash chain of one battery.

A record is a fixed big-endian header (docs/FORMATS.md, «Record») that contains the hash of the
same battery's previous record and the commitment to the payload. Its hash is the RFC 6962 leaf
hash, so one hash serves the chain, the log and the receipt:

    leaf = SHA-256(0x00 || record),   record 0 has prev = 32 zero bytes
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import TypeAlias
from uuid import UUID

from traceability.core.canonical import HASH_BYTES, SALT_BYTES
from traceability.core.errors import ChainBroken, Malformed

RECORD_VERSION = 1
ALG_SHA256 = 1
# The hash that record 0 states for a predecessor it does not have.
NO_RECORD = bytes(HASH_BYTES)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# SQL integers are signed, so a field uses one bit less than its width.
_LIMITS = {"kind": 2**15, "schema": 2**15, "seq": 2**31, "site": 2**31, "actor": 2**63}

# One row of a chain as it is stored, times in microseconds since 1970-01-01 UTC:
# (seq, kind, schema, occurred_us, recorded_us, actor, site,
#  event_id, participants_n, participants_hash, body, salt, pcommit, leaf).
# A UUID may also be given as its 16 bytes.
ChainRow: TypeAlias = tuple[
    int, int, int, int, int, int, int, UUID | bytes | None, int | None, bytes | None, str | None,
    bytes | None, bytes | None, bytes,
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Record:
    """Everything that one leaf hash covers. Times in microseconds since 1970-01-01 UTC.

    `prev` and `pcommit` are 32 bytes; `code` is 1 to 255 bytes of UTF-8.
    """

    code: str
    seq: int
    kind: int
    schema: int
    occurred_us: int
    recorded_us: int
    actor: int
    site: int
    prev: bytes
    pcommit: bytes


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The end of a chain that was verified: its last record's seq and leaf hash (32 bytes)."""

    seq: int
    leaf: bytes


def record_bytes(record: Record) -> bytes:
    """Return the bytes of a record, 103 and those of the code.

    Raises:
        Malformed: a field is outside its range (`field`, `reason`).
    """
    code = record.code.encode()
    if not 1 <= len(code) <= 255:
        raise Malformed(field="code", reason="length", length=len(code))
    for name, limit in _LIMITS.items():
        if not 0 <= getattr(record, name) < limit:
            raise Malformed(field=name, reason="range", value=getattr(record, name))
    for name in ("prev", "pcommit"):
        if len(getattr(record, name)) != HASH_BYTES:
            raise Malformed(field=name, reason="length")
    for name in ("occurred_us", "recorded_us"):
        if not -(2**63) <= getattr(record, name) < 2**63:
            raise Malformed(field=name, reason="range", value=getattr(record, name))
    return _packer(len(code))(
        0, RECORD_VERSION, ALG_SHA256, record.kind, record.seq, record.occurred_us,
        record.recorded_us, record.actor, record.site, record.schema, len(code), code,
        record.prev, record.pcommit,
    )[1:]  # fmt: skip


def leaf_hash(record: Record) -> bytes:
    """Return the hash of a record, 32 bytes: its chain hash and its leaf hash in the log."""
    return sha256(b"\0" + record_bytes(record)).digest()


def leaf_of(
    kind: int, seq: int, occurred_us: int, recorded_us: int, actor: int, site: int, schema: int,
    code_bytes: bytes, prev: bytes, pcommit: bytes,
) -> bytes:  # fmt: skip
    """Return the leaf hash of a record given field by field: the path for bulk.

    The same bytes as `leaf_hash`, but the ranges are the caller's duty: pass what the columns of
    the event table have accepted or will accept, `prev` and `pcommit` of 32 bytes.
    """
    length = len(code_bytes)
    return sha256(
        _packer(length)(
            0, 1, 1, kind, seq, occurred_us, recorded_us, actor, site, schema, length,
            code_bytes, prev, pcommit,
        )
    ).digest()  # fmt: skip


def verify_chain(code: str, rows: Iterable[ChainRow]) -> ChainHead:
    """Return the head of a battery's whole chain after re-making every hash of it.

    `rows` come in order of `seq`, from 0, and may be a stream. A row holds either body and salt
    or, once redacted, the inner commitment.

    Raises:
        ChainBroken: at the first row that does not stand, with `battery`, `seq` (the one that
            was expected) and `damage`: `empty` (no row), `gap` (seq does not count up by one),
            `order` (recorded before its predecessor), `commitment` (neither or both of payload
            and commitment, or one of the wrong length), `joint` (incomplete statement of the
            participants), `leaf` (any other difference between the row and its hash).
    """
    code_bytes = code.encode()
    length = len(code_bytes)
    pack = _packer(length)
    payload_prefix = sha256(b"ledger/payload/v1\0").copy
    prev = NO_RECORD
    last_recorded = -(2**63)
    expected = 0
    for (
        seq, kind, schema, occurred_us, recorded_us, actor, site,
        event_id, participants_n, participants_hash, body, salt, kept_commitment, leaf,
    ) in rows:  # fmt: skip
        if seq != expected:
            raise ChainBroken(battery=code, seq=expected, damage="gap")
        if recorded_us < last_recorded:
            raise ChainBroken(battery=code, seq=seq, damage="order")
        if body is not None and salt is not None and kept_commitment is None:
            if len(salt) != SALT_BYTES:
                raise ChainBroken(battery=code, seq=seq, damage="commitment")
            state = payload_prefix()
            state.update(salt + body.encode())
            pcommit = state.digest()
        elif body is None and salt is None and kept_commitment is not None:
            if len(kept_commitment) != HASH_BYTES:
                raise ChainBroken(battery=code, seq=seq, damage="commitment")
            pcommit = kept_commitment
        else:
            raise ChainBroken(battery=code, seq=seq, damage="commitment")
        if event_id is not None or participants_n is not None or participants_hash is not None:
            pcommit = _joint(code, seq, event_id, participants_n, participants_hash, pcommit)
        try:
            record = pack(
                0, 1, 1, kind, seq, occurred_us, recorded_us, actor, site, schema, length,
                code_bytes, prev, pcommit,
            )  # fmt: skip
        except struct.error:
            raise ChainBroken(battery=code, seq=seq, damage="leaf") from None
        prev = sha256(record).digest()
        if prev != leaf:
            raise ChainBroken(battery=code, seq=seq, damage="leaf")
        last_recorded = recorded_us
        expected += 1
    if not expected:
        raise ChainBroken(battery=code, seq=0, damage="empty")
    return ChainHead(expected - 1, prev)


def microseconds(moment: datetime) -> int:
    """Return an aware datetime as microseconds since 1970-01-01 UTC, exactly."""
    if moment.tzinfo is None:
        raise Malformed(field="time", reason="naive", text=moment.isoformat())
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def moment_of(since_epoch_us: int) -> datetime:
    """Return the UTC datetime of microseconds since 1970-01-01 UTC, exactly."""
    try:
        return _EPOCH + since_epoch_us * _MICROSECOND
    except OverflowError:
        raise Malformed(field="time", reason="range", value=since_epoch_us) from None


def _joint(
    code: str,
    seq: int,
    event_id: UUID | bytes | None,
    participants_n: int | None,
    participants_hash: bytes | None,
    inner: bytes,
) -> bytes:
    """Return the commitment of a joint event's record, or refuse an incomplete statement."""
    id_bytes = event_id.bytes if isinstance(event_id, UUID) else event_id
    if (
        id_bytes is None
        or len(id_bytes) != 16
        or participants_n is None
        or not 2 <= participants_n < 2**31
        or participants_hash is None
        or len(participants_hash) != HASH_BYTES
    ):
        raise ChainBroken(battery=code, seq=seq, damage="joint")
    count = struct.pack(">I", participants_n)
    return sha256(b"ledger/joint/v1\0" + id_bytes + count + participants_hash + inner).digest()


@lru_cache(maxsize=256)
def _packer(code_length: int) -> Callable[..., bytes]:
    """Return what packs 0x00 and a record whose code has this many bytes."""
    return struct.Struct(f">BBBHIqqQIHB{code_length}s32s32s").pack
