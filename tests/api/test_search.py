"""Search by API: an entry, and a list of which nothing gets lost."""

from __future__ import annotations

import pytest

from tests import stored
from tests.portal.people import browser
from traceability.core.roles import Role

pytestmark = pytest.mark.django_db

URL = "/api/v1/search/"


@pytest.fixture
def maker():
    return stored.party("Eve", Role.BATTERY_MAKER)


@pytest.fixture
def api(maker):
    return browser(maker)


def test_an_entry_is_found_with_the_reason(maker, api):
    pack = stored.pack(maker)
    (hit,) = api.get(URL, {"q": pack.cells[0]}).json()["results"]
    assert (hit["match"], hit["holder"]) == ("component", pack.code)


@pytest.mark.parametrize("query", [{}, {"q": ""}, {"q": "a"}, {"q": "x" * 201}, {"q": "é" * 5}])
def test_what_cannot_be_searched_for_is_refused(api, query):
    assert api.get(URL, query).status_code == 400


@pytest.mark.parametrize("as_text", [True, False])
def test_a_list_accounts_for_every_entry(maker, api, as_text):
    pack = stored.pack(maker)
    entries = [pack.code, pack.modules[0], stored.code("P", 999), "04QPX520"]
    codes = "、".join(entries) if as_text else entries
    answer = api.post(URL, {"codes": codes}, content_type="application/json").json()
    assert [found["entry"] for found in answer["found"]] == entries[:2]
    assert answer["not_found"] == entries[2:3]
    assert [misread["entry"] for misread in answer["malformed"]] == entries[3:]
    assert answer["malformed"][0]["message"]


@pytest.mark.parametrize("body", [{}, {"codes": 5}, {"codes": [5]}, {"codes": "a", "x": 1}, []])
def test_a_list_that_is_none_is_refused(api, body):
    assert api.post(URL, body, content_type="application/json").status_code == 400
