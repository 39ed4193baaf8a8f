"""The writer of records: the same bytes in Python and SQL, one order, and no way around it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from tests import stored
from tests.committed import together
from traceability.core import canonical, chain, submission
from traceability.core.codes import battery_id_of
from traceability.core.errors import AlreadyRegistered, Malformed, StaleHead
from traceability.core.events import EventKind
from traceability.core.roles import Role
from traceability.models.ledger import Event, Head, UnitQueue
from traceability.services import ledger

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CODE = "04QPB52091380JG120000001"
OTHER = "04QPB52091380JG120000002"
THIRD = "04QPB52091380JG120000003"

CODES = st.text(alphabet="0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ:._-", min_size=1, max_size=64)
MOMENTS = st.integers(-(10**15) * 2, 10**16 * 2).map(chain.moment_of)
BODIES = st.text(
    alphabet=st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=300
)
HASHES = st.binary(min_size=32, max_size=32)
SALTS = st.binary(min_size=16, max_size=16)


@pytest.fixture
def maker(db):
    return stored.party("maker", Role.BATTERY_MAKER)


def event(code: str = CODE, seq: int | None = -1, **other: object) -> ledger.NewEvent:
    made = ledger.new_event(
        code=code,
        expected_seq=seq,
        kind=EventKind.FACTORY_TEST,
        schema=1,
        occurred_at=NOON,
        payload={"text": "检验", "n": 1},
    )
    return replace(made, **other)


def rows_of(code: str) -> list[chain.ChainRow]:
    rows = Event.objects.filter(battery_id=battery_id_of(code)).order_by("seq").values_list(
        "seq", "kind", "schema", "occurred_at", "recorded_at", "actor", "site", "event_id",
        "participants_n", "participants_hash", "body", "salt", "pcommit", "leaf",
    )  # fmt: skip
    return [
        (
            *row[:3], chain.microseconds(row[3]), chain.microseconds(row[4]), *row[5:9],
            *(value if value is None or isinstance(value, str) else bytes(value)
              for value in row[9:]),
        )
        for row in rows
    ]  # fmt: skip


def verified(code: str) -> int:
    """Return the seq of the head, after every hash was made again in Python."""
    return chain.verify_chain(code, rows_of(code)).seq


def sqlstate_of(statement: str, *values: object) -> str:
    """Return the SQLSTATE with which the database refuses a statement, "" when it does not."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement, values)
    except DatabaseError as error:
        cause = error.__cause__
        assert isinstance(cause, psycopg.Error)
        return cause.sqlstate or ""
    return ""


# The same bytes on both sides.


@pytest.mark.django_db
@given(
    st.builds(
        chain.Record,
        code=CODES,
        seq=st.integers(0, 2**31 - 1),
        kind=st.integers(0, 2**15 - 1),
        schema=st.integers(0, 2**15 - 1),
        occurred_us=MOMENTS.map(chain.microseconds),
        recorded_us=MOMENTS.map(chain.microseconds),
        actor=st.integers(0, 2**63 - 1),
        site=st.integers(0, 2**31 - 1),
        prev=HASHES,
        pcommit=HASHES,
    )
)
def test_sql_hashes_a_record_like_the_core(record):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT ledger_leaf(%s::smallint, %s, %s, %s, %s, %s, %s::smallint, %s, %s, %s)",
            (
                record.kind, record.seq, chain.moment_of(record.occurred_us),
                chain.moment_of(record.recorded_us), record.actor, record.site, record.schema,
                record.code, record.prev, record.pcommit,
            ),
        )  # fmt: skip
        assert bytes(cursor.fetchone()[0]) == chain.leaf_hash(record)


@pytest.mark.django_db
@given(SALTS, BODIES, st.none() | st.tuples(st.uuids(), st.integers(2, 2**31 - 1), HASHES))
def test_sql_commits_to_a_payload_like_the_core(salt, body, joint):
    event_id, participants_n, participants_hash = joint or (None, None, None)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT ledger_commitment(%s, %s, %s::uuid, %s::integer, %s::bytea)",
            (salt, body, event_id, participants_n, participants_hash),
        )
        made = bytes(cursor.fetchone()[0])
    inner = canonical.commitment(salt, body.encode())
    if joint is None:
        assert made == inner
    else:
        assert made == canonical.joint_commitment(*joint, inner)


# One event.


def test_an_append_stands_in_the_chain_it_was_meant_for(maker):
    first = ledger.append(event(), credential=maker.credential)
    second = ledger.append(event(seq=0, site=7), credential=maker.credential)
    assert (first.seq, second.seq) == (0, 1)
    assert second.unit > first.unit
    assert verified(CODE) == 1
    row = Event.objects.get(battery_id=battery_id_of(CODE), seq=1)
    assert (row.actor, row.site, row.kind) == (maker.credential.number, 7, EventKind.FACTORY_TEST)
    assert bytes(row.leaf) == second.leaf
    assert row.recorded_at == second.recorded_at
    assert dict(UnitQueue.objects.values_list("unit", "n")) == {first.unit: 1, second.unit: 1}


def test_a_head_is_made_by_the_second_event_and_follows_the_chain(maker):
    ledger.append(event(), credential=maker.credential)
    assert not Head.objects.exists()
    for seq in (0, 1, 2):
        record = ledger.append(event(seq=seq), credential=maker.credential)
        head = Head.objects.get()
        assert (head.seq, bytes(head.leaf)) == (seq + 1, record.leaf)


@pytest.mark.parametrize("expected", [0, 1, 3, 17])
def test_a_moved_head_is_stale(maker, expected):
    for seq in (-1, 0, 1):
        ledger.append(event(seq=seq), credential=maker.credential)
    with pytest.raises(StaleHead), transaction.atomic():
        ledger.append(event(seq=expected), credential=maker.credential)
    assert verified(CODE) == 2


def test_a_chain_that_does_not_exist_is_stale_for_a_later_event(maker):
    with pytest.raises(StaleHead), transaction.atomic():
        ledger.append(event(seq=0), credential=maker.credential)
    assert not Head.objects.exists()


def test_a_second_birth_is_refused(maker):
    ledger.append(event(), credential=maker.credential)
    with pytest.raises(AlreadyRegistered), transaction.atomic():
        ledger.append(event(), credential=maker.credential)
    assert verified(CODE) == 0


def test_recorded_at_never_runs_backwards(maker):
    ledger.append(event(), credential=maker.credential)
    ledger.append(event(seq=0), credential=maker.credential)
    ahead = datetime(2100, 1, 1, tzinfo=UTC)
    Head.objects.update(recorded_at=ahead)
    assert ledger.append(event(seq=1), credential=maker.credential).recorded_at == ahead
    (many,) = ledger.append_many([event(seq=2)], credential=maker.credential)
    assert many.recorded_at == ahead


def test_an_id_of_another_code_is_refused(maker):
    stranger = event(battery_id=battery_id_of(OTHER))
    for call in (lambda: ledger.append(stranger, credential=maker.credential),
                 lambda: ledger.append_many([stranger], credential=maker.credential)):  # fmt: skip
        with pytest.raises(DatabaseError) as refused, transaction.atomic():
            call()
        assert refused.value.__cause__.sqlstate == "LG002"
    assert not Event.objects.exists()


# Many events.


def test_a_set_is_one_submission_in_the_order_given(maker):
    ledger.append(event(OTHER), credential=maker.credential)
    events = [
        event(THIRD), event(OTHER, 0), event(CODE), event(THIRD, None), event(OTHER, None),
        event(THIRD, None),
    ]  # fmt: skip
    appended = ledger.append_many(events, credential=maker.credential)
    assert [record.event for record in appended] == events
    assert [record.seq for record in appended] == [0, 1, 0, 1, 2, 2]
    assert [record.ordinal for record in appended] == list(range(6))
    (unit,) = {record.unit for record in appended}
    placed = Event.objects.filter(unit=unit).order_by("ordinal").values_list("battery_id", "seq")
    assert list(placed) == [(record.battery_id, record.seq) for record in appended]
    assert UnitQueue.objects.get(unit=unit).n == 6
    assert [verified(code) for code in (CODE, OTHER, THIRD)] == [0, 2, 2]
    heads = dict(Head.objects.values_list("battery_id", "seq"))
    assert heads == {battery_id_of(OTHER): 2, battery_id_of(THIRD): 2}


def test_one_stale_chain_keeps_the_whole_set_out(maker):
    ledger.append(event(OTHER), credential=maker.credential)
    with pytest.raises(StaleHead), transaction.atomic():
        ledger.append_many([event(CODE), event(OTHER, 4)], credential=maker.credential)
    assert Event.objects.count() == 1
    assert UnitQueue.objects.count() == 1


def test_an_empty_set_is_no_submission(maker):
    with pytest.raises(Malformed):
        ledger.append_many([], credential=maker.credential)


@given(st.lists(st.sampled_from([CODE, OTHER, THIRD]), min_size=1, max_size=12))
@pytest.mark.django_db
def test_sets_and_single_appends_chain_alike(codes):
    maker = stored.party("maker", Role.BATTERY_MAKER)
    with transaction.atomic():
        seqs: dict[str, int] = {}
        events = []
        for code in codes:
            events.append(event(code, None if code in seqs else -1))
            seqs[code] = seqs.get(code, -1) + 1
        ledger.append_many(events, credential=maker.credential)
        for code, seq in seqs.items():
            ledger.append(event(code, seq), credential=maker.credential)
            assert verified(code) == seq + 1
        transaction.set_rollback(True)


def test_the_sender_signs_what_it_submitted(maker):
    events = [event(CODE), event(OTHER, site=3)]
    digests = [
        submission.digest(
            one.code, one.kind, one.schema, chain.microseconds(NOON),
            canonical.commitment(one.salt, one.body.encode()),
        )
        for one in events
    ]  # fmt: skip
    assert ledger.unit_root(events) == submission.unit_root(digests)


def test_births_by_copy_are_births_by_function(maker, monkeypatch):
    events = [
        event(stored.code("P", serial), site=serial, occurred_at=NOON + timedelta(days=serial))
        for serial in range(1, 8)
    ]
    by_function = ledger.append_births(events[:3], credential=maker.credential)
    monkeypatch.setattr(ledger, "COPY_FROM", 1)
    by_copy = ledger.append_births(events[3:], credential=maker.credential)
    for place, record in enumerate([*by_function, *by_copy]):
        row = Event.objects.get(battery_id=record.battery_id)
        assert bytes(row.leaf) == record.leaf
        assert (row.unit, row.ordinal) == (record.unit, record.ordinal)
        assert (row.site, row.occurred_at) == (place + 1, NOON + timedelta(days=place + 1))
        assert (row.body, bytes(row.salt)) == (record.event.body, record.event.salt)
        assert verified(record.event.code) == 0
    assert UnitQueue.objects.get(unit=by_copy[0].unit).n == 4
    ledger.append(replace(events[5], expected_seq=0), credential=maker.credential)
    assert verified(events[5].code) == 1


def test_a_birth_by_copy_is_refused_a_second_time(maker, monkeypatch):
    monkeypatch.setattr(ledger, "COPY_FROM", 1)
    ledger.append_births([event(CODE)], credential=maker.credential)
    with pytest.raises(AlreadyRegistered), transaction.atomic():
        ledger.append_births([event(OTHER), event(CODE)], credential=maker.credential)
    assert Event.objects.count() == 1


# Joint events.


def test_a_joint_event_stands_in_every_chain_and_names_them_all(maker):
    ledger.append(event(CODE), credential=maker.credential)
    tied = ledger.joined([event(CODE, 0), event(OTHER)], event_id=uuid4())
    ledger.append_many(tied, credential=maker.credential)
    assert [verified(CODE), verified(OTHER)] == [1, 0]
    rows = Event.objects.exclude(event_id=None).values_list(
        "event_id", "participants_n", "participants_hash"
    )
    assert len({(event_id, n, bytes(hashed)) for event_id, n, hashed in rows}) == 1
    expected = canonical.participants_hash(
        [(one.battery_id.bytes, one.inner_commitment()) for one in tied]
    )
    assert {(n, bytes(hashed)) for _, n, hashed in rows} == {(2, expected)}


def test_a_joint_event_is_no_single_append(maker):
    tied = ledger.joined([event(CODE), event(OTHER)], event_id=uuid4())
    with pytest.raises(AssertionError):
        ledger.append(tied[0], credential=maker.credential)


# Append-only.

CHANGES = [
    "UPDATE event SET body = 'x'",
    "UPDATE event SET recorded_at = now()",
    "UPDATE event SET leaf = sha256('x')",
    "UPDATE event SET body = NULL, salt = NULL, pcommit = sha256('wrong')",
    "UPDATE event SET body = NULL, salt = NULL, kind = 21, pcommit ="
    " sha256('ledger/payload/v1\\000'::bytea || salt || convert_to(body, 'UTF8'))",
    "DELETE FROM event",
    "TRUNCATE event",
]


@pytest.mark.parametrize("statement", CHANGES)
def test_even_the_owner_changes_nothing(maker, statement):
    ledger.append(event(), credential=maker.credential)
    assert sqlstate_of(statement) == "LG003"
    assert verified(CODE) == 0


@pytest.mark.parametrize("statement", CHANGES)
def test_a_replica_session_changes_nothing_either(maker, statement):
    ledger.append(event(), credential=maker.credential)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
    assert sqlstate_of(statement) == "LG003"
    assert verified(CODE) == 0


def test_redaction_keeps_the_chain_and_erases_the_payload(maker):
    tied = ledger.joined([event(CODE), event(OTHER)], event_id=uuid4())
    ledger.append_many(tied, credential=maker.credential)
    ledger.append(event(CODE, 0), credential=maker.credential)
    assert ledger.redact(battery_id=battery_id_of(CODE), seq=0)
    row = Event.objects.get(battery_id=battery_id_of(CODE), seq=0)
    assert (row.body, row.salt) == (None, None)
    assert bytes(row.pcommit) == tied[0].inner_commitment()
    assert verified(CODE) == 1
    assert not ledger.redact(battery_id=battery_id_of(CODE), seq=0)
    assert not ledger.redact(battery_id=battery_id_of(CODE), seq=9)
    # Nothing that was erased comes back.
    assert sqlstate_of("UPDATE event SET body = 'x', salt = '\\x00', pcommit = NULL") == "LG003"


def test_an_unknown_kind_is_refused_by_the_table(maker):
    values = (battery_id_of(CODE), CODE, NOON, maker.credential.number, bytes(16))
    state = sqlstate_of(
        "SELECT ledger_append(%s, %s, -1, 19::smallint, 1::smallint, %s, %s, 0, '{}', %s)", *values
    )
    assert state == "23514"


# Roles.

FORBIDDEN = "42501"
TO_NOBODY = [
    "UPDATE event SET body = 'x'",
    "DELETE FROM event",
    "TRUNCATE event",
    "UPDATE head SET seq = 0",
    "DELETE FROM head",
    "INSERT INTO unit_queue (unit, n) VALUES (1, 1)",
    "DELETE FROM unit_queue",
    "UPDATE manifest SET cells = 0",
    "DELETE FROM manifest",
    "DELETE FROM submission",
    "SELECT nextval('ledger_unit')",
    "SELECT ledger_lock_head('00000000-0000-0000-0000-000000000000', 0)",
    "ALTER TABLE event DISABLE TRIGGER ALL",
]
INSERTED = (
    "INSERT INTO event (battery_id, seq, kind, schema, site, occurred_at, recorded_at, actor,"
    " unit, ordinal, body, salt, leaf) VALUES (gen_random_uuid(), 0, 1, 1, 0, now(), now(), 1, 1,"
    " 0, '{}', '\\x00', sha256('x'))"
)


@pytest.mark.parametrize("statement", [*TO_NOBODY, INSERTED, "SELECT ledger_open_unit(1)"])
def test_the_web_may_not(maker, as_app, statement):
    assert sqlstate_of(statement) == FORBIDDEN


@pytest.mark.parametrize("statement", TO_NOBODY)
def test_the_worker_may_not(maker, as_loader, statement):
    assert sqlstate_of(statement) == FORBIDDEN


def test_the_web_appends_and_redacts_through_the_functions(maker, as_app):
    ledger.append(event(), credential=maker.credential)
    ledger.append_many([event(CODE, 0), event(OTHER)], credential=maker.credential)
    assert ledger.redact(battery_id=battery_id_of(CODE), seq=1)
    assert verified(CODE) == 1


def test_the_worker_copies_births(maker, as_loader, monkeypatch):
    monkeypatch.setattr(ledger, "COPY_FROM", 1)
    ledger.append_births([event(CODE), event(OTHER)], credential=maker.credential)
    assert verified(OTHER) == 0


# Races and transactions.


def test_nothing_is_written_outside_a_transaction(committed):
    maker = stored.party("maker", Role.BATTERY_MAKER)
    calls = [
        lambda: ledger.append(event(), credential=maker.credential),
        lambda: ledger.append_many([event()], credential=maker.credential),
        lambda: ledger.append_births([event()], credential=maker.credential),
    ]
    for call in calls:
        with pytest.raises(AssertionError):
            call()
    with pytest.raises(AssertionError):
        ledger.redact(battery_id=UUID(int=0), seq=0)


def test_two_births_at_once_leave_one(committed):
    maker = stored.party("maker", Role.BATTERY_MAKER)

    @transaction.atomic
    def birth() -> ledger.Appended:
        return ledger.append(event(), credential=maker.credential)

    for code_round in range(3):
        results = together(birth, birth)
        wins = [result for result in results if isinstance(result, ledger.Appended)]
        assert len(wins) == (1 if code_round == 0 else 0)
        assert all(isinstance(r, ledger.Appended | AlreadyRegistered) for r in results)
    assert verified(CODE) == 0


@pytest.mark.parametrize("seq", [0, 1, 2])
def test_two_appends_at_once_leave_one_and_tell_the_other(committed, seq):
    maker = stored.party("maker", Role.BATTERY_MAKER)
    with transaction.atomic():
        for before in range(-1, seq):
            ledger.append(event(seq=before), credential=maker.credential)

    @transaction.atomic
    def one() -> ledger.Appended:
        return ledger.append(event(seq=seq), credential=maker.credential)

    @transaction.atomic
    def many() -> ledger.Appended:
        return ledger.append_many([event(seq=seq)], credential=maker.credential)[0]

    results = together(one, many, one, many)
    assert sum(isinstance(result, ledger.Appended) for result in results) == 1
    assert sum(isinstance(result, StaleHead) for result in results) == 3
    assert verified(CODE) == seq + 1


def test_sets_in_opposite_order_do_not_lock_each_other_out(committed):
    maker = stored.party("maker", Role.BATTERY_MAKER)
    codes = [stored.code("P", serial) for serial in range(1, 21)]
    with transaction.atomic():
        ledger.append_many([event(code) for code in codes], credential=maker.credential)

    def all_of(order: list[str]):
        @ledger.retrying_once
        @transaction.atomic
        def append() -> int:
            heads = dict(Head.objects.values_list("battery_id", "seq"))
            events = [event(code, heads.get(battery_id_of(code), 0)) for code in order]
            return len(ledger.append_many(events, credential=maker.credential))

        return append

    assert together(all_of(codes), all_of(codes[::-1])) == [20, 20]
    assert {verified(code) for code in codes} == {2}


def test_unit_order_never_contradicts_chain_order(committed):
    maker = stored.party("maker", Role.BATTERY_MAKER)
    with transaction.atomic():
        ledger.append(event(), credential=maker.credential)

    def appends() -> int:
        done = 0
        for _ in range(15):
            try:
                with transaction.atomic():
                    head = Head.objects.filter(battery_id=battery_id_of(CODE)).first()
                    seq = head.seq if head else 0
                    ledger.append(event(seq=seq), credential=maker.credential)
                    done += 1
            except StaleHead:
                continue
        return done

    done = sum(int(str(result)) for result in together(appends, appends, appends))
    units = list(
        Event.objects.filter(battery_id=battery_id_of(CODE)).order_by("seq").values_list(
            "unit", flat=True
        )
    )  # fmt: skip
    assert units == sorted(units)
    assert verified(CODE) == done


def test_a_stale_command_is_run_once_more():
    calls = []

    @ledger.retrying_once
    def command(fails: int) -> str:
        calls.append(fails)
        if len(calls) <= fails:
            raise StaleHead(battery=CODE)
        return "done"

    assert command(1) == "done"
    calls.clear()
    with pytest.raises(StaleHead):
        command(2)
    assert len(calls) == 2
