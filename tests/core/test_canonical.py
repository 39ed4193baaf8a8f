"""Canonical payload bytes and the commitments over them."""

import json
from decimal import Decimal
from enum import IntEnum, StrEnum
from uuid import UUID

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from tests.core import naive
from traceability.core import canonical as c
from traceability.core.errors import Malformed

KEYS = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=6).filter(
    lambda key: "\0" not in key
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


class Colour(StrEnum):
    RED = "red"


class Number(IntEnum):
    SEVEN = 7


def nested(levels):
    value = []
    for _ in range(levels - 1):
        value = [value]
    return value


REFUSED = [
    (1.0, "float", ""),
    (float("nan"), "float", ""),
    (float("inf"), "float", ""),
    (2**53, "integer_range", ""),
    (-(2**53), "integer_range", ""),
    ("\0", "nul", ""),
    ({"a": "x\0"}, "nul", ""),
    ({"a\0": 1}, "nul", ""),
    (["\\", "\0"], "nul", ""),
    ("\ud800", "surrogate", ""),
    ("\ud83d\ude00", "surrogate", ""),
    ({"\udfff": 1}, "surrogate", ""),
    ({"😀": 1}, "key", ""),
    ([{"a😀": 1}], "key", ""),
    ({1: "a"}, "key", "/1"),
    ({None: "a"}, "key", "/None"),
    (b"bytes", "type", ""),
    ({"a": {1, 2}}, "type", "/a"),
    ({"a/b": [None, {"~": 0.5}]}, "float", "/a~1b/1/~0"),
    (Decimal("NaN"), "not_a_number", ""),
    ([Decimal("-Infinity")], "not_a_number", "/0"),
    (Decimal("1E+64"), "decimal_digits", ""),
    (Decimal("1E-64"), "decimal_digits", ""),
    (Decimal("1." + "0" * 64), "decimal_digits", ""),
    (nested(33), "depth", "/0" * 32),
]

UNREADABLE = [
    ('{"a":1,"a":1}', "duplicate_key"),
    ('{"a":1,"\\u0061":2}', "duplicate_key"),
    ("1.0", "float"),
    ("1e2", "float"),
    ("-0.0", "float"),
    ("NaN", "not_a_number"),
    ("-Infinity", "not_a_number"),
    ("9007199254740992", "integer_range"),
    ("9" * 5000, "integer_range"),
    ("-0", "spelling"),
    ("01", "syntax"),
    ("+1", "syntax"),
    ("", "syntax"),
    ("{", "syntax"),
    ("1 2", "syntax"),
    ("'a'", "syntax"),
    ('"\n"', "syntax"),
    ("\ufeff1", "syntax"),
    (" 1", "spelling"),
    ("1\n", "spelling"),
    ('{"b":1,"a":2}', "spelling"),
    ('{"a": 1}', "spelling"),
    ('"\\u4e2d"', "spelling"),
    ('"\\/"', "spelling"),
    ('"\\u001F"', "spelling"),
    ('"\\ud83d\\ude00"', "spelling"),
    ('"\\u0000"', "nul"),
    ('"\\ud800"', "surrogate"),
    ('{"😀":1}', "key"),
    ("[" * 100_000, "depth"),
    ("[" * 33 + "]" * 33, "depth"),
]


@given(VALUES)
def test_canonical_text_equals_rfc8785(value):
    assert c.canonical(value).encode() == rfc8785.dumps(value)


@given(VALUES)
def test_parsing_is_the_inverse_of_writing(value):
    assert c.parse_canonical(c.canonical(value)) == value


@given(st.text(max_size=20))
def test_whatever_parses_is_written_the_same_again(text):
    try:
        value = c.parse_canonical(text)
    except Malformed:
        return
    assert c.canonical(value) == text


@given(VALUES, st.data())
def test_a_second_spelling_is_refused(value, data):
    text = json.dumps(value, indent=data.draw(st.sampled_from([None, 0, 2])))
    if text != c.canonical(value):
        with pytest.raises(Malformed):
            c.parse_canonical(text)


@pytest.mark.parametrize(("value", "reason", "at"), REFUSED)
def test_values_without_one_text_are_refused(value, reason, at):
    with pytest.raises(Malformed) as refusal:
        c.canonical(value)
    assert refusal.value.params == {"field": "json", "reason": reason, "at": at}


@pytest.mark.parametrize(("text", "reason"), UNREADABLE)
def test_texts_that_are_not_canonical_are_refused(text, reason):
    with pytest.raises(Malformed) as refusal:
        c.parse_canonical(text)
    assert refusal.value.params["reason"] == reason


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("\\u0000", '"\\\\u0000"'),
        ({"k": ["\\u0000", 1, None]}, '{"k":["\\\\u0000",1,null]}'),
        ('\x1f\x7f\b\t\n\f\r"\\/', '"\\u001f\x7f\\b\\t\\n\\f\\r\\"\\\\/"'),
        (("a", True), '["a",true]'),
        (2**53 - 1, "9007199254740991"),
        ({"": "😀"}, '{"":"😀"}'),
        (nested(32), "[" * 32 + "]" * 32),
        ({Colour.RED: Colour.RED, "n": Number.SEVEN}, '{"n":7,"red":"red"}'),
        ({"ﬀ": 1, "中": 2, "a": 3}, '{"a":3,"中":2,"ﬀ":1}'),
    ],
)
def test_values_at_the_edge_of_the_rules_are_written(value, text):
    assert c.canonical(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("5420.50", "5420.50"),
        ("1E+3", "1000"),
        ("1.5E-7", "0.00000015"),
        ("-0.0", "0.0"),
        ("-0.10", "-0.10"),
        ("1E+63", "1" + "0" * 63),
        ("0", "0"),
    ],
)
def test_a_decimal_keeps_its_places_and_has_no_exponent(value, text):
    assert c.canonical({"mass_g": Decimal(value)}) == f'{{"mass_g":"{text}"}}'
    assert c.decimal_text(Decimal(text)) == text


def test_commitments_of_the_published_records():
    for record in naive.vector("records.json")["records"]:
        body = record["body"].encode()
        assert body.hex() == record["body_hex"]
        assert c.canonical(c.parse_canonical(record["body"])) == record["body"]
        assert c.commitment(bytes.fromhex(record["salt"]), body).hex() == record["pcommit"]


@pytest.mark.parametrize("length", [0, 15, 17])
def test_a_salt_has_sixteen_bytes(length):
    with pytest.raises(Malformed):
        c.commitment(bytes(length), b"{}")


def joint_vector():
    vector = naive.vector("joint_event.json")
    return vector, [
        (bytes.fromhex(one["battery_id"]), bytes.fromhex(one["inner"]))
        for one in vector["participants"]
    ]


@pytest.mark.parametrize("step", [1, -1])
def test_joint_event_vector_in_any_order_of_participants(step):
    vector, pairs = joint_vector()
    hashed = c.participants_hash(pairs[::step])
    assert hashed.hex() == vector["participants_hash"]
    for one in vector["participants"]:
        inner = c.commitment(bytes.fromhex(one["salt"]), one["body"].encode())
        assert inner.hex() == one["inner"]
        joint = c.joint_commitment(UUID(vector["event_id"]), 2, hashed, inner)
        assert joint.hex() == one["pcommit"]


@given(
    st.lists(
        st.tuples(st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32)),
        min_size=2,
        unique_by=lambda pair: pair[0],
    ),
    st.uuids(),
)
def test_joint_commitment_equals_the_naive_one(pairs, event_id):
    hashed = c.participants_hash(iter(pairs))
    assert hashed == naive.participants(pairs)
    assert c.joint_commitment(event_id, len(pairs), hashed, pairs[0][1]) == naive.joint(
        event_id.bytes, len(pairs), hashed, pairs[0][1]
    )


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [(bytes(16), bytes(32))],
        [(bytes(16), bytes(32)), (bytes(16), b"\1" * 32)],
        [(bytes(16), bytes(32)), (bytes(15), bytes(32))],
        [(bytes(16), bytes(32)), (b"\1" * 16, bytes(33))],
    ],
)
def test_participants_that_are_not_several_batteries_are_refused(pairs):
    with pytest.raises(Malformed):
        c.participants_hash(pairs)


@pytest.mark.parametrize(
    ("n", "hashed", "inner"),
    [
        (1, bytes(32), bytes(32)),
        (2**31, bytes(32), bytes(32)),
        (2, bytes(31), bytes(32)),
        (2, bytes(32), bytes(33)),
    ],
)
def test_a_joint_commitment_needs_whole_parts(n, hashed, inner):
    with pytest.raises(Malformed):
        c.joint_commitment(UUID(int=1), n, hashed, inner)
