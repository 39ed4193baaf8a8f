"""Records, their hashes and the chain of one battery."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import naive
from traceability.core import canonical, chain, merkle
from traceability.core.errors import ChainBroken, Malformed

CODE = "001PE0A12345670000001ABC"
EVENT_ID = UUID(int=0x0192F1D47C3E7A118D5B5E0C1F2A3B4C)
START_US = 1_790_000_000_000_000

SEQ, KIND, SCHEMA, OCCURRED, RECORDED, ACTOR, SITE = range(7)
EVENT, PARTICIPANTS_N, PARTICIPANTS_HASH, BODY, SALT, PCOMMIT, LEAF = range(7, 14)


def built_chain(length=6, code=CODE):
    """Rows of a chain made by the naive definitions; row 2 is joint, row 3 redacted, 4 both."""
    rows = []
    prev = bytes(32)
    for seq in range(length):
        body, salt = f'{{"n":{seq}}}', bytes([seq]) * 16
        inner = naive.payload_commitment(salt, body.encode())
        participants = (EVENT_ID, 2, bytes([seq]) * 32) if seq in {2, 4} else (None, None, None)
        pcommit = (
            naive.joint(EVENT_ID.bytes, 2, participants[2], inner) if participants[0] else inner
        )
        occurred, recorded = START_US - seq, START_US + seq * 1_000_000
        leaf = naive.h(
            b"\0", naive.record(code, seq, seq + 1, 1, occurred, recorded, 7, 3, prev, pcommit)
        )
        payload = (None, None, inner) if seq in {3, 4} else (body, salt, None)
        rows.append((seq, seq + 1, 1, occurred, recorded, 7, 3, *participants, *payload, leaf))
        prev = leaf
    return rows


def published_records():
    vector = naive.vector("records.json")
    prev = chain.NO_RECORD
    for one in vector["records"]:
        yield (
            one,
            chain.Record(
                code=vector["code"],
                seq=one["seq"],
                kind=one["kind"],
                schema=vector["schema"],
                occurred_us=one["occurred_us"],
                recorded_us=one["recorded_us"],
                actor=vector["actor"],
                site=vector["site"],
                prev=prev,
                pcommit=bytes.fromhex(one["pcommit"]),
            ),
        )
        prev = bytes.fromhex(one["leaf"])


RECORD = next(published_records())[1]


def changed(row, column, value):
    return (*row[:column], value, *row[column + 1 :])


def damage_of(rows, code=CODE):
    with pytest.raises(ChainBroken) as broken:
        chain.verify_chain(code, rows)
    params = broken.value.params
    assert params["battery"] == code
    return params["seq"], params["damage"]


def test_published_records_have_their_bytes_and_hashes():
    leaves = []
    for one, record in published_records():
        assert chain.record_bytes(record).hex() == one["record"]
        assert len(chain.record_bytes(record)) == 127
        assert chain.leaf_hash(record).hex() == one["leaf"]
        leaves.append(chain.leaf_hash(record))
    assert merkle.root_of(leaves).hex() == naive.vector("records.json")["log_root"]


RECORDS = st.builds(
    chain.Record,
    code=st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ:._-", min_size=1, max_size=64),
    seq=st.integers(0, 2**31 - 1),
    kind=st.integers(0, 2**15 - 1),
    schema=st.integers(0, 2**15 - 1),
    occurred_us=st.integers(-(2**63), 2**63 - 1),
    recorded_us=st.integers(-(2**63), 2**63 - 1),
    actor=st.integers(0, 2**63 - 1),
    site=st.integers(0, 2**31 - 1),
    prev=st.binary(min_size=32, max_size=32),
    pcommit=st.binary(min_size=32, max_size=32),
)


@given(RECORDS)
def test_both_paths_equal_the_naive_definition(r):
    expected = naive.record(
        r.code, r.seq, r.kind, r.schema, r.occurred_us, r.recorded_us, r.actor, r.site, r.prev,
        r.pcommit,
    )  # fmt: skip
    assert chain.record_bytes(r) == expected
    assert chain.leaf_hash(r) == naive.h(b"\0", expected) == merkle.leaf_hash(expected)
    assert chain.leaf_hash(r) == chain.leaf_of(
        r.kind, r.seq, r.occurred_us, r.recorded_us, r.actor, r.site, r.schema, r.code.encode(),
        r.prev, r.pcommit,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("code", ""),
        ("code", "A" * 256),
        ("kind", 2**15),
        ("kind", -1),
        ("schema", 2**15),
        ("seq", 2**31),
        ("seq", -1),
        ("site", 2**31),
        ("actor", 2**63),
        ("actor", -1),
        ("occurred_us", 2**63),
        ("recorded_us", -(2**63) - 1),
        ("prev", bytes(31)),
        ("pcommit", bytes(33)),
    ],
)
def test_fields_outside_their_range_are_refused(field, value):
    with pytest.raises(Malformed) as refusal:
        chain.record_bytes(replace(RECORD, **{field: value}))
    assert refusal.value.params["field"] == field


@pytest.mark.parametrize("length", [1, 3, 6])
def test_a_whole_chain_verifies_as_a_stream(length):
    rows = built_chain(length)
    assert chain.verify_chain(CODE, iter(rows)) == chain.ChainHead(length - 1, rows[-1][LEAF])


def test_redaction_keeps_a_chain_whole():
    rows = built_chain()
    for seq, row in enumerate(rows):
        if row[BODY] is not None:
            inner = canonical.commitment(row[SALT], row[BODY].encode())
            rows[seq] = (*row[:BODY], None, None, inner, row[LEAF])
    assert chain.verify_chain(CODE, rows).seq == 5


def test_an_empty_chain_proves_nothing():
    assert damage_of([]) == (0, "empty")


def test_equal_recording_times_are_in_order():
    code, prev, rows = "X", bytes(32), []
    for seq in range(2):
        pcommit = naive.payload_commitment(bytes(16), b"{}")
        leaf = naive.h(b"\0", naive.record(code, seq, 1, 1, 5, 5, 1, 0, prev, pcommit))
        rows.append((seq, 1, 1, 5, 5, 1, 0, None, None, None, "{}", bytes(16), None, leaf))
        prev = leaf
    assert chain.verify_chain(code, rows).seq == 1


def bits_of(value):
    """Every value that differs from this one in one bit."""
    if isinstance(value, int):
        return [value ^ (1 << bit) for bit in range(31)]
    if isinstance(value, UUID):
        return [UUID(int=other) for other in (value.int ^ (1 << bit) for bit in range(128))]
    if isinstance(value, str):
        data = value.encode()
        return [
            flipped.decode() for flipped in bits_of(data) if all(byte < 128 for byte in flipped)
        ]
    number = int.from_bytes(value, "big")
    width = len(value)
    return [(number ^ (1 << bit)).to_bytes(width, "big") for bit in range(8 * width)]


@pytest.mark.parametrize("seq", range(6))
def test_any_flipped_bit_of_any_record_breaks_the_chain_there(seq):
    rows = built_chain()
    tried = 0
    for column, value in enumerate(rows[seq]):
        for other in [] if value is None else bits_of(value):
            broken = [*rows[:seq], changed(rows[seq], column, other), *rows[seq + 1 :]]
            at, damage = damage_of(broken)
            if column == RECORDED:
                # A later time is found out by the hash, an earlier one already by the order.
                assert (at, damage) in {(seq, "leaf"), (seq, "order")}
            elif column == SEQ:
                assert (at, damage) == (seq, "gap")
            elif column == PARTICIPANTS_N and not 2 <= other < 2**31:
                assert (at, damage) == (seq, "joint")
            else:
                assert (at, damage) == (seq, "leaf")
            tried += 1
    assert tried > 500


def test_another_code_breaks_the_first_record():
    for code in bits_of(CODE):
        assert damage_of(built_chain(), code) == (0, "leaf")


@pytest.mark.parametrize("seq", range(5))
def test_a_dropped_record_leaves_a_gap(seq):
    rows = built_chain()
    del rows[seq]
    assert damage_of(rows) == (seq, "gap")


@pytest.mark.parametrize("seq", range(5))
def test_a_dropped_record_with_numbers_closed_up_does_not_hide(seq):
    rows = built_chain()
    del rows[seq]
    rows = [changed(row, SEQ, number) for number, row in enumerate(rows)]
    assert damage_of(rows) == (seq, "leaf")


def test_a_chain_cut_at_the_end_verifies_alone():
    """The chain cannot see this; only the log can (docs/FORMATS.md, «What a bundle proves»)."""
    assert chain.verify_chain(CODE, built_chain()[:4]).seq == 3


@pytest.mark.parametrize("seq", range(5))
def test_exchanged_records_break_the_chain(seq):
    rows = built_chain()
    rows[seq], rows[seq + 1] = rows[seq + 1], rows[seq]
    assert damage_of(rows) == (seq, "gap")
    rows = [changed(row, SEQ, number) for number, row in enumerate(rows)]
    assert damage_of(rows)[0] in {seq, seq + 1}


@pytest.mark.parametrize("seq", range(6))
def test_an_inserted_record_breaks_the_chain(seq):
    rows = built_chain()
    rows.insert(seq, rows[seq])
    assert damage_of(rows) == (seq + 1, "gap")
    rows = [changed(row, SEQ, number) for number, row in enumerate(rows)]
    assert damage_of(rows)[0] == seq + 1


def test_a_record_of_another_battery_breaks_the_chain():
    rows = built_chain()
    rows[1] = built_chain(code=CODE.replace("ABC", "ABD"))[1]
    assert damage_of(rows) == (1, "leaf")


def test_recording_time_may_not_run_backwards():
    rows = built_chain()
    rows[3] = changed(rows[3], RECORDED, rows[2][RECORDED] - 1)
    assert damage_of(rows) == (3, "order")


@pytest.mark.parametrize(
    ("body", "salt", "pcommit"),
    [
        (None, None, None),
        ("{}", None, None),
        (None, bytes(16), None),
        ("{}", bytes(16), bytes(32)),
        ("{}", None, bytes(32)),
        (None, bytes(16), bytes(32)),
        ("{}", bytes(15), None),
        (None, None, bytes(31)),
    ],
)
def test_a_record_has_either_a_payload_or_a_commitment(body, salt, pcommit):
    rows = built_chain()
    rows[1] = (*rows[1][:BODY], body, salt, pcommit, rows[1][LEAF])
    assert damage_of(rows) == (1, "commitment")


@pytest.mark.parametrize(
    "participants",
    [
        (EVENT_ID, None, None),
        (EVENT_ID, 2, None),
        (EVENT_ID, None, bytes(32)),
        (None, 2, None),
        (None, None, bytes(32)),
        (EVENT_ID, 1, bytes(32)),
        (EVENT_ID, 2**31, bytes(32)),
        (EVENT_ID, 2, bytes(31)),
        (bytes(15), 2, bytes(32)),
    ],
)
def test_participants_are_stated_whole_or_not_at_all(participants):
    rows = built_chain()
    rows[2] = (*rows[2][:EVENT], *participants, *rows[2][BODY:])
    assert damage_of(rows) == (2, "joint")


def test_an_event_id_may_come_as_bytes():
    rows = [changed(row, EVENT, row[EVENT] and row[EVENT].bytes) for row in built_chain()]
    assert chain.verify_chain(CODE, rows).seq == 5


def test_joint_fields_cannot_be_taken_off_a_record():
    rows = built_chain()
    rows[2] = (*rows[2][:EVENT], None, None, None, *rows[2][BODY:])
    assert damage_of(rows) == (2, "leaf")


@pytest.mark.parametrize("column", [KIND, SCHEMA, OCCURRED, ACTOR, SITE])
@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, None])
def test_values_no_record_can_hold_are_damage_too(column, value):
    rows = built_chain()
    rows[1] = changed(rows[1], column, value)
    assert damage_of(rows) == (1, "leaf")


@given(st.datetimes(timezones=st.just(UTC)))
def test_times_are_exact_both_ways(moment):
    assert chain.moment_of(chain.microseconds(moment)) == moment


def test_times_of_the_published_record():
    moment = datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC)
    assert chain.microseconds(moment) == START_US
    shanghai = moment.astimezone(timezone(timedelta(hours=8)))
    assert chain.microseconds(shanghai) == START_US
    assert chain.microseconds(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == -1


def test_a_time_without_zone_is_refused():
    with pytest.raises(Malformed):
        chain.microseconds(datetime(2026, 1, 1))  # noqa: DTZ001 - the refusal is the subject


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 10**30])
def test_microseconds_beyond_the_calendar_are_refused(value):
    with pytest.raises(Malformed):
        chain.moment_of(value)
