"""What stands in records, in the reader's words: payload fields, relations, damages, matches.

Terms that the core has in both languages (kinds, states, roles) are not repeated here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.functional import Promise
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from traceability.core.events import KINDS, EventKind
from traceability.core.lifecycle import TERMS, Confirmation, Flag, Hold, State
from traceability.core.roles import TERMS as ROLE_TERMS
from traceability.core.roles import Role, Term
from traceability.models.registry import FindingKind
from traceability.queries.kinship import Relation
from traceability.queries.masks import masked_payload
from traceability.queries.search import Match

Text = str | Promise

FIELDS: Mapping[str, Text] = MappingProxyType(
    {
        "structure": _("structure"),
        "basis": _("in what right"),
        "components": _("parts listed"),
        "modules": _("modules"),
        "cells": _("cells"),
        "unfiled": _("unfiled design parts"),
        "model": _("model"),
        "maker": _("maker code"),
        "produced_on": _("production date"),
        "lot": _("lot"),
        "line": _("line"),
        "manifest_root": _("root of the parts list"),
        "structure_known": _("structure known"),
        "source": _("source"),
        "vin": _("vehicle (VIN)"),
        "slot": _("place in the vehicle"),
        "purpose": _("purpose"),
        "vehicle_model": _("vehicle model"),
        "certificate": _("certificate"),
        "certified_on": _("certificate date"),
        "utc_offset": _("sender's offset from UTC"),
        "report": _("report"),
        "standard": _("standard"),
        "result": _("result"),
        "capacity_ah": _("capacity, Ah"),
        "energy_wh": _("energy, Wh"),
        "discharge_current_a": _("discharge current, A"),
        "open_circuit_voltage_v": _("open-circuit voltage, V"),
        "internal_resistance_mohm": _("internal resistance, mΩ"),
        "insulation_resistance_kohm": _("insulation resistance, kΩ"),
        "mass_kg": _("mass, kg"),
        "temperature_c": _("temperature, °C"),
        "reason": _("reason"),
        "remark": _("remark"),
        "legal_basis": _("legal basis"),
        "error": _("what was wrong"),
        "corrects": _("corrects record"),
        "occurred_at": _("right time"),
        "version": _("version"),
        "replaced_root": _("root of the list replaced"),
        "annulled_root": _("root of the list annulled"),
        "manifest_version": _("version of the parts list"),
        "is_by_maker": _("vouched for by the maker"),
    }
)
VALUES: Mapping[str, Text] = MappingProxyType(
    {
        "pack-module-cell": _("pack, modules, cells"),
        "pack-cell": _("pack and cells, no modules"),
        "module-cell": _("module and cells"),
        "single": _("without parts of its own"),
        "maker": _("as the maker"),
        "authorised_maker": _("authorised by the maker"),
        "vehicle_maker": _("for its own vehicle model"),
        "holder": _("as the holder"),
        "production": _("new vehicle"),
        "after_sales": _("after sales"),
        "passed": _("passed"),
        "failed": _("failed"),
        "did_not_occur": _("it did not happen"),
        "incorrect_data": _("the data were wrong"),
        "not_ours": _("not one of ours"),
        "wrong_structure": _("wrong structure"),
        "wrong_data": _("wrong data"),
        "duplicate_label": _("label used twice"),
    }
)
_ENUMERATED = frozenset({"structure", "basis", "purpose", "result", "error"})
# The person behind an act, the machine's own fields and nested proofs are not facts to show.
_NOT_SHOWN = frozenset({"by", "kind", "schema", "body", "manifest_path"})

RELATIONS: Mapping[Relation, Text] = MappingProxyType(
    {
        Relation.PACK: _("built into"),
        Relation.LOT: _("left the factory in lot"),
        Relation.DRAWN_FROM: _("parts drawn from lot"),
        Relation.DRAWN_INTO: _("parts built into"),
        Relation.SEPARATED: _("taken out of it"),
        Relation.SIBLING: _("taken out together with it"),
        Relation.SUCCESSOR: _("regrouped into"),
        Relation.PREDECESSOR: _("came from"),
        Relation.REPLACEMENT: _("replaced by"),
        Relation.REPLACED: _("took the place of"),
    }
)
MATCHES: Mapping[Match, Text] = MappingProxyType(
    {
        Match.CODE: _("the code itself"),
        Match.COMPONENT: _("part of a registered unit"),
        Match.PREFIX: _("begins with it"),
        Match.SUFFIX: _("ends with it"),
        Match.INNER: _("contains it"),
        Match.PATTERN: _("fits the pattern"),
        Match.VEHICLE: _("is or was in this vehicle"),
        Match.LOT: _("from this lot"),
    }
)
CHAIN_DAMAGES: Mapping[str, Text] = MappingProxyType(
    {
        "empty": _("No record of this battery is left."),
        "gap": _("A record is missing here, or its number was changed."),
        "order": _("It claims to have been taken before the record in front of it."),
        "commitment": _("Its payload is neither there nor properly erased."),
        "joint": _("What it states of the other batteries of the same event is incomplete."),
        "leaf": _("Its contents are not those that were sealed into the chain."),
        "head": _("The chain once ended elsewhere: records at its end are missing or foreign."),
    }
)
MANIFEST_DAMAGES: Mapping[str, Text] = MappingProxyType(
    {
        "unreadable": _("The stored list of parts cannot be read."),
        "root": _("The stored list of parts was changed."),
        "uncommitted": _("No record commits to this list of parts."),
        "erased": _("The payload that commits to this list was erased, so it cannot be checked."),
    }
)
FINDINGS: Mapping[str, Text] = MappingProxyType(
    {
        FindingKind.VIOLATION: _("It was recorded although the rules did not expect it then."),
        FindingKind.DISPUTED: _("The maker says that this record is wrong."),
        FindingKind.SECOND_VEHICLE: _("It was installed while it stood in another vehicle."),
    }
)


def term(value: object) -> str:
    """Return a core word in the language of the page, the word itself when it has no term."""
    found: Term | None = None
    if isinstance(value, EventKind):
        rule = KINDS[value]
        found = Term(rule.english, rule.chinese)
    elif isinstance(value, State | Confirmation | Hold | Flag):
        found = TERMS[value]
    elif isinstance(value, Role):
        found = ROLE_TERMS[value]
    if found is None:
        return str(value)
    return found.chinese if is_chinese() else found.english


def is_chinese() -> bool:
    """Return whether the page is read in Chinese."""
    return (get_language() or "zh").startswith("zh")


def facts_of(payload: Mapping[str, object]) -> Iterator[tuple[Text, Text]]:
    """Yield what a payload says, as label and value, leaving out what it leaves open."""
    for name, value in masked_payload(payload).items():
        if name in _NOT_SHOWN or value in ("", [], {}):
            continue
        yield FIELDS.get(name, name.replace("_", " ")), _shown(name, value)


def _shown(name: str, value: object) -> Text:
    if name == "occurred_at" and (moment := parse_datetime(str(value))) is not None:
        return timezone.localtime(moment).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if name in _ENUMERATED or name == "reason":
        return VALUES.get(str(value), str(value))
    return str(value)
