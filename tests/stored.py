"""Batteries as registration stores them, made through the one writer of records.

For tests of reading: they need shapes (a thousand events, a lot with two packs, a joint event)
that registration would take many files to make.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

from django.db import transaction

from traceability.core import manifest
from traceability.core.codes import Level, Scheme, battery_id_of
from traceability.core.events import KINDS, EventKind
from traceability.core.lifecycle import Confirmation, State
from traceability.core.roles import Role
from traceability.models.parties import (
    Credential,
    CredentialKind,
    Organisation,
    OrganisationRole,
    Scope,
)
from traceability.models.registry import (
    Battery,
    BatteryParty,
    CellFingerprint,
    Component,
    Installation,
    Manifest,
)
from traceability.services import ledger
from traceability.services.acting import Actor

MADE_ON = date(2026, 1, 2)
MORNING = datetime(2026, 1, 2, 8, 0, tzinfo=UTC)
# X15-X17 of a code made on 2026-01-02 (GB/T 34014-2017: G, 1, 2).
DAY = "G12"
VIN = "LSVAA4182E2184847"


def code(level: str, serial: int, maker: str = "04Q", day: str = DAY) -> str:
    """Return a code of 24 characters, type LFP, made on 2026-01-02."""
    return f"{maker}{level}B52091380J{day}{serial:07d}"


def party(name: str, *roles: Role, number: int = 1) -> Actor:
    """Return an organisation that may do anything its roles allow."""
    organisation, is_new = Organisation.objects.get_or_create(
        uscc=f"9111000000000{number:05d}",
        defaults={"name": name, "name_en": f"{name} Ltd", "admitted_at": MORNING},
    )
    if is_new:
        for role in roles:
            OrganisationRole.objects.create(
                organisation=organisation, role=role, valid_from=date(2020, 1, 1)
            )
    credential, _ = Credential.objects.get_or_create(
        organisation=organisation, kind=CredentialKind.PEOPLE, defaults={"created_at": MORNING}
    )
    return Actor(organisation, credential, None, frozenset(roles), frozenset(Scope))


@dataclass(frozen=True)
class Stored:
    """A battery in the register and the codes of its parts."""

    code: str
    battery_id: UUID
    modules: tuple[str, ...]
    cells: tuple[str, ...]


def components(
    pack: str, modules: int, cells: int, *, first: int = 1, level: str = "P", lot: str = "A7"
) -> list[manifest.Row]:
    """Return a manifest of `modules` modules with `cells` cells each; no modules: cells inside."""
    rows: list[manifest.Row] = [(0, 0, level, pack, lot, "L1", MADE_ON)]
    for m in range(max(modules, 1)):
        parent = 0
        if modules:
            parent = len(rows)
            rows.append((parent, 0, "M", code("M", first + m), lot, "L1", MADE_ON))
        for c in range(cells):
            cell = code("C", first * 1000 + m * cells + c)
            rows.append((len(rows), parent, "C", cell, lot, "L1", MADE_ON))
    return rows


@transaction.atomic
def store(actor: Actor, rows: list[manifest.Row], *, scheme: Scheme = Scheme.GBT34014_24) -> Stored:
    """Put one pack or lot into the register: record, manifest and projections."""
    own = rows[0][3]
    battery_id = battery_id_of(own)
    built = manifest.build(rows)
    modules = [row for row in rows[1:] if row[2] == Level.MODULE]
    cells = [row for row in rows[1:] if row[2] == Level.CELL]
    is_lot = scheme is Scheme.LOT
    structure = "lot" if is_lot else "pack-module-cell" if modules else "pack-cell"
    body = {
        "by": "user:1", "basis": "maker", "structure": structure if rows[1:] else "single",
        "manifest_root": built.root.hex(), "components": built.size, "modules": len(modules),
        "cells": len(cells), "unfiled": [], "source": "job:1", "model": "LF280K-P1",
        "maker": "" if is_lot else own[:3], "produced_on": MADE_ON.isoformat(),
        "lot": rows[0][4], "line": rows[0][5],
    }  # fmt: skip
    (record,) = ledger.append_births(
        [
            ledger.new_event(
                code=own, expected_seq=-1, kind=EventKind.REGISTERED, schema=1,
                occurred_at=MORNING, payload=body,
            )
        ],
        credential=actor.credential,
    )  # fmt: skip
    Battery.objects.create(
        battery_id=battery_id, code=own, scheme=scheme, level="" if is_lot else rows[0][2],
        maker=body["maker"], design_part="" if is_lot else own[:14], produced_on=MADE_ON,
        model=body["model"], lot=rows[0][4], line=rows[0][5], registrant=actor.organisation,
        state=State.REGISTERED, confirmation=Confirmation.BY_MAKER, last_occurred_at=MORNING,
        recorded_at=record.recorded_at, is_filed=True, is_structure_known=True,
    )  # fmt: skip
    Manifest.objects.create(
        battery_id=battery_id, version=1, root=built.root, components=built.size,
        modules=len(modules), cells=len(cells), packed=built.packed,
    )  # fmt: skip
    for position, _, level, part, lot, line, produced_on in modules:
        column = "lot_id" if is_lot else "pack_id"
        Component.objects.update_or_create(
            component_id=battery_id_of(part),
            defaults={
                "code": part, "level": level, column: battery_id, "position": position,
                "lot": lot, "line": line, "produced_on": produced_on,
            },
        )  # fmt: skip
    CellFingerprint.objects.bulk_create(
        [CellFingerprint(fingerprint=manifest.fingerprint_of(row[3]), battery_id=battery_id)
         for row in cells]
    )  # fmt: skip
    BatteryParty.objects.create(battery_id=battery_id, organisation=actor.organisation)
    return Stored(own, battery_id, tuple(r[3] for r in modules), tuple(r[3] for r in cells))


def pack(actor: Actor, serial: int = 1, *, modules: int = 2, cells: int = 3) -> Stored:
    """Return a pack in the register."""
    rows = components(code("P", serial), modules, cells, first=serial % 100 * 100 + 1)
    return store(actor, rows)


@transaction.atomic
def record(
    actor: Actor,
    at: str,
    kind: EventKind,
    payload: dict[str, object],
    *,
    occurred_at: datetime = MORNING + timedelta(days=1),
    seq: int,
) -> ledger.Appended:
    """Append one event to a battery's chain and change nothing else."""
    return ledger.append(
        ledger.new_event(
            code=at, expected_seq=seq - 1, kind=kind, schema=KINDS[kind].schema or 1,
            occurred_at=occurred_at, payload=payload,
        ),
        credential=actor.credential,
    )  # fmt: skip


@transaction.atomic
def installed(actor: Actor, at: str, *, vin: str = VIN, seq: int = 1, day: int = 1) -> None:
    """Record that a pack went into a vehicle."""
    occurred_at = MORNING + timedelta(days=day)
    payload: dict[str, object] = {
        "by": "", "utc_offset": "+08:00", "vin": vin, "slot": "", "purpose": "production",
        "vehicle_model": "XY7000BEV", "certificate": "", "certified_on": "", "source": "",
    }  # fmt: skip
    record(actor, at, EventKind.INSTALLED, payload, occurred_at=occurred_at, seq=seq)
    Battery.objects.filter(code=at).update(state=State.IN_USE, last_occurred_at=occurred_at)
    Installation.objects.create(
        battery_id=battery_id_of(at), seq=seq, vin=vin, installed_at=occurred_at
    )


@transaction.atomic
def regrouped(actor: Actor, old: str, new: str, *, seq: int = 1) -> UUID:
    """Record that one battery became a second-life product with a chain of its own."""
    event_id = uuid4()
    events = [
        ledger.new_event(
            code=old, expected_seq=seq - 1, kind=EventKind.REGROUPED, schema=1,
            occurred_at=MORNING + timedelta(days=9), payload={"by": ""},
        ),
        ledger.new_event(
            code=new, expected_seq=-1, kind=EventKind.PRODUCT_REGISTERED, schema=1,
            occurred_at=MORNING + timedelta(days=9), payload={"by": ""},
        ),
    ]  # fmt: skip
    appended = ledger.append_many(
        ledger.joined(events, event_id=event_id), credential=actor.credential
    )
    Battery.objects.create(
        battery_id=battery_id_of(new), code=new, scheme=Scheme.GBT34014_24, level=new[3],
        registrant=actor.organisation, state=State.REGISTERED, confirmation=Confirmation.BY_MAKER,
        last_occurred_at=MORNING, recorded_at=appended[1].recorded_at, is_filed=False,
        is_structure_known=False,
    )  # fmt: skip
    BatteryParty.objects.create(battery_id=battery_id_of(new), organisation=actor.organisation)
    return event_id
