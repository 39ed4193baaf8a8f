"""The story of a battery: checked on the spot, whatever the stored rows claim."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests import stored
from traceability.core.errors import NotFound
from traceability.core.events import EventKind
from traceability.core.lifecycle import Flag, State
from traceability.core.roles import Role
from traceability.models.registry import Manifest
from traceability.queries import batteries, chains
from traceability.queries.events import events_page

pytestmark = pytest.mark.django_db

CORRECTION = {
    "by": "", "corrects": 1, "kind": int(EventKind.INSTALLED), "schema": 0,
    "error": "incorrect_data", "occurred_at": "2026-01-04T08:00:00.000000Z", "body": {},
    "reason": "wrong day",
}  # fmt: skip


@pytest.fixture
def maker():
    return stored.party("Eve", Role.BATTERY_MAKER)


@pytest.fixture
def pack(maker):
    return stored.pack(maker)


def tamper(statement: str, *params: object) -> None:
    """Do what only the owner of the table can: change the ledger behind the guard's back."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE event DISABLE TRIGGER guard_rows")
        cursor.execute(statement, params)
        cursor.execute("ALTER TABLE event ENABLE ALWAYS TRIGGER guard_rows")


def test_a_story_has_the_facts_and_a_chain_that_was_just_checked(maker, pack):
    story = batteries.story(pack.code, actor=maker)
    assert story.facts.registrant.name == "Eve"
    assert story.current.state is State.REGISTERED
    assert story.is_whole
    assert story.chain.records == 1
    assert [check.seq for check in story.manifests] == [0]
    assert story.events[0].kind is EventKind.REGISTERED
    assert story.events[0].who.name == "Eve"


def test_a_code_is_found_however_it_is_printed(maker, pack):
    printed = f" {pack.code[:12].lower()}\n{pack.code[12:]} "
    assert batteries.story(printed, actor=maker).facts.code == pack.code


@pytest.mark.parametrize(
    ("statement", "seq", "damage"),
    [
        ("UPDATE event SET body = replace(body, 'LF280K', 'LF999K') WHERE seq = 0", 0, "leaf"),
        ("UPDATE event SET occurred_at = occurred_at + '1 hour' WHERE seq = 1", 1, "leaf"),
        ("UPDATE event SET actor = actor + 1 WHERE seq = 1", 1, "leaf"),
        ("DELETE FROM event WHERE seq = 1", 1, "gap"),
        ("DELETE FROM event WHERE seq = 2", 2, "head"),
        ("DELETE FROM event", 0, "empty"),
    ],
)
def test_every_tampering_is_named_with_its_record(maker, pack, statement, seq, damage):
    stored.installed(maker, pack.code)
    stored.record(maker, pack.code, EventKind.CORRECTED, CORRECTION, seq=2)
    tamper(statement)
    story = batteries.story(pack.code, actor=maker)
    assert not story.is_whole
    assert (story.chain.damaged_seq, story.chain.damage) == (seq, damage)


def test_a_manifest_with_another_cell_in_it_is_named(maker, pack):
    other = stored.pack(maker, 2)
    packed = Manifest.objects.get(battery_id=other.battery_id).packed
    Manifest.objects.filter(battery_id=pack.battery_id).update(packed=packed)
    story = batteries.story(pack.code, actor=maker)
    assert story.chain.is_whole
    assert [check.damage for check in story.manifests] == ["root"]
    assert not story.is_whole


def test_a_manifest_that_no_record_commits_to_is_named(maker, pack):
    own = Manifest.objects.get(battery_id=pack.battery_id)
    other = Manifest.objects.get(battery_id=stored.pack(maker, 2).battery_id)
    Manifest.objects.filter(battery_id=own.battery_id).update(packed=other.packed, root=other.root)
    story = batteries.story(pack.code, actor=maker)
    assert [check.damage for check in story.manifests] == ["uncommitted"]


def test_an_erased_payload_is_said_and_is_no_damage(maker, pack):
    with connection.cursor() as cursor:
        cursor.execute("SELECT ledger_redact(%s, 0)", (pack.battery_id,))
    story = batteries.story(pack.code, actor=maker)
    assert story.is_whole
    assert story.events[0].is_erased
    assert story.events[0].payload is None
    assert [check.damage for check in story.manifests] == ["erased"]


def test_a_correction_stands_under_what_it_corrects_and_moves_it(maker, pack):
    stored.installed(maker, pack.code)
    stored.record(maker, pack.code, EventKind.CORRECTED, CORRECTION, seq=2)
    _, installed = batteries.story(pack.code, actor=maker).events
    assert Flag.CORRECTED in installed.flags
    assert installed.occurred_at == datetime(2026, 1, 4, 8, tzinfo=UTC)
    assert installed.occurred_as_reported == stored.MORNING + timedelta(days=1)
    assert [correction.seq for correction in installed.corrections] == [2]


def test_both_clocks_choose_what_is_told(maker, pack):
    stored.installed(maker, pack.code, day=5)
    early = batteries.story(pack.code, actor=maker, as_of=stored.MORNING + timedelta(days=2))
    assert [event.kind for event in early.events] == [EventKind.REGISTERED]
    assert early.current.state is State.REGISTERED
    unknown = batteries.story(pack.code, actor=maker, known_at=stored.MORNING)
    assert unknown.events == ()
    assert unknown.chain.records == 2


def test_a_second_installation_is_flagged(maker, pack):
    stored.installed(maker, pack.code, day=5)
    stored.installed(maker, pack.code, vin="LSVAA4182E2184848", seq=2, day=3)
    _, later, earlier = batteries.story(pack.code, actor=maker).events
    assert Flag.VIOLATION in later.flags
    assert earlier.flags == {Flag.LATE}


def test_the_number_of_queries_grows_with_nothing(maker):
    small, large = stored.pack(maker, 1, modules=1, cells=1), stored.pack(maker, 7, modules=200)
    for seq in range(1, 30):
        stored.installed(maker, large.code, seq=seq, day=seq)
    counts = []
    for pack in (small, large):
        with CaptureQueriesContext(connection) as queries:
            batteries.story(pack.code, actor=maker)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 9


def test_a_stranger_is_told_nothing(pack):
    stranger = stored.party("Other", Role.BATTERY_MAKER, number=2)
    for tell in (batteries.story, batteries.component):
        with pytest.raises(NotFound):
            tell(pack.code, actor=stranger)
    with pytest.raises(NotFound):
        batteries.component(pack.cells[0], actor=stranger)
    with pytest.raises(NotFound):
        events_page(pack.code, actor=stranger)


def test_a_cell_without_a_chain_is_placed(maker, pack):
    cell = batteries.component(pack.cells[-1], actor=maker)
    ((holder, place),) = cell.holders
    assert cell.level == "C"
    assert holder.code == pack.code
    assert place.module.code == pack.modules[-1]


def test_the_bytes_of_a_record_hash_to_its_leaf(maker, pack):
    stored.installed(maker, pack.code)
    records = chains.records_of(pack.battery_id)
    raw = chains.raw_of(pack.code, records, 1)
    assert raw.previous_leaf == records[0].leaf.hex()
    assert hashlib.sha256(b"\0" + bytes.fromhex(raw.record)).hexdigest() == raw.leaf
    assert chains.raw_of(pack.code, records, 9) is None


def test_pages_of_events_join_without_gap_or_repetition(maker, pack):
    for seq in range(1, 8):
        stored.installed(maker, pack.code, seq=seq, day=seq)
    seqs, after = [], -1
    while True:
        page = events_page(pack.code, actor=maker, after=after, limit=3)
        seqs += [event.seq for event in page.events]
        if page.next_after is None:
            break
        after = page.next_after
    assert seqs == list(range(8))
    only = events_page(pack.code, actor=maker, kind=EventKind.REGISTERED)
    assert [event.seq for event in only.events] == [0]
