"""The RFC 6962 tree against published vectors and the recursive definition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import naive
from traceability.core import merkle
from traceability.core.errors import Malformed, ProofInvalid

VECTOR = naive.vector("rfc6962_tree.json")
PUBLISHED = [merkle.leaf_hash(bytes.fromhex(entry)) for entry in VECTOR["entries"]]
LEAVES = [naive.h(bytes([n])) for n in range(65)]


def check(leaves, index, path, *, leaf=None, size=None, root=None):
    merkle.check_inclusion(
        leaf=leaves[index] if leaf is None else leaf,
        index=index,
        size=len(leaves) if size is None else size,
        path=path,
        root=naive.merkle_root(leaves) if root is None else root,
    )


@pytest.mark.parametrize("size", range(9))
def test_published_roots(size):
    assert merkle.root_of(PUBLISHED[:size]).hex() == VECTOR["roots"][size]


@pytest.mark.parametrize("case", VECTOR["inclusion"])
def test_published_inclusion_proofs(case):
    leaves = PUBLISHED[: case["size"]]
    path = merkle.prove_inclusion(leaves, case["index"])
    assert [one.hex() for one in path] == case["path"]
    check(leaves, case["index"], path, root=bytes.fromhex(VECTOR["roots"][case["size"]]))


@pytest.mark.parametrize("size", range(65))
def test_every_tree_to_64_equals_the_recursive_definition(size):
    leaves = LEAVES[:size]
    assert merkle.root_of(leaves) == naive.merkle_root(leaves)
    for index in range(size):
        path = merkle.prove_inclusion(leaves, index)
        assert path == naive.merkle_path(leaves, index)
        check(leaves, index, path)


@pytest.mark.parametrize("size", range(1, 18))
def test_any_flipped_bit_of_a_proof_is_refused(size):
    leaves = LEAVES[:size]
    for index in range(size):
        path = merkle.prove_inclusion(leaves, index)
        for step, one in enumerate(path):
            for bit in range(0, 256, 37):
                flipped = (int.from_bytes(one, "big") ^ 1 << bit).to_bytes(32, "big")
                with pytest.raises(ProofInvalid):
                    check(leaves, index, [*path[:step], flipped, *path[step + 1 :]])


@pytest.mark.parametrize("size", range(1, 18))
def test_a_proof_serves_one_leaf_at_one_place_of_one_size(size):
    leaves = LEAVES[:size]
    root = naive.merkle_root(leaves)
    for index in range(size):
        path = merkle.prove_inclusion(leaves, index)
        for place in range(-1, size + 2):
            if place != index:
                with pytest.raises(ProofInvalid):
                    merkle.check_inclusion(
                        leaf=leaves[index], index=place, size=size, path=path, root=root
                    )
        with pytest.raises(ProofInvalid):
            check(leaves, index, path, leaf=LEAVES[64])
        with pytest.raises(ProofInvalid):
            check(leaves, index, path, root=LEAVES[64])


@pytest.mark.parametrize("size", range(1, 18))
def test_a_path_of_another_length_is_refused(size):
    leaves = LEAVES[:size]
    for index in range(size):
        path = merkle.prove_inclusion(leaves, index)
        for other in [
            *([path[:-1]] if path else []),
            [*path, LEAVES[64]],
            [*path, *path[-1:], *path],
        ]:
            if other != path:
                with pytest.raises(ProofInvalid) as refusal:
                    check(leaves, index, other)
                assert refusal.value.params["reason"] == "length"


def test_an_empty_tree_contains_nothing():
    with pytest.raises(ProofInvalid):
        merkle.check_inclusion(leaf=LEAVES[0], index=0, size=0, path=[], root=merkle.EMPTY_ROOT)


@pytest.mark.parametrize("index", [-1, 3])
def test_there_is_no_proof_outside_the_tree(index):
    with pytest.raises(Malformed):
        merkle.prove_inclusion(LEAVES[:3], index)


def test_a_node_never_passes_for_a_leaf():
    assert merkle.node_hash(LEAVES[0], LEAVES[1]) == naive.h(b"\1", LEAVES[0], LEAVES[1])
    assert merkle.leaf_hash(LEAVES[0] + LEAVES[1]) != merkle.node_hash(LEAVES[0], LEAVES[1])


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=300), st.data())
def test_proofs_of_any_tree_check(leaves, data):
    index = data.draw(st.integers(0, len(leaves) - 1))
    check(leaves, index, merkle.prove_inclusion(leaves, index))
