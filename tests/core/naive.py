"""The formats once more, as plainly as they can be written: the oracle for traceability.core.

Nothing here imports the code under test; every function is its line in docs/FORMATS.md.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

VECTORS = Path(__file__).parents[1] / "vectors"


def vector(name):
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


def h(*parts):
    return sha256(b"".join(parts)).digest()


def u(width, value):
    return value.to_bytes(width, "big", signed=False)


def i64(value):
    return value.to_bytes(8, "big", signed=True)


def with_length(text):
    data = text.encode()
    return u(1, len(data)) + data


def merkle_root(leaves):
    """RFC 6962, 2.1, read aloud."""
    if not leaves:
        return h(b"")
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return h(b"\x01", merkle_root(leaves[:k]), merkle_root(leaves[k:]))


def merkle_path(leaves, index):
    """RFC 6962, 2.1.1, read aloud."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if index < k:
        return [*merkle_path(leaves[:k], index), merkle_root(leaves[k:])]
    return [*merkle_path(leaves[k:], index - k), merkle_root(leaves[:k])]


def split(n):
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def record(code, seq, kind, schema, occurred_us, recorded_us, actor, site, prev, pcommit):
    return b"".join((
        u(1, 1), u(1, 1), u(2, kind), u(4, seq), i64(occurred_us), i64(recorded_us), u(8, actor),
        u(4, site), u(2, schema), with_length(code), prev, pcommit,
    ))  # fmt: skip


def payload_commitment(salt, body):
    return h(b"ledger/payload/v1", b"\0", salt, body)


def participants(pairs):
    return h(b"ledger/participants/v1", b"\0", *[a + b for a, b in sorted(pairs)])


def joint(event_id, n, participants_hash, inner):
    return h(b"ledger/joint/v1", b"\0", event_id, u(4, n), participants_hash, inner)


def submission(code, kind, schema, occurred_us, pcommit):
    return h(
        b"ledger/submission/v1", b"\0", with_length(code), u(2, kind), u(2, schema),
        i64(occurred_us), pcommit,
    )  # fmt: skip


def manifest_leaf(position, parent, level, code, lot, line, day):
    return h(
        b"\0", b"ledger/manifest/v1", b"\0", u(4, position), u(4, parent), level.encode(),
        with_length(code), with_length(lot), with_length(line), day.encode(),
    )  # fmt: skip


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
