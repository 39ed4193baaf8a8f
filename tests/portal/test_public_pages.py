"""Pages for everybody: they know nothing of the register and leave no trace."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests import stored
from traceability.core.events import KINDS, EventKind
from traceability.core.roles import Role

pytestmark = pytest.mark.django_db


@pytest.fixture
def anybody():
    return Client(headers={"accept-language": "en"})


def test_a_known_and_an_unknown_code_give_the_same_page_for_the_same_work(anybody):
    known = stored.pack(stored.party("Eve", Role.BATTERY_MAKER)).code
    unknown = stored.code("P", 999)
    bodies, work = [], []
    for code in (known, unknown):
        with CaptureQueriesContext(connection) as queries:
            response = anybody.get(f"/b/{code}")
        assert response.status_code == 200
        bodies.append(_without(response.content.decode(), code))
        work.append(len(queries))
    assert bodies[0] == bodies[1]
    assert work == [0, 0]


def test_the_label_page_sets_no_cookie_and_names_no_stranger(anybody):
    response = anybody.get(f"/b/{stored.code('P', 1)}")
    assert not response.cookies
    assert "no recall known" in response.content.decode()
    hosts = re.findall(r'(?:src|href)="(?:https?:)?//', response.content.decode())
    assert hosts == []


def test_no_recall_can_be_recorded_so_none_is_looked_for():
    """When recalls get a payload, the label page has to ask for them."""
    assert KINDS[EventKind.RECALLED].schema is None


@pytest.mark.parametrize("text", ["X", "04QPB52091380JU120000001", "%00", "<script>", "é" * 300])
def test_a_label_that_does_not_read_is_still_answered(anybody, text):
    response = anybody.get(f"/b/{text}")
    assert response.status_code == 200
    assert "<script>" not in response.content.decode()


def test_the_decoder_reads_a_code_in_its_parts(anybody):
    page = anybody.get("/codes/", {"code": "04qcb76836300\njbc40000903"}).content.decode()
    assert "X15–X17" in page
    assert "Dec. 4, 2021" in page


def test_the_decoder_warns_of_a_date_to_come(anybody):
    page = anybody.get("/codes/", {"code": "X12MCPM27KLPCLX2M2382320"}).content.decode()
    assert "lies in the future" in page


def test_the_decoder_says_what_does_not_read(anybody):
    page = anybody.get("/codes/", {"code": "001CB240000003U3C0221953"}).content.decode()
    assert "This is not a code that reads" in page


@pytest.mark.parametrize("path", ["/", "/codes/", "/sign-in/", "/b/X"])
def test_pages_carry_no_inline_script_or_style(anybody, path):
    page = anybody.get(path).content.decode()
    assert "<style" not in page
    assert not re.search(r"\son\w+=|\sstyle=", page)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", page))


@pytest.mark.parametrize(
    ("target", "arrives"),
    [("/codes/", "/codes/"), ("https://elsewhere.example/", "/"), ("//elsewhere.example", "/")],
)
def test_the_language_is_remembered_and_the_way_back_stays_here(anybody, target, arrives):
    response = anybody.get("/language/en/", {"next": target})
    assert response["Location"] == arrives
    assert response.cookies["django_language"].value == "en"
    assert anybody.get("/language/xx/").status_code == 404


def test_health_says_that_the_process_lives(anybody):
    assert anybody.get("/healthz").json() == {"status": "ok"}


def test_readiness_names_the_part_that_failed(anybody, monkeypatch):
    from traceability.portal.views import health

    monkeypatch.setattr(health, "_broker", lambda: False)
    response = anybody.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"] == {"database": "ok", "migrations": "ok", "broker": "failed"}
    monkeypatch.setattr(health, "_broker", lambda: True)
    assert anybody.get("/readyz").status_code == 200


def _without(page: str, code: str) -> str:
    """Return a page without the code and its serial number, which are the reader's own."""
    return page.replace(code, "").replace(code[-7:], "")
