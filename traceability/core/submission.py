"""What a sender signs: the root over the digests of one submission's events.

A digest covers what the sender knows, not `prev`, `seq` and `recorded`, which the ledger assigns:

    digest  = SHA-256("ledger/submission/v1" 00 || u8 len,code || u16 kind || u16 schema
                      || i64 occurred_us || pcommit[32])
    message = "ledger/unit/v1" 00 || unit uuid[16] || u32 n || root[32]

The digests are the leaf hashes of the RFC 6962 tree as they are: its nodes begin with 0x01 and
the digests with a tag, so neither can pass for the other.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import sha256
from uuid import UUID

from traceability.core import merkle
from traceability.core.errors import Malformed

MOST_EVENTS = 2**20

_digest_prefix = sha256(b"ledger/submission/v1\0").copy
_fields = struct.Struct(">HHq32s").pack
_MESSAGE = b"ledger/unit/v1\0"


def digest(code: str, kind: int, schema: int, occurred_us: int, pcommit: bytes) -> bytes:
    """Return the digest of one event as submitted, 32 bytes.

    `pcommit` is the commitment that will stand in the record: of a joint event the joint one.
    """
    code_bytes = code.encode()
    if not 1 <= len(code_bytes) <= 255:
        raise Malformed(field="code", reason="length", length=len(code_bytes))
    if len(pcommit) != merkle.HASH_BYTES:
        raise Malformed(field="pcommit", reason="length")
    try:
        fields = _fields(kind, schema, occurred_us, pcommit)
    except struct.error:
        raise Malformed(field="event", reason="range") from None
    state = _digest_prefix()
    state.update(bytes((len(code_bytes),)) + code_bytes + fields)
    return state.digest()


def unit_root(digests: Sequence[bytes]) -> bytes:
    """Return the RFC 6962 root over a submission's digests in their order, 32 bytes."""
    if not 1 <= len(digests) <= MOST_EVENTS:
        raise Malformed(field="events", reason="count", count=len(digests))
    return merkle.root_of(digests)


def message_to_sign(unit: UUID, n: int, root: bytes) -> bytes:
    """Return the bytes that the sender of a submission of `n` events signs."""
    if not 1 <= n <= MOST_EVENTS:
        raise Malformed(field="events", reason="count", count=n)
    if len(root) != merkle.HASH_BYTES:
        raise Malformed(field="root", reason="length")
    return _MESSAGE + unit.bytes + struct.pack(">I", n) + root
