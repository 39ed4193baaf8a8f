"""Reading batteries by API: what is said, to whom, and in how many queries."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests import stored
from tests.portal.people import browser
from traceability.core.roles import Role
from traceability.models.registry import Finding

pytestmark = pytest.mark.django_db

LIST = "/api/v1/batteries/"


@pytest.fixture
def maker():
    return stored.party("Eve", Role.BATTERY_MAKER)


@pytest.fixture
def api(maker):
    return browser(maker)


@pytest.fixture
def pack(maker):
    return stored.pack(maker)


def test_a_battery_is_told_with_its_check(api, pack):
    told = api.get(f"{LIST}{pack.code}/").json()
    assert told["code"] == pack.code
    assert told["state"] == "registered"
    assert told["check"]["is_whole"] is True
    assert told["check"]["manifests"][0]["committed_at_seq"] == 0
    assert told["registrant"]["name"] == "Eve"


def test_a_cell_without_a_record_answers_with_its_pack(api, pack):
    told = api.get(f"{LIST}{pack.cells[0]}/").json()
    assert told["has_record"] is False
    assert told["holders"][0]["code"] == pack.code
    assert told["holders"][0]["module"] == pack.modules[0]


def test_the_list_pages_through_everything_once(maker, api):
    codes = {stored.pack(maker, n, modules=1, cells=1).code for n in range(1, 8)}
    found, url = [], f"{LIST}?limit=3"
    while url:
        page = api.get(url).json()
        found += [row["code"] for row in page["results"]]
        url = page["next"]
    assert sorted(found) == sorted(codes)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("state=registered", 2),
        ("state=in_use&state=registered", 3),
        ("state=in_use", 1),
        ("code_begins=04qpb", 3),
        ("lot=A7&line=L1", 3),
        ("lot=A8", 0),
        ("produced_from=2026-01-03", 0),
        ("produced_to=2026-01-02", 3),
        ("level=P&maker=04Q", 3),
        ("is_filed=false", 0),
    ],
)
def test_the_list_narrows_to_what_is_asked(maker, api, query, count):
    for n in (1, 2, 3):
        stored.pack(maker, n)
    stored.installed(maker, stored.code("P", 2))
    assert len(api.get(f"{LIST}?{query}").json()["results"]) == count


@pytest.mark.parametrize(
    "query",
    ["state=broken", "stat=in_use", "limit=0", "limit=1e3", "limit=٤", "cursor=xyz", "cursor=W10=",
     "produced_from=2026-02-30", "is_filed=yes"],
)  # fmt: skip
def test_a_question_that_cannot_be_read_is_refused(api, query):
    assert api.get(f"{LIST}?{query}").status_code == 400


def test_events_have_both_clocks_and_mask_the_vehicle(maker, api, pack):
    stored.installed(maker, pack.code)
    _, installed = api.get(f"{LIST}{pack.code}/events/").json()["results"]
    assert installed["kind"] == "installed"
    assert installed["occurred_at"] < installed["recorded_at"]
    assert installed["payload"]["vin"] == "LSV********184847"
    assert "by" not in installed["payload"]


def test_events_page_by_cursor(maker, api, pack):
    for seq in range(1, 5):
        stored.installed(maker, pack.code, seq=seq, day=seq)
    first = api.get(f"{LIST}{pack.code}/events/?limit=3").json()
    second = api.get(first["next"]).json()
    seqs = [row["seq"] for row in first["results"] + second["results"]]
    assert seqs == [0, 1, 2, 3, 4]
    assert second["next"] is None


def test_the_trace_is_whole_in_one_answer(maker, api, pack):
    stored.installed(maker, pack.code)
    stored.regrouped(maker, pack.code, stored.code("P", 91), seq=2)
    trace = api.get(f"{LIST}{pack.code}/trace/").json()
    cells = [cell["code"] for module in trace["structure"]["modules"] for cell in module["cells"]]
    assert cells == list(pack.cells)
    assert [link["relation"] for link in trace["links"]] == ["successor"]
    assert trace["vehicles"][0]["vin"] == "LSV********184847"
    past = api.get(f"{LIST}{pack.code}/trace/?as_of=2026-01-02T20:00:00%2B08:00").json()
    assert (past["links"], past["vehicles"]) == ([], [])


def test_the_trace_of_a_large_pack_takes_no_more_queries(maker, api):
    small = stored.pack(maker, 1, modules=1, cells=1)
    large = stored.pack(maker, 7, modules=200, cells=1)
    counts = []
    for pack in (small, large):
        with CaptureQueriesContext(connection) as queries:
            assert api.get(f"{LIST}{pack.code}/trace/").status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("part", ["", "events/", "trace/"])
def test_a_stranger_and_an_unknown_code_get_the_same_answer(pack, part):
    stranger = browser(stored.party("Other", Role.BATTERY_MAKER, number=2), "li")
    there = stranger.get(f"{LIST}{pack.code}/{part}")
    nowhere = stranger.get(f"{LIST}{stored.code('P', 999)}/{part}")
    assert there.status_code == nowhere.status_code == 404
    assert there.json().keys() == nowhere.json().keys()
    assert stranger.get(LIST).json()["results"] == []


def test_a_relative_that_may_not_be_seen_is_not_named(maker, api, pack):
    stranger = stored.party("Other", Role.BATTERY_MAKER, number=2)
    stored.regrouped(stranger, pack.code, stored.code("P", 91))
    answer = api.get(f"{LIST}{pack.code}/trace/")
    assert answer.json()["links"][0]["unit"]["code"] is None
    assert stored.code("P", 91) not in answer.content.decode()


def test_findings_are_listed_to_whom_they_concern(maker, api, pack):
    for kind in ("violation", "second_vehicle"):
        Finding.objects.create(
            battery_id=pack.battery_id, seq=0, kind=kind, opened_at=stored.MORNING
        )
    first = api.get("/api/v1/findings/?limit=1").json()
    second = api.get(first["next"]).json()
    kinds = {row["kind"] for row in first["results"] + second["results"]}
    assert kinds == {"violation", "second_vehicle"}
    stranger = browser(stored.party("Other", Role.BATTERY_MAKER, number=2), "li")
    assert stranger.get("/api/v1/findings/").json()["results"] == []
    assert api.get("/api/v1/quarantine/").json()["results"] == []
