"""The RFC 6962 Merkle tree: roots and inclusion proofs.

    leaf hash = SHA-256(0x00 || entry)        node hash = SHA-256(0x01 || left || right)

The root of no leaves is SHA-256(""). A tree of n leaves splits after the largest power of two
below n (RFC 6962, 2.1); building it level by level, with an odd last hash passed up unchanged,
gives the same tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from traceability.core.errors import Malformed, ProofInvalid

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()

# Copying a hash that has eaten the prefix is cheaper than joining prefix and children.
_node_prefix = sha256(b"\x01").copy


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of one entry as a leaf, 32 bytes."""
    return sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of the node over two hashes, 32 bytes."""
    return sha256(b"\x01" + left + right).digest()


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes (32 bytes each, in order), 32 bytes."""
    if not leaves:
        return EMPTY_ROOT
    level = leaves
    while len(level) > 1:
        level = _level_above(level)
    return level[0]


def prove_inclusion(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the hashes that lead from one leaf to the root, from the leaf up."""
    if not 0 <= index < len(leaves):
        raise Malformed(field="index", reason="range", value=index)
    path: list[bytes] = []
    level = leaves
    while len(level) > 1:
        neighbour = index ^ 1
        if neighbour < len(level):
            path.append(level[neighbour])
        level = _level_above(level)
        index >>= 1
    return path


def check_inclusion(
    *, leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes
) -> None:
    """Return when the leaf stands at `index` of the tree of `size` leaves with this root.

    Raises:
        ProofInvalid: it does not, or the path is longer or shorter than the place demands.
    """
    # RFC 9162, 2.1.3.2, with the level's last index for its `sn`.
    if not 0 <= index < size:
        raise ProofInvalid(what="inclusion", reason="index")
    last = size - 1
    found = leaf
    hashes = iter(path)
    while last:
        # An odd last hash has no neighbour on this level and is passed up unchanged.
        if index < last or index & 1:
            neighbour = next(hashes, None)
            if neighbour is None:
                raise ProofInvalid(what="inclusion", reason="length")
            found = node_hash(neighbour, found) if index & 1 else node_hash(found, neighbour)
        index >>= 1
        last >>= 1
    if next(hashes, None) is not None:
        raise ProofInvalid(what="inclusion", reason="length")
    if found != root:
        raise ProofInvalid(what="inclusion", reason="root")


def _level_above(level: Sequence[bytes]) -> list[bytes]:
    above: list[bytes] = []
    append = above.append
    hashes = iter(level)
    for left, right in zip(hashes, hashes, strict=False):
        state = _node_prefix()
        state.update(left + right)
        append(state.digest())
    if len(level) & 1:
        append(level[-1])
    return above
