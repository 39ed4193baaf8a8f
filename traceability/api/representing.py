"""What the API says of batteries, as plain values: one function for each thing that is said.

Codes of batteries that the reader may not see are null, vehicles are masked, hashes are hex.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.urls import reverse

from traceability.core.events import KINDS
from traceability.core.manifest import Component as Part
from traceability.models.registry import Finding, Installation
from traceability.queries.batteries import Component, Facts, Party, Story, Told
from traceability.queries.kinship import Link, Unit
from traceability.queries.masks import masked_payload, masked_vin
from traceability.queries.search import Hit
from traceability.queries.trace import Family, Structure

Json = dict[str, Any]


def facts_json(facts: Facts) -> Json:
    """Return what the registry knows of a battery."""
    return {
        "code": facts.code,
        "url": reverse("api-battery", args=[facts.code]),
        "scheme": facts.scheme,
        "level": facts.level,
        "maker": facts.maker,
        "design_part": facts.design_part,
        "produced_on": facts.produced_on,
        "model": facts.model,
        "lot": facts.lot,
        "line": facts.line,
        "registrant": party_json(facts.registrant),
        "state": facts.state.value,
        "confirmation": facts.confirmation.value,
        "last_occurred_at": facts.last_occurred_at,
        "recorded_at": facts.recorded_at,
        "is_filed": facts.is_filed,
        "is_structure_known": facts.is_structure_known,
    }


def story_json(story: Story) -> Json:
    """Return the story of a battery; its events have a page of their own."""
    current = story.current
    return facts_json(story.facts) | {
        "has_record": True,
        "as_of": story.as_of,
        "known_at": story.known_at,
        "state": current.state.value if current else None,
        "confirmation": current.confirmation.value if current else None,
        "holds": sorted(hold.value for hold in current.holds) if current else [],
        "last_occurred_at": current.last_occurred_at if current else None,
        "sight": story.sight.value,
        "filing": _filing(story),
        "installations": [installation_json(row) for row in story.installations],
        "findings": [finding_json(story.facts.code, row) for row in story.findings],
        "check": check_json(story),
        "events_url": reverse("api-battery-events", args=[story.facts.code]),
        "trace_url": reverse("api-battery-trace", args=[story.facts.code]),
        "proof_url": reverse("api-battery-proof", args=[story.facts.code]),
    }


def check_json(story: Story) -> Json:
    """Return what re-making the hashes came to, at this very reading."""
    return {
        "is_whole": story.is_whole,
        "records": story.chain.records,
        "head_leaf": story.chain.head_leaf.hex() if story.chain.head_leaf else None,
        "damage": story.chain.damage or None,
        "damaged_seq": story.chain.damaged_seq,
        "manifests": [
            {
                "version": check.version,
                "root": check.root.hex(),
                "committed_at_seq": check.seq,
                "damage": check.damage or None,
            }
            for check in story.manifests
        ],
    }


def component_json(component: Component) -> Json:
    """Return what is known of a module or cell without a record of its own."""
    return {
        "code": component.code,
        "level": component.level,
        "has_record": False,
        "holders": [
            {
                "code": holder.code,
                "url": reverse("api-battery", args=[holder.code]),
                "manifest_version": place.version,
                "position": place.component.position,
                "module": place.module.code if place.module else None,
                "lot": place.component.lot,
                "line": place.component.line,
                "produced_on": place.component.produced_on,
            }
            for holder, place in component.holders
        ],
        "trace_url": reverse("api-battery-trace", args=[component.code]),
    }


def event_json(told: Told) -> Json:
    """Return one event with both clocks, as it reads now and as it was reported."""
    return {
        "seq": told.seq,
        "kind": told.kind.name.lower() if told.kind else None,
        "kind_number": told.kind_number,
        "kind_name": _kind_name(told),
        "occurred_at": told.occurred_at,
        "occurred_as_reported": told.occurred_as_reported,
        "recorded_at": told.recorded_at,
        "organisation": party_json(told.who) if told.who else None,
        "site": told.site or None,
        "state": told.state.value if told.state else None,
        "flags": sorted(flag.value for flag in told.flags),
        "payload": masked_payload(told.payload) if told.payload is not None else None,
        "payload_status": _payload_status(told),
        "event_id": told.event_id,
        "participants": told.participants,
        "leaf": told.leaf.hex(),
    }


def family_json(family: Family) -> Json:
    """Return the family of a battery or component."""
    return {
        "code": family.code,
        "level": family.level,
        "as_of": family.as_of,
        "known_at": family.known_at,
        "unit": _unit(family.unit) if family.unit else None,
        "place": None
        if family.place is None
        else {
            "position": family.place.component.position,
            "module": family.place.module.code if family.place.module else None,
        },
        "structure": _structure(family.structure) if family.structure else None,
        "structure_versions": [
            {"version": m.version, "root": m.root.hex(), "modules": m.modules, "cells": m.cells}
            for m in family.versions
        ],
        "links": [_link(link) for link in family.links],
        "vehicles": [
            installation_json(vehicle.installation) | {"code": vehicle.code}
            for vehicle in family.vehicles
        ],
        "is_cut": family.is_cut,
    }


def hit_json(hit: Hit) -> Json:
    """Return one find."""
    return {
        "code": hit.code,
        "url": reverse("api-battery", args=[hit.code]),
        "level": hit.level,
        "match": hit.match.value,
        "state": hit.state.value if hit.state else None,
        "holder": hit.holder or None,
    }


def party_json(party: Party) -> Json:
    """Return an organisation as others see it."""
    return {"uscc": party.uscc, "name": party.name, "name_en": party.name_en}


def installation_json(row: Installation) -> Json:
    """Return a battery's time in a vehicle."""
    return {
        "seq": row.seq,
        "vin": masked_vin(row.vin),
        "installed_at": row.installed_at,
        "removed_at": row.removed_at,
    }


def finding_json(code: str, row: Finding) -> Json:
    """Return a finding of a battery."""
    return {"code": code, "seq": row.seq, "kind": row.kind, "opened_at": row.opened_at}


def _filing(story: Story) -> Json | None:
    filing = story.filing
    if filing is None:
        return None
    return {
        "design_part": filing.design_part,
        "revision": filing.revision,
        "organisation": filing.organisation.name,
        "model": filing.model,
        "rated_capacity_ah": _decimal(filing.rated_capacity_ah),
        "nominal_voltage_v": _decimal(filing.nominal_voltage_v),
        "mass_kg": _decimal(filing.mass_kg),
        "chemistry": filing.chemistry,
        "cells_contained": filing.cells_contained,
        "structure": filing.structure or None,
    }


def _decimal(value: object) -> str | None:
    return None if value is None else str(value)


def _kind_name(told: Told) -> Mapping[str, str] | None:
    if told.kind is None:
        return None
    rule = KINDS[told.kind]
    return {"zh": rule.chinese, "en": rule.english}


def _payload_status(told: Told) -> str:
    if told.is_erased:
        return "erased"
    return "hidden" if told.is_hidden else "shown"


def _unit(unit: Unit) -> Json:
    if not unit.is_visible:
        return {"code": None, "level": unit.level, "state": None}
    return {
        "code": unit.code,
        "url": reverse("api-battery", args=[unit.code]),
        "level": unit.level,
        "scheme": unit.scheme,
        "state": unit.state.value if unit.state else None,
    }


def _link(link: Link) -> Json:
    return {
        "relation": link.relation.value,
        "of": link.of,
        "generation": link.generation,
        "unit": _unit(link.unit),
        "kind": link.kind.name.lower() if link.kind else None,
        "occurred_at": link.occurred_at,
        "event_id": link.event_id,
        "parts": link.parts or None,
    }


def _structure(structure: Structure) -> Json:
    chained = structure.chained
    stored = structure.manifest

    def part(component: Part) -> Json:
        own = chained.get(component.code)
        return {
            "position": component.position,
            "code": component.code,
            "lot": component.lot,
            "line": component.line,
            "produced_on": component.produced_on,
            "has_record": own is not None,
            "state": own.state.value if own and own.state and own.is_visible else None,
        }

    return {
        "version": stored.version,
        "root": stored.root.hex(),
        "modules": [
            part(module.unit) | {"cells": [part(cell) for cell in module.cells]}
            for module in structure.tree.modules
        ],
        "cells": [part(cell) for cell in structure.tree.cells],
    }
