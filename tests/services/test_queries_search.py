"""Search by every shape people have in hand, within what they may see."""

from __future__ import annotations

from itertools import pairwise

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests import stored
from traceability.core.errors import Malformed
from traceability.core.roles import Role
from traceability.queries import search
from traceability.queries.search import Match, entries_of

pytestmark = pytest.mark.django_db

A, B = stored.code("P", 11), stored.code("C", 12)


@pytest.fixture
def maker():
    return stored.party("Eve", Role.BATTERY_MAKER)


@pytest.fixture
def pack(maker):
    return stored.pack(maker, 1234567)


@pytest.mark.parametrize(
    "separator",
    [" ", "\t", "\n", "\r\n", ",", ", ", "、", "；", ";", "，", "|", '"\n"', "\u3000", "\u00a0"],
)
def test_a_list_is_split_at_whatever_stands_between_codes(separator):
    assert entries_of(separator.join([A, B.lower(), A])) == [A, B]


@pytest.mark.parametrize("breaks", [(12,), (3, 7, 14, 17), (14,)])
def test_one_code_printed_in_parts_is_one_code(breaks):
    cuts = [0, *breaks, 24]
    printed = "\n".join(A[a:b] for a, b in pairwise(cuts))
    assert entries_of(printed) == [A]


def test_more_than_five_thousand_are_refused():
    with pytest.raises(Malformed):
        entries_of(" ".join(f"X{n}" for n in range(5_001)))


def test_a_full_code_is_found(maker, pack):
    (hit,) = search.search(pack.code.lower(), actor=maker).hits
    assert (hit.code, hit.match) == (pack.code, Match.CODE)


@pytest.mark.parametrize("kind", ["modules", "cells"])
def test_a_component_is_found_in_its_pack(maker, pack, kind):
    part = getattr(pack, kind)[1]
    (hit,) = search.search(part, actor=maker).hits
    assert (hit.code, hit.match, hit.holder) == (part, Match.COMPONENT, pack.code)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("04QPB52091", Match.PREFIX),
        ("1234567", Match.SUFFIX),
        ("52091380JG1212345", Match.INNER),
        ("04Q*1234567", Match.PATTERN),
        ("04QPB5209138?JG121234567", Match.PATTERN),
        ("*G121234567", Match.PATTERN),
        ("?4QP*4567", Match.PATTERN),
    ],
)
def test_a_part_of_a_code_is_enough(maker, pack, text, match):
    found = search.search(text, actor=maker)
    assert pack.code in [hit.code for hit in found.hits]
    assert {hit.match for hit in found.hits} == {match}


def test_signs_of_other_pattern_languages_mean_nothing(maker, pack):
    assert search.search("04Q.B_2*", actor=maker).hits == ()
    with pytest.raises(Malformed):
        search.search("04Q%B", actor=maker)


def test_a_vehicle_is_found_by_its_full_number(maker, pack):
    stored.installed(maker, pack.code)
    (hit,) = search.search(stored.VIN, actor=maker).hits
    assert (hit.code, hit.match) == (pack.code, Match.VEHICLE)
    assert search.search(stored.VIN[:16], actor=maker).hits == ()


@pytest.mark.parametrize(("text", "is_found"), [("A7", True), ("A7/L1", True), ("A7/L2", False)])
def test_a_lot_gives_its_packs_and_modules(maker, pack, text, is_found):
    if not is_found:
        with pytest.raises(Malformed):
            search.search(text, actor=maker)
        return
    codes = {hit.code for hit in search.search(text, actor=maker).hits}
    assert codes == {pack.code, *pack.modules}


@pytest.mark.parametrize("text", ["", "4", "**", "?*4?"])
def test_too_little_to_go_by_is_refused(maker, text):
    with pytest.raises(Malformed):
        search.search(text, actor=maker)


def test_a_list_says_of_every_entry_what_became_of_it(maker, pack):
    unknown = stored.code("P", 999)
    entries = [pack.code, pack.cells[0], unknown, "04QPX520", pack.code]
    answer = search.search_list(entries, actor=maker)
    assert [entry for entry, _ in answer.hits] == [pack.code, pack.cells[0]]
    assert answer.not_found == (unknown,)
    assert [misread.text for misread in answer.malformed] == ["04QPX520"]
    assert answer.repeated == 1


def test_a_stranger_finds_nothing_by_any_shape(maker, pack):
    stored.installed(maker, pack.code)
    stranger = stored.party("Other", Role.BATTERY_MAKER, number=2)
    for text in (pack.code, pack.modules[0], pack.cells[0], "04QPB", "4567", "04Q*", stored.VIN,
                 "B52091380JG12", "A7/"):  # fmt: skip
        try:
            assert search.search(text, actor=stranger).hits == (), text
        except Malformed:
            assert text == "A7/"
    entries = [pack.code, pack.cells[0], stored.VIN]
    assert search.search_list(entries, actor=stranger).not_found == tuple(entries)


def test_the_number_of_queries_does_not_grow_with_the_list(maker):
    packs = [stored.pack(maker, n, modules=1, cells=2) for n in range(1, 21)]
    counts = []
    for few in (packs[:1], packs):
        entries = [code for pack in few for code in (pack.code, *pack.modules, *pack.cells)]
        with CaptureQueriesContext(connection) as queries:
            answer = search.search_list([*entries, stored.VIN], actor=maker)
        assert len(answer.hits) == len(entries)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 6


def test_a_search_that_takes_too_long_says_so(maker, pack, monkeypatch):
    monkeypatch.setattr(search, "_matching", lambda *_, **__: _sleep())
    monkeypatch.setattr(search, "SCAN_TIMEOUT_MS", 20)
    found = search.search("091380JG12*", actor=maker)
    assert found.is_timed_out
    assert found.hits == ()


def _sleep():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(1)")
