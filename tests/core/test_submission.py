"""What the sender of a submission signs."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import naive
from traceability.core import submission
from traceability.core.errors import Malformed

VECTOR = naive.vector("submission.json")


def digest(event):
    return submission.digest(
        event["code"],
        event["kind"],
        event["schema"],
        event["occurred_us"],
        bytes.fromhex(event["pcommit"]),
    )


def test_published_submission():
    digests = [digest(event) for event in VECTOR["events"]]
    assert [one.hex() for one in digests] == [event["digest"] for event in VECTOR["events"]]
    root = submission.unit_root(digests)
    assert root.hex() == VECTOR["root"]
    message = submission.message_to_sign(UUID(VECTOR["unit"]), VECTOR["n"], root)
    assert message.hex() == VECTOR["message"]
    assert len(message) == 15 + 16 + 4 + 32


@given(
    st.text(min_size=1, max_size=60),
    st.integers(0, 2**16 - 1),
    st.integers(0, 2**16 - 1),
    st.integers(-(2**63), 2**63 - 1),
    st.binary(min_size=32, max_size=32),
)
def test_digest_equals_the_naive_one(code, kind, schema, occurred_us, pcommit):
    assert submission.digest(code, kind, schema, occurred_us, pcommit) == naive.submission(
        code, kind, schema, occurred_us, pcommit
    )


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40))
def test_unit_root_is_the_tree_over_the_digests_as_they_are(digests):
    assert submission.unit_root(digests) == naive.merkle_root(digests)


@pytest.mark.parametrize(
    ("code", "kind", "schema", "occurred_us", "pcommit"),
    [
        ("", 1, 1, 0, bytes(32)),
        ("A" * 256, 1, 1, 0, bytes(32)),
        ("A", 2**16, 1, 0, bytes(32)),
        ("A", 1, -1, 0, bytes(32)),
        ("A", 1, 1, 2**63, bytes(32)),
        ("A", 1, 1, 0, bytes(31)),
    ],
)
def test_a_digest_needs_fields_in_range(code, kind, schema, occurred_us, pcommit):
    with pytest.raises(Malformed):
        submission.digest(code, kind, schema, occurred_us, pcommit)


@pytest.mark.parametrize("n", [0, submission.MOST_EVENTS + 1])
def test_a_submission_has_one_to_a_million_events(n):
    with pytest.raises(Malformed):
        submission.unit_root([bytes(32)] * n)
    with pytest.raises(Malformed):
        submission.message_to_sign(UUID(int=1), n, bytes(32))


def test_a_message_needs_a_root():
    with pytest.raises(Malformed):
        submission.message_to_sign(UUID(int=1), 1, bytes(31))
