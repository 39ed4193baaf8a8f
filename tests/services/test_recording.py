"""Facts are taken, permissions refused, and what cannot be placed yet waits in sight."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from tests import reporting, stored
from tests.committed import together
from tests.reporting import SPRING, VINS, factory_test, installed, listed, record, report
from traceability.core import chain, manifest
from traceability.core.codes import battery_id_of
from traceability.core.errors import (
    Malformed,
    NotFound,
    NotPermitted,
    PrerequisiteMissing,
    StaleHead,
    SubmissionConflict,
    TransitionRefused,
)
from traceability.core.events import EventKind, KindNotOpen, WrongLevel
from traceability.core.history import Impossible
from traceability.core.lifecycle import Confirmation, Flag, State
from traceability.models.intake import QuarantinedReport, StoredFile
from traceability.models.ledger import Event, Submission
from traceability.models.parties import Duty, Membership, Scope, User
from traceability.models.registry import (
    Battery,
    BatteryParty,
    CellFingerprint,
    Component,
    Finding,
    Installation,
    Manifest,
)
from traceability.services import quarantine, rebuilding, row_results, taking
from traceability.services.preparing import StructureNotCorrected
from traceability.services.redaction import redact_event
from traceability.services.reports import Result
from traceability.services.structures import ComponentInOtherPack

K = EventKind
UNKNOWN = stored.code("P", 777)


@pytest.fixture
def maker(db):
    """The maker of the packs. After every test that used it: what is stored is what was said."""
    yield reporting.maker()
    assert list(rebuilding.check()) == []


@pytest.fixture
def pack(maker):
    return stored.pack(maker, 1)


def row(code: str) -> Battery:
    return Battery.objects.get(code=code)


def events_of(code: str):
    return Event.objects.filter(battery_id=battery_id_of(code)).order_by("seq")


def payload(code: str, seq: int) -> dict[str, object]:
    return json.loads(events_of(code).get(seq=seq).body)


def findings(code: str) -> set[tuple[int, str]]:
    return set(Finding.objects.filter(battery_id=battery_id_of(code)).values_list("seq", "kind"))


# Facts.


def test_a_fact_is_recorded_and_projected(maker, pack):
    (outcome,) = record(maker, factory_test(pack.code))
    assert (outcome.result, outcome.seq, outcome.flags) == (Result.RECORDED, 1, frozenset())
    event = events_of(pack.code).get(seq=1)
    assert bytes(event.leaf).hex() == outcome.leaf
    assert event.occurred_at == SPRING
    assert event.actor == maker.credential.number
    said = payload(pack.code, 1)
    assert (said["result"], said["utc_offset"], said["capacity_ah"]) == ("passed", "+08:00", "")
    assert row(pack.code).last_occurred_at == SPRING


def test_the_person_stands_in_the_payload_and_nowhere_else(maker, pack):
    user = User.objects.create(username="zhang")
    record(replace(maker, user=user), factory_test(pack.code), key="k")
    assert payload(pack.code, 1)["by"] == f"user:{user.pk}"
    answer = Submission.objects.get(key="events/k").answer
    assert f"user:{user.pk}" not in json.dumps(answer)


def test_an_installation_says_which_vehicle_since_when(maker, pack):
    (outcome,) = record(reporting.automaker(), installed(pack.code))
    stay = Installation.objects.get()
    assert (stay.vin, stay.seq, stay.removed_at) == (VINS[0], outcome.seq, None)
    assert row(pack.code).state == State.IN_USE
    parties = BatteryParty.objects.filter(battery_id=pack.battery_id)
    assert parties.count() == 2


def test_many_reports_are_one_submission_in_the_order_given(maker, pack):
    other = stored.pack(maker, 2)
    outcomes = record(
        reporting.automaker(),
        installed(other.code),
        installed(pack.code, vin=VINS[1]),
        key="shift",
    )
    assert [outcome.code for outcome in outcomes] == [other.code, pack.code]
    submission = Submission.objects.get(key="events/shift")
    assert submission.n == 2
    assert Event.objects.filter(unit=submission.unit).count() == 2


def test_a_vehicle_may_have_several_packs(maker, pack):
    other = stored.pack(maker, 2)
    record(reporting.automaker(), installed(pack.code), installed(other.code))
    assert Installation.objects.filter(vin=VINS[0], removed_at=None).count() == 2
    assert not Finding.objects.exists()


def test_a_pack_in_a_second_vehicle_is_taken_and_found(maker, pack):
    record(reporting.automaker(), installed(pack.code))
    (outcome,) = record(reporting.automaker(), installed(pack.code, vin=VINS[1], days=3))
    assert outcome.flags == {Flag.VIOLATION}
    assert findings(pack.code) == {(2, "violation"), (2, "second_vehicle")}
    stays = Installation.objects.order_by("seq")
    assert [(stay.vin, stay.removed_at) for stay in stays] == [
        (VINS[0], SPRING + timedelta(days=3)),
        (VINS[1], None),
    ]


def test_a_late_report_is_folded_where_it_belongs(maker, pack):
    record(reporting.automaker(), installed(pack.code, days=2))
    (outcome,) = record(maker, factory_test(pack.code, days=1))
    assert outcome.flags == {Flag.LATE}
    assert row(pack.code).state == State.IN_USE
    assert row(pack.code).last_occurred_at == SPRING + timedelta(days=2)


def test_what_happened_before_registration_is_not_late(maker, pack):
    (outcome,) = record(maker, factory_test(pack.code, days=-58))
    assert outcome.flags == frozenset()


def test_an_earlier_second_installation_makes_the_later_one_the_violation(maker, pack):
    auto = reporting.automaker()
    record(auto, installed(pack.code, days=2))
    record(auto, installed(pack.code, days=1, vin=VINS[1]))
    assert findings(pack.code) == {(1, "violation"), (1, "second_vehicle")}


@pytest.mark.parametrize("size", [1, 7])
def test_the_number_of_queries_does_not_grow(maker, size):
    packs = [stored.pack(maker, serial) for serial in range(1, size + 1)]
    auto = reporting.automaker()
    with CaptureQueriesContext(
        connection,
    ) as early:
        record(auto, *(installed(one.code) for one in packs))
    with CaptureQueriesContext(connection) as late:
        record(maker, *(factory_test(one.code, days=-1) for one in packs))
    assert len(early) <= 16
    assert len(late) <= 24


# Refusals.


def test_a_future_event_has_not_happened(maker, pack):
    with pytest.raises(Impossible) as refused:
        record(maker, factory_test(pack.code), factory_test(pack.code, days=3650))
    assert (refused.value.params["reason"], refused.value.params["index"]) == ("in_the_future", 1)
    assert events_of(pack.code).count() == 1


def test_nothing_happens_before_production(maker, pack):
    with pytest.raises(Impossible) as refused:
        record(maker, factory_test(pack.code, days=-59))
    assert refused.value.params["reason"] == "before_production"


def test_a_role_that_may_not_say_it_is_refused(maker, pack):
    with pytest.raises(NotPermitted):
        record(reporting.outlet(), factory_test(pack.code))
    with pytest.raises(NotPermitted):
        record(reporting.regulator(), installed(pack.code))


def test_a_factory_test_is_told_by_maker_or_registrant(maker, pack):
    with pytest.raises(NotPermitted):
        record(reporting.automaker(), factory_test(pack.code))


def test_a_key_without_the_scope_is_refused(maker, pack):
    reader = replace(maker, scopes=frozenset({Scope.READ}))
    with pytest.raises(NotPermitted):
        record(reader, factory_test(pack.code))


def test_a_cell_is_not_put_into_a_vehicle(maker, pack):
    record(maker, report(pack.cells[0], K.SEPARATED))
    with pytest.raises(WrongLevel):
        record(reporting.automaker(), installed(pack.cells[0]))


@pytest.mark.parametrize(
    ("kind", "refusal"),
    [
        (K.REGISTERED, Malformed),
        (K.OPENED, Malformed),
        (K.REDACTED, Malformed),
        (K.SHIPPED, KindNotOpen),
        (K.SWAPPED_IN, KindNotOpen),
    ],
)
def test_what_is_no_report_is_refused(maker, pack, kind, refusal):
    with pytest.raises(refusal):
        record(maker, report(pack.code, kind))


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        ({}, "result", "missing"),
        ({"result": "fine"}, "result", "value"),
        ({"result": "passed", "by": "user:1"}, "by", "unknown"),
        ({"result": "passed", "colour": "red"}, "colour", "unknown"),
        ({"result": "passed", "capacity_ah": 150.2}, "json", "float"),
        ({"result": "passed", "capacity_ah": "1e3"}, "capacity_ah", "decimal"),
        ({"result": "passed", "utc_offset": "+99:00"}, "utc_offset", "pattern"),
    ],
)
def test_a_malformed_report_is_named_to_the_field(maker, pack, body, field, reason):
    with pytest.raises(Malformed) as refused:
        record(maker, report(pack.code, K.FACTORY_TEST, body))
    assert (refused.value.params["field"], refused.value.params["reason"]) == (field, reason)


def test_a_time_without_a_zone_is_refused(maker, pack):
    naive = replace(factory_test(pack.code), occurred_at=SPRING.replace(tzinfo=None))
    with pytest.raises(Malformed) as refused:
        record(maker, naive)
    assert refused.value.params["field"] == "occurred_at"


# Idempotency.


def test_the_same_submission_again_is_the_first_answer(maker, pack):
    first = record(maker, factory_test(pack.code), key="k")
    assert record(maker, factory_test(pack.code), key="k") == first
    assert events_of(pack.code).count() == 2


def test_the_same_key_with_other_reports_is_a_conflict(maker, pack):
    record(maker, factory_test(pack.code), key="k")
    with pytest.raises(SubmissionConflict):
        record(maker, factory_test(pack.code, result="failed"), key="k")


def test_without_a_key_a_repeated_report_is_a_second_one(maker, pack):
    assert [record(maker, factory_test(pack.code))[0].seq for _ in range(2)] == [1, 2]


# The maker's word.


@pytest.fixture
def opened(maker):
    """A pack whose record an automaker opened: unconfirmed."""
    from traceability.services import ledger

    code = stored.code("P", 9)
    auto = reporting.automaker()
    body = {
        "by": "", "basis": "vehicle_maker", "structure": "", "structure_known": False,
        "manifest_root": "", "components": 0, "modules": 0, "cells": 0, "unfiled": [],
        "source": "", "model": "", "maker": "04Q", "produced_on": "2026-01-02", "lot": "",
        "line": "",
    }  # fmt: skip
    with transaction.atomic():
        born = ledger.append(
            ledger.new_event(
                code=code, expected_seq=-1, kind=K.OPENED, schema=1, occurred_at=stored.MORNING,
                payload=body,
            ),
            credential=auto.credential,
        )  # fmt: skip
        Battery.objects.create(
            battery_id=battery_id_of(code), code=code, scheme="GBT34014_24", level="P",
            maker="04Q", design_part=code[:14], produced_on=date(2026, 1, 2),
            registrant=auto.organisation, state=State.OPENED,
            confirmation=Confirmation.UNCONFIRMED, last_occurred_at=stored.MORNING,
            recorded_at=born.recorded_at, is_filed=True, is_structure_known=False,
        )  # fmt: skip
        BatteryParty.objects.create(battery_id=battery_id_of(code), organisation=auto.organisation)
    return code


def test_only_the_maker_confirms(maker, opened):
    with pytest.raises(NotPermitted):
        record(replace(reporting.automaker()), report(opened, K.CONFIRMED))
    record(maker, report(opened, K.CONFIRMED))
    assert row(opened).confirmation == Confirmation.CONFIRMED


def test_a_dispute_is_a_finding_until_it_is_settled(maker, opened):
    record(maker, report(opened, K.DISPUTED, {"reason": "wrong_data"}))
    assert row(opened).confirmation == Confirmation.DISPUTED
    assert findings(opened) == {(1, "disputed")}
    record(maker, report(opened, K.CONFIRMED))
    assert findings(opened) == set()


def test_completion_brings_what_the_opener_did_not_know(maker, opened):
    rows = stored.components(opened, 2, 2, first=900)
    body = {"model": "LF280K-P1", "lot": "A9", "components": listed(rows)}
    record(maker, report(opened, K.COMPLETED, body))
    battery = row(opened)
    assert (battery.model, battery.lot, battery.confirmation) == ("LF280K-P1", "A9", "confirmed")
    assert battery.is_structure_known
    assert Component.objects.filter(pack_id=battery.battery_id).count() == 2
    assert CellFingerprint.objects.filter(battery_id=battery.battery_id).count() == 4


def test_what_the_maker_registered_waits_for_nobodys_word(maker, pack):
    with pytest.raises(Impossible) as refused:
        record(maker, report(pack.code, K.CONFIRMED))
    assert refused.value.params["reason"] == "registered_by_maker"


# Structure.


def superseding(pack: stored.Stored, rows: list[manifest.Row]):
    body = {"reason": "one module was left out", "components": listed(rows)}
    return report(pack.code, K.STRUCTURE_SUPERSEDED, body)


def test_a_new_version_replaces_what_the_pack_holds(maker, pack):
    rows = stored.components(pack.code, 3, 2, first=500)
    record(maker, superseding(pack, rows))
    versions = Manifest.objects.filter(battery_id=pack.battery_id).order_by("version")
    assert [one.version for one in versions] == [1, 2]
    said = payload(pack.code, 1)
    assert (said["version"], said["replaced_root"]) == (2, bytes(versions[0].root).hex())
    assert said["manifest_root"] == manifest.manifest_root(rows).hex()
    codes = set(Component.objects.filter(pack_id=pack.battery_id).values_list("code", flat=True))
    assert codes == {each[3] for each in rows if each[2] == "M"}
    held = set(CellFingerprint.objects.values_list("fingerprint", flat=True))
    assert held == {manifest.fingerprint_of(each[3]) for each in rows if each[2] == "C"}


def test_a_new_version_may_keep_its_own_components(maker, pack):
    rows = stored.components(pack.code, 2, 3, first=100)
    record(maker, superseding(pack, [*rows[:4], *rows[4:-1]]))
    assert row(pack.code).is_structure_known


@pytest.mark.parametrize("level", ["M", "C"])
def test_a_new_version_takes_nothing_from_another_pack(maker, pack, level):
    other = stored.pack(maker, 2)
    rows = stored.components(pack.code, 1, 1, first=500)
    place = 1 if level == "M" else 2
    stolen = other.modules[0] if level == "M" else other.cells[0]
    rows[place] = (*rows[place][:3], stolen, *rows[place][4:])
    with pytest.raises(ComponentInOtherPack) as refused:
        record(maker, superseding(pack, rows))
    assert refused.value.params["other"] == other.code
    assert Component.objects.filter(pack_id=pack.battery_id).count() == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rows: rows[:1] + rows[2:], "parent"),
        (lambda rows: [*rows, rows[-1]], "duplicate"),
        (lambda rows: rows[1:], "unit"),
        (lambda _: "text", "type"),
        (lambda rows: [*rows, [0, "C", 1, "", "", ""]], "type"),
    ],
)
def test_a_list_of_components_that_is_none_is_refused(maker, pack, change, reason):
    rows = listed(stored.components(pack.code, 1, 2, first=500))
    body = {"reason": "r", "components": change(rows)}
    with pytest.raises(Malformed) as refused:
        record(maker, report(pack.code, K.STRUCTURE_SUPERSEDED, body))
    assert refused.value.params["reason"] == reason


def test_two_packs_take_one_free_module_and_one_gets_it(committed):
    maker = reporting.maker()
    packs = [stored.pack(maker, serial) for serial in (1, 2)]
    rows = [stored.components(pack.code, 1, 1, first=500) for pack in packs]
    for place, each in enumerate(rows):
        each[2] = (*each[2][:3], stored.code("C", 900 + place), *each[2][4:])
    results = together(
        *(
            lambda p=p, r=r: record(maker, superseding(p, r))
            for p, r in zip(packs, rows, strict=True)
        )
    )
    assert sum(isinstance(result, list) for result in results) == 1
    assert sum(isinstance(result, ComponentInOtherPack) for result in results) == 1
    assert list(rebuilding.check()) == []


def test_an_annulled_structure_gives_its_parts_back(maker, pack):
    record(maker, report(pack.code, K.STRUCTURE_ANNULLED, {"reason": "another pack's file"}))
    assert not Component.objects.exists()
    assert not CellFingerprint.objects.exists()
    assert not row(pack.code).is_structure_known
    with pytest.raises(PrerequisiteMissing):
        record(maker, report(pack.code, K.STRUCTURE_ANNULLED, {"reason": "again"}))


def test_an_annulled_code_frees_its_cells_and_keeps_its_history(maker, pack):
    record(maker, report(pack.code, K.ANNULLED, {"reason": "typed wrongly"}))
    assert row(pack.code).state == State.ANNULLED
    assert not CellFingerprint.objects.exists()
    assert events_of(pack.code).count() == 2
    assert Manifest.objects.filter(battery_id=pack.battery_id).exists()
    other = stored.pack(maker, 2)
    rows = stored.components(other.code, 2, 3, first=100)
    record(maker, superseding(other, rows))
    with pytest.raises(Impossible):
        record(maker, factory_test(pack.code))


def test_a_regulator_annuls_with_a_legal_basis_and_others_do_not(maker, pack):
    report_ = report(pack.code, K.ANNULLED, {"reason": "forged"})
    with pytest.raises(NotPermitted):
        record(reporting.outlet(), report_)
    with pytest.raises(Malformed) as refused:
        record(reporting.regulator(), report_)
    assert refused.value.params["field"] == "legal_basis"
    ordered = replace(report_, body={"reason": "forged", "legal_basis": "Order 73, Article 31"})
    record(reporting.regulator(), ordered)
    assert row(pack.code).state == State.ANNULLED


def test_once_in_use_a_code_is_corrected_and_not_annulled(maker, pack):
    record(reporting.automaker(), installed(pack.code))
    with pytest.raises(TransitionRefused):
        record(maker, report(pack.code, K.ANNULLED, {"reason": "typed wrongly"}, days=1))


def test_a_module_goes_back_to_its_lot_when_its_pack_is_annulled(maker):
    lot = "LOT:911100000000000001:A7"
    rows = stored.components(lot, 3, 0, first=100, level="L")
    stored.store(maker, rows, scheme=stored.Scheme.LOT)
    pack = stored.pack(maker, 1, modules=2, cells=1)
    in_lot = {each[3]: each[0] for each in rows}
    record(maker, report(pack.code, K.ANNULLED, {"reason": "typed wrongly"}))
    kept = Component.objects.filter(code__in=pack.modules)
    assert {one.code: (one.pack_id, one.position) for one in kept} == {
        code: (None, in_lot[code]) for code in pack.modules
    }


# Parts that act apart.


@pytest.mark.parametrize("part", ["modules", "cells"])
def test_a_part_gets_a_chain_that_proves_where_it_comes_from(maker, pack, part):
    code = getattr(pack, part)[1]
    (outcome,) = record(reporting.outlet(), report(code, K.SEPARATED))
    assert outcome.seq == 0
    of, root = manifest.check_path_claim(payload(code, 0)["manifest_path"], code=code)
    assert of == pack.code
    assert root == bytes(Manifest.objects.get(battery_id=pack.battery_id).root)
    battery = row(code)
    assert (battery.state, battery.level) == (State.SEPARATED, part[0].upper())
    assert battery.confirmation == Confirmation.BY_MAKER
    assert (battery.lot, battery.line, battery.produced_on) == ("A7", "L1", stored.MADE_ON)


def test_a_part_is_separated_once(maker, pack):
    record(maker, report(pack.modules[0], K.SEPARATED))
    with pytest.raises(Impossible) as refused:
        record(maker, report(pack.modules[0], K.SEPARATED, days=1))
    assert refused.value.params["reason"] == "second_birth"


def test_two_separations_at_once_leave_one(committed):
    maker = reporting.maker()
    pack = stored.pack(maker, 1)

    def separate():
        return record(maker, report(pack.modules[0], K.SEPARATED))

    results = together(separate, separate)
    assert sum(isinstance(result, list) for result in results) == 1
    assert sum(isinstance(result, Impossible) for result in results) == 1


def test_parts_that_are_separated_together_are_one_event(maker, pack):
    events = [report(code, K.SEPARATED, joint="a") for code in pack.modules]
    record(maker, *events)
    rows = Event.objects.filter(kind=K.SEPARATED)
    assert len({each.event_id for each in rows} - {None}) == 1
    assert {each.participants_n for each in rows} == {2}


@pytest.mark.parametrize(
    ("kinds", "reason"),
    [
        ([K.SEPARATED], "alone"),
        ([K.SEPARATED, K.FACTORY_TEST], "partner"),
    ],
)
def test_what_does_not_belong_together_is_no_joint_event(maker, pack, kinds, reason):
    record(maker, report(pack.cells[1], K.SEPARATED))
    events = [
        report(code, kind, {"result": "passed"} if kind is K.FACTORY_TEST else None, joint="a")
        for code, kind in zip([pack.cells[0], pack.cells[1]], kinds, strict=False)
    ]
    with pytest.raises(Malformed) as refused:
        record(maker, *events)
    assert refused.value.params["reason"] == reason


# Corrections.


def correction(code: str, **body: object):
    return report(code, K.CORRECTED, {"reason": "typed wrongly", **body}, days=30)


def test_a_correction_names_its_target_by_leaf(maker, pack):
    auto = reporting.automaker()
    (wrong,) = record(auto, installed(pack.code))
    right = {"vin": VINS[1], "purpose": "production"}
    record(auto, correction(pack.code, leaf=wrong.leaf, error="incorrect_data", body=right))
    said = payload(pack.code, 2)
    assert (said["corrects"], said["kind"], said["body"]["vin"]) == (1, K.INSTALLED, VINS[1])
    assert Installation.objects.get().vin == VINS[1]
    assert payload(pack.code, 1)["vin"] == VINS[0]


def test_a_leaf_of_another_chain_is_no_target(maker, pack):
    other = stored.pack(maker, 2)
    (elsewhere,) = record(maker, factory_test(other.code))
    record(maker, factory_test(pack.code))
    for leaf in (elsewhere.leaf, "00" * 32, "x"):
        with pytest.raises(Impossible) as refused:
            record(maker, correction(pack.code, leaf=leaf, error="did_not_occur"))
        assert refused.value.params["reason"] == "no_such_event"


def test_leaf_and_seq_must_mean_the_same_record(maker, pack):
    (target,) = record(maker, factory_test(pack.code))
    record(maker, factory_test(pack.code))
    with pytest.raises(Impossible):
        record(maker, correction(pack.code, leaf=target.leaf, corrects=2, error="did_not_occur"))


def test_only_who_said_it_corrects_it(maker, pack):
    (wrong,) = record(reporting.automaker(), installed(pack.code))
    with pytest.raises(NotPermitted):
        record(maker, correction(pack.code, leaf=wrong.leaf, error="did_not_occur"))


def test_what_did_not_occur_counts_no_more(maker, pack):
    auto = reporting.automaker()
    (wrong,) = record(auto, installed(pack.code))
    record(auto, correction(pack.code, leaf=wrong.leaf, error="did_not_occur"))
    assert row(pack.code).state == State.REGISTERED
    assert not Installation.objects.exists()


def test_a_time_is_corrected_whatever_offset_it_is_written_with(maker, pack):
    auto = reporting.automaker()
    (wrong,) = record(auto, installed(pack.code, days=3))
    right = {"error": "incorrect_data", "occurred_at": "2026-03-02T08:00:00+08:00"}
    record(auto, correction(pack.code, leaf=wrong.leaf, **right))
    assert Installation.objects.get().installed_at.isoformat() == "2026-03-02T00:00:00+00:00"
    assert payload(pack.code, 2)["occurred_at"] == "2026-03-02T00:00:00.000000Z"


def test_the_structure_is_not_corrected_in_passing(maker, pack):
    before = payload(pack.code, 0)
    changed = {"model": "LF281", "manifest_root": "00" * 32}
    with pytest.raises(StructureNotCorrected):
        record(maker, correction(pack.code, corrects=0, error="incorrect_data", body=changed))
    keeps = {
        name: before[name] for name in ("basis", "lot", "line", "maker", "produced_on", "source")
    }
    fixed = {**keeps, "model": "LF281"}
    record(maker, correction(pack.code, corrects=0, error="incorrect_data", body=fixed))
    assert row(pack.code).model == "LF281"


# Quarantine.


def test_a_fact_about_an_unknown_battery_waits_in_sight(maker, pack):
    outcomes = record(maker, factory_test(UNKNOWN), factory_test(pack.code), key="k")
    assert [outcome.result for outcome in outcomes] == [Result.QUARANTINED, Result.RECORDED]
    waiting = QuarantinedReport.objects.get()
    assert (waiting.code, str(waiting.id)) == (UNKNOWN, outcomes[0].waits_as)
    assert waiting.occurred_at == SPRING
    assert record(maker, factory_test(UNKNOWN), factory_test(pack.code), key="k") == outcomes
    assert QuarantinedReport.objects.count() == 1


def test_leave_for_an_unknown_battery_is_refused(maker):
    with pytest.raises(PrerequisiteMissing) as refused:
        record(maker, report(UNKNOWN, K.CONFIRMED))
    assert refused.value.params["index"] == 0


@pytest.mark.parametrize(
    ("event", "refusal"),
    [
        (factory_test("04QPB52091380JG12000000O"), Malformed),
        (factory_test(UNKNOWN, days=-100), Impossible),
        (factory_test(UNKNOWN, days=3650), Impossible),
        (factory_test(UNKNOWN, result="fine"), Malformed),
        (installed(UNKNOWN), NotPermitted),
    ],
)
def test_what_no_battery_could_be_told_does_not_wait(maker, event, refusal):
    with pytest.raises(refusal):
        record(maker, event)
    assert not QuarantinedReport.objects.exists()


def test_what_waited_is_placed_when_the_battery_comes(maker):
    auto = reporting.automaker()
    record(maker, factory_test(UNKNOWN, days=-10))
    record(auto, installed(UNKNOWN))
    pack = stored.pack(maker, 777)
    assert quarantine.place_waiting([pack.battery_id], now=SPRING + timedelta(days=1)) == 2
    kinds = events_of(UNKNOWN).values_list("kind", "actor")
    assert set(kinds[1:]) == {
        (K.FACTORY_TEST, maker.credential.number),
        (K.INSTALLED, auto.credential.number),
    }
    assert row(UNKNOWN).state == State.IN_USE
    assert quarantine.place_waiting([pack.battery_id], now=SPRING + timedelta(days=1)) == 0
    placed = QuarantinedReport.objects.all()
    assert {one.placed_seq for one in placed} == {1, 2}
    # The payload is the ledger's now, where redaction reaches it.
    assert VINS[0] not in json.dumps([one.body for one in placed])


def test_what_turns_out_impossible_stays_with_its_reason(maker):
    record(maker, factory_test(UNKNOWN))
    record(maker, factory_test(UNKNOWN, days=1))
    pack = stored.pack(maker, 777)
    early = SPRING + timedelta(hours=12)
    assert quarantine.place_waiting([pack.battery_id], now=early) == 1
    left = QuarantinedReport.objects.get(placed_at=None)
    assert left.body["refusal"]["code"] == "impossible"
    assert events_of(UNKNOWN).count() == 2


def test_a_part_waits_for_its_pack_and_its_reports_for_the_part(maker):
    part = stored.code("M", 77700)
    record(maker, report(part, K.SEPARATED))
    record(maker, factory_test(part, days=1))
    pack = stored.store(maker, stored.components(UNKNOWN, 2, 3, first=77700))
    assert part in pack.modules
    now = SPRING + timedelta(days=2)
    assert quarantine.place_waiting([pack.battery_id], now=now) == 2
    assert list(events_of(part).values_list("kind", flat=True)) == [K.SEPARATED, K.FACTORY_TEST]


def test_what_waited_for_a_part_is_placed_when_it_is_separated(maker, pack):
    record(maker, factory_test(pack.cells[0], days=1))
    record(maker, report(pack.cells[0], K.SEPARATED))
    assert events_of(pack.cells[0]).count() == 2


def test_a_joint_event_waits_whole(maker, pack):
    stranger = stored.code("M", 77700)
    events = [report(code, K.SEPARATED, joint="a") for code in (pack.modules[0], stranger)]
    outcomes = record(maker, *events)
    assert {outcome.result for outcome in outcomes} == {Result.QUARANTINED}
    other = stored.store(maker, stored.components(UNKNOWN, 2, 3, first=77700))
    assert quarantine.place_waiting([other.battery_id], now=SPRING + timedelta(days=2)) == 2
    rows = Event.objects.filter(kind=K.SEPARATED)
    assert {each.participants_n for each in rows} == {2}


# Races.


def test_a_chain_that_moved_is_read_and_decided_again(maker, pack, monkeypatch):
    calls = []
    real = taking.ledger.append

    def once_stale(event, *, credential):
        calls.append(event.expected_seq)
        if len(calls) == 1:
            raise StaleHead(battery=event.code)
        return real(event, credential=credential)

    monkeypatch.setattr(taking.ledger, "append", once_stale)
    (outcome,) = record(maker, factory_test(pack.code))
    assert (outcome.seq, calls) == (1, [0, 0])


def test_reports_of_one_battery_at_once_form_one_chain(committed):
    maker = reporting.maker()
    pack = stored.pack(maker, 1)

    def send():
        done = 0
        for _ in range(6):
            try:
                done += len(record(maker, factory_test(pack.code)))
            except StaleHead:
                continue
        return done

    done = sum(together(send, send, send))
    rows = [
        (*each[:3], chain.microseconds(each[3]), chain.microseconds(each[4]), *each[5:9], *each[9:])
        for each in events_of(pack.code).values_list(
            "seq", "kind", "schema", "occurred_at", "recorded_at", "actor", "site", "event_id",
            "participants_n", "participants_hash", "body", "salt", "pcommit", "leaf",
        )
    ]  # fmt: skip
    assert chain.verify_chain(pack.code, rows).seq == done
    assert list(rebuilding.check()) == []


# Roles of the database.


def test_the_web_records_everything(maker, pack, as_app):
    auto = reporting.automaker()
    record(auto, installed(pack.code), installed(UNKNOWN))
    record(auto, installed(pack.code, days=-1, vin=VINS[1]))
    record(maker, report(pack.modules[0], K.SEPARATED))
    record(maker, superseding(pack, stored.components(pack.code, 1, 1, first=500)))
    redact_event(actor=reporting.regulator(), battery=pack.code, seq=1, reason="asked")


# Redaction.


def test_redaction_reaches_everything_that_was_made_of_it(maker, pack):
    auto = reporting.automaker()
    (wrong,) = record(auto, installed(pack.code))
    right = {"vin": VINS[1], "purpose": "production"}
    record(auto, correction(pack.code, leaf=wrong.leaf, error="incorrect_data", body=right))
    erased = redact_event(
        actor=reporting.regulator(), battery=pack.code, seq=1, reason="the owner asked"
    )
    bodies = list(events_of(pack.code).values_list("body", flat=True))
    assert [body is None for body in bodies] == [False, True, True, False]
    leaves = [bytes(one).hex() for one in events_of(pack.code).values_list("leaf", flat=True)]
    assert payload(pack.code, erased.seq)["leaves"] == leaves[1:3]
    assert not Installation.objects.exists()
    assert row(pack.code).state == State.IN_USE
    with connection.cursor() as cursor:
        cursor.execute("SELECT answer::text FROM submission")
        assert not any(vin in str(answer) for (answer,) in cursor.fetchall() for vin in VINS)


def test_only_a_regulator_or_an_administrator_of_the_author_erases(maker, pack):
    auto = reporting.automaker()
    record(auto, installed(pack.code))
    user = User.objects.create(username="li")
    for actor in (auto, maker, replace(auto, user=user)):
        with pytest.raises(NotPermitted):
            redact_event(actor=actor, battery=pack.code, seq=1, reason="asked")
    Membership.objects.create(
        user=user, organisation=auto.organisation, duty=Duty.ADMINISTRATOR, since=stored.MORNING
    )
    with pytest.raises(NotPermitted):
        redact_event(actor=replace(auto, user=user), battery=pack.code, seq=0, reason="asked")
    redact_event(actor=replace(auto, user=user), battery=pack.code, seq=1, reason="asked")
    assert events_of(pack.code).get(seq=1).body is None


@pytest.mark.parametrize(
    ("code", "seq", "refusal"),
    [
        (UNKNOWN, 0, NotFound),
        ("04QPB52091380JG120000001", 7, NotFound),
        ("04QPB52091380JG120000001", 2, PrerequisiteMissing),
    ],
)
def test_what_is_not_there_is_not_erased(maker, pack, code, seq, refusal):
    record(maker, factory_test(pack.code))
    redact_event(actor=reporting.regulator(), battery=pack.code, seq=1, reason="asked")
    with pytest.raises(refusal):
        redact_event(actor=reporting.regulator(), battery=code, seq=seq, reason="asked")


def test_an_annulled_record_is_erased_as_well(maker, pack):
    record(maker, factory_test(pack.code))
    record(maker, report(pack.code, K.ANNULLED, {"reason": "typed wrongly"}, days=1))
    redact_event(actor=reporting.regulator(), battery=pack.code, seq=1, reason="asked")
    assert row(pack.code).state == State.ANNULLED
    assert events_of(pack.code).get(seq=1).body is None


def test_the_file_a_payload_came_in_goes_with_it(maker, pack, tmp_path, settings, monkeypatch,
                                                 django_capture_on_commit_callbacks):  # fmt: skip
    from uuid import uuid4

    from traceability.models.intake import Job
    from traceability.services import files

    settings.LEDGER_DATA = str(tmp_path)
    received = files.receive([b"codes"])
    job = Job.objects.create(
        id=uuid4(), organisation=maker.organisation, credential=maker.credential, key="j",
        request_sha256=bytes(32), file=files.know(received, now=SPRING), filename="a.csv",
        structure="pack", basis="maker", on_error="none", is_dry_run=False, state="succeeded",
        created_at=SPRING,
    )  # fmt: skip
    rows = [
        row_results.RowResult("s", n, code, "accepted", "", {"text": "private"}, 0)
        for n, code in enumerate([pack.code, UNKNOWN])
    ]
    row_results.write(job.id, rows)
    body = {"result": "passed", "source": f"job:{job.id}"}
    record(maker, report(pack.code, K.FACTORY_TEST, body))
    with django_capture_on_commit_callbacks(execute=True):
        redact_event(actor=reporting.regulator(), battery=pack.code, seq=1, reason="asked")
    assert StoredFile.objects.get().erased_at is not None
    assert not files.path_of(received.sha256).exists()
    (part,) = row_results.JobRows.objects.filter(job_id=job.id)
    assert [result.params for result in row_results.read(part)] == [{}, {"text": "private"}]
