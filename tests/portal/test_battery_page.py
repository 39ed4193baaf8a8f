"""The page of a battery: it checks, it shouts, it shows no more than it may."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests import stored
from tests.portal.people import browser
from traceability.core.events import EventKind
from traceability.core.roles import Role
from traceability.models.parties import Duty

pytestmark = pytest.mark.django_db


@pytest.fixture
def maker():
    return stored.party("Eve", Role.BATTERY_MAKER)


@pytest.fixture
def pages(maker):
    return browser(maker)


@pytest.fixture
def pack(maker):
    return stored.pack(maker)


def text_of(response) -> str:
    return " ".join(response.content.decode().split())


def test_the_page_shows_code_parts_tree_and_a_check_made_now(pages, pack):
    page = text_of(pages.get(f"/batteries/{pack.code}/"))
    for part in (*pack.cells, "X15–X17", "lithium iron phosphate"):
        assert part in page
    assert "The one record was hashed again" in page
    assert "version 1, is the one that record 0 commits to" in page
    assert f"traceability.core.bundle {pack.code}.bundle.json" in page
    assert 'role="alert"' not in page


def test_a_broken_chain_is_an_alarm_with_record_and_damage(maker, pages, pack):
    stored.installed(maker, pack.code)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE event DISABLE TRIGGER guard_rows")
        cursor.execute("UPDATE event SET body = replace(body, '84847', '84848') WHERE seq = 1")
        cursor.execute("ALTER TABLE event ENABLE ALWAYS TRIGGER guard_rows")
    page = text_of(pages.get(f"/batteries/{pack.code}/"))
    assert 'role="alert"' in page
    assert "Record 1:" in page
    assert "(leaf)" in page
    assert "checked just now" not in page


def test_the_whole_number_of_a_vehicle_stands_nowhere(maker, pages, pack):
    stored.installed(maker, pack.code)
    for path in ("", "records/1/"):
        page = text_of(pages.get(f"/batteries/{pack.code}/{path}"))
        assert stored.VIN not in page
    assert "LSV********184847" in text_of(pages.get(f"/batteries/{pack.code}/"))


def test_the_bytes_of_a_record_are_shown_on_demand(pages, pack):
    page = text_of(pages.get(f"/batteries/{pack.code}/records/0/"))
    assert "manifest_root" in page
    assert pages.get(f"/batteries/{pack.code}/records/1/").status_code == 404


def test_a_correction_is_under_what_it_corrects(maker, pages, pack):
    stored.installed(maker, pack.code)
    correction = {
        "by": "", "corrects": 1, "kind": int(EventKind.INSTALLED), "schema": 0,
        "error": "incorrect_data", "occurred_at": "2026-01-04T08:00:00.000000Z", "body": {},
        "reason": "wrong day",
    }  # fmt: skip
    stored.record(maker, pack.code, EventKind.CORRECTED, correction, seq=2)
    page = text_of(pages.get(f"/batteries/{pack.code}/"))
    assert page.count('id="record-') == 3
    item = page[page.index('id="record-1"') : page.index('id="record-0"')]
    assert 'id="record-2"' in item
    assert "wrong day" in item


def test_a_look_back_shows_the_state_of_then(maker, pages, pack):
    stored.installed(maker, pack.code, day=5)
    then = text_of(pages.get(f"/batteries/{pack.code}/?as_of=2026-01-04T08:00"))
    assert "A look back" in then
    assert "installed in a vehicle" not in then
    assert pages.get(f"/batteries/{pack.code}/?as_of=gestern").status_code == 400
    assert pages.get(f"/batteries/{pack.code}/?as_of=2026-13-01").status_code == 400


def test_a_cell_has_a_page_that_leads_to_its_pack(pages, pack):
    page = text_of(pages.get(f"/batteries/{pack.cells[0]}/"))
    assert f'href="/batteries/{pack.code}/"' in page
    assert f'href="/batteries/{pack.modules[0]}/"' in page


def test_many_events_come_in_pages(maker, pages, pack):
    for seq in range(1, 60):
        stored.installed(maker, pack.code, seq=seq, day=seq)
    first = text_of(pages.get(f"/batteries/{pack.code}/"))
    assert 'id="record-59"' in first
    assert 'id="record-9"' not in first
    assert 'href="?before=10#timeline"' in first
    assert 'id="record-9"' in text_of(pages.get(f"/batteries/{pack.code}/?before=10"))


def test_queries_do_not_grow_with_modules(maker, pages):
    counts = []
    for pack in (stored.pack(maker, 1, modules=1, cells=1), stored.pack(maker, 7, modules=200)):
        with CaptureQueriesContext(connection) as queries:
            assert pages.get(f"/batteries/{pack.code}/").status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_a_stranger_cannot_tell_a_known_code_from_an_unknown_one(pack):
    stranger = browser(stored.party("Other", Role.BATTERY_MAKER, number=2), "li")
    unknown = stored.code("P", 999)
    there = stranger.get(f"/batteries/{pack.code}/")
    nowhere = stranger.get(f"/batteries/{unknown}/")
    assert there.status_code == nowhere.status_code == 404
    assert _without(text_of(there), pack.code) == _without(text_of(nowhere), unknown)


def test_a_reader_reads_and_is_told_that_sending_is_not_for_him(maker, pack):
    reader = browser(maker, "wang", Duty.READER)
    assert reader.get(f"/batteries/{pack.code}/").status_code == 200
    assert 'type="file"' not in text_of(reader.get("/registrations/"))


@pytest.mark.parametrize("language", ["zh-hans", "en"])
def test_the_page_is_whole_in_both_languages(pages, pack, language):
    pages.cookies["django_language"] = language
    page = text_of(pages.get(f"/batteries/{pack.code}/", headers={"accept-language": language}))
    assert ("What happened" in page) is (language == "en")
    assert ("履历" in page) is (language == "zh-hans")


def _without(page: str, code: str) -> str:
    """Return a page without the reader's own code and the token of its forms."""
    return re.sub(r'value="[0-9A-Za-z]{64}"', "", page.replace(code, ""))
