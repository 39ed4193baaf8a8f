"""The family of a battery: both directions, any moment, a fixed number of reads."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests import stored
from traceability.core.codes import Scheme
from traceability.core.errors import NotFound
from traceability.core.lifecycle import State
from traceability.core.roles import Role
from traceability.queries import trace
from traceability.queries.kinship import Relation

pytestmark = pytest.mark.django_db


@pytest.fixture
def maker():
    return stored.party("Eve", Role.BATTERY_MAKER)


@pytest.fixture
def stranger():
    return stored.party("Other", Role.BATTERY_MAKER, number=2)


def test_a_pack_shows_its_modules_with_their_cells(maker):
    pack = stored.pack(maker, modules=2, cells=3)
    family = trace.family(pack.code, actor=maker)
    assert [m.unit.code for m in family.structure.tree.modules] == list(pack.modules)
    assert [c.code for m in family.structure.tree.modules for c in m.cells] == list(pack.cells)
    assert family.structure.chained == {}


def test_a_pack_without_modules_shows_its_cells_directly(maker):
    pack = stored.pack(maker, modules=0, cells=4)
    tree = trace.family(pack.code, actor=maker).structure.tree
    assert tree.modules == ()
    assert [c.code for c in tree.cells] == list(pack.cells)


@pytest.mark.parametrize("level", ["modules", "cells"])
def test_a_component_without_a_chain_shows_where_it_stands_and_its_vehicle(maker, level):
    pack = stored.pack(maker)
    stored.installed(maker, pack.code)
    part = getattr(pack, level)[-1]
    family = trace.family(part, actor=maker)
    assert family.unit is None
    assert family.place.component.code == part
    assert [link.unit.code for link in family.links if link.relation is Relation.PACK] == [
        pack.code
    ]
    assert [v.installation.vin for v in family.vehicles] == [stored.VIN]


def test_the_number_of_queries_does_not_grow_with_the_modules(maker):
    small = stored.pack(maker, 1, modules=1, cells=1)
    large = stored.pack(maker, 7, modules=200, cells=2)
    counts = []
    for pack in (small, large):
        with CaptureQueriesContext(connection) as queries:
            trace.family(pack.code, actor=maker)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 16


def test_a_pack_and_the_lot_its_cells_left_the_factory_in_know_each_other(maker):
    lot_code = f"LOT:{maker.organisation.uscc}:A7"
    rows = stored.components(stored.code("P", 3), 0, 4, first=300)
    lot_rows = [(0, 0, "L", lot_code, "A7", "L1", stored.MADE_ON), *rows[1:]]
    lot = stored.store(maker, lot_rows, scheme=Scheme.LOT)
    pack = stored.store(maker, rows)
    down = trace.family(lot.code, actor=maker).links
    up = trace.family(pack.code, actor=maker).links
    assert [(k.unit.code, k.relation, k.parts) for k in down] == [
        (pack.code, Relation.DRAWN_INTO, 4)
    ]
    assert [(k.unit.code, k.relation, k.parts) for k in up] == [(lot.code, Relation.DRAWN_FROM, 4)]


def test_a_regrouped_battery_and_its_successors_are_linked_through_generations(maker):
    pack = stored.pack(maker)
    second, third = stored.code("P", 91), stored.code("P", 92)
    stored.regrouped(maker, pack.code, second)
    stored.regrouped(maker, second, third)
    down = trace.family(pack.code, actor=maker)
    assert [(k.unit.code, k.relation, k.generation) for k in down.links] == [
        (second, Relation.SUCCESSOR, 1),
        (third, Relation.SUCCESSOR, 2),
    ]
    up = trace.family(third, actor=maker)
    assert [(k.unit.code, k.relation) for k in up.links] == [
        (second, Relation.PREDECESSOR),
        (pack.code, Relation.PREDECESSOR),
    ]
    assert not down.is_cut


def test_a_module_with_a_chain_of_its_own_shows_its_state_in_the_tree(maker):
    pack = stored.pack(maker)
    module = pack.modules[0]
    stored.store(maker, [(0, 0, "M", module, "", "", stored.MADE_ON)])
    chained = trace.family(pack.code, actor=maker).structure.chained
    assert {code: unit.state for code, unit in chained.items()} == {module: State.REGISTERED}
    assert trace.family(module, actor=maker).place.holder_id == pack.battery_id


def test_as_of_shows_the_family_of_that_moment(maker):
    pack = stored.pack(maker)
    stored.installed(maker, pack.code, day=5)
    before = trace.family(pack.code, actor=maker, as_of=stored.MORNING + timedelta(days=2))
    after = trace.family(pack.code, actor=maker, as_of=stored.MORNING + timedelta(days=6))
    assert before.unit.state is State.REGISTERED
    assert before.vehicles == ()
    assert after.unit.state is State.IN_USE
    assert len(after.vehicles) == 1


def test_what_was_not_known_yet_is_not_shown(maker):
    pack = stored.pack(maker)
    family = trace.family(pack.code, actor=maker, known_at=stored.MORNING - timedelta(days=900))
    assert family.unit is None
    assert family.structure is None


@pytest.mark.parametrize("which", ["code", "module", "cell"])
def test_a_stranger_finds_nothing(maker, stranger, which):
    pack = stored.pack(maker)
    code = {"code": pack.code, "module": pack.modules[0], "cell": pack.cells[0]}[which]
    with pytest.raises(NotFound):
        trace.family(code, actor=stranger)


def test_a_relative_that_the_reader_may_not_open_is_marked(maker, stranger):
    pack = stored.pack(maker)
    stored.regrouped(stranger, pack.code, stored.code("P", 91))
    (link,) = trace.family(pack.code, actor=maker).links
    assert not link.unit.is_visible
