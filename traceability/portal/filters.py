"""What the templates need to say a term, a time or a code."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from traceability.core.lifecycle import Confirmation, Flag, State
from traceability.models.parties import Organisation
from traceability.portal import code_parts, words
from traceability.queries import masks
from traceability.queries.batteries import Party

register = template.Library()

# How a state looks; never the only way it is told, its word stands beside.
_TONES = {
    State.UNLOCATED: "warn",
    State.ANNULLED: "bad",
    State.DESTROYED: "quiet",
    State.RECYCLED: "quiet",
    Confirmation.UNCONFIRMED: "warn",
    Confirmation.DISPUTED: "bad",
    Confirmation.CONFIRMED: "good",
    Confirmation.BY_MAKER: "good",
    Flag.VIOLATION: "bad",
    Flag.LATE: "warn",
    Flag.CORRECTED: "warn",
    Flag.WITHDRAWN: "quiet",
    Flag.VOID: "quiet",
}


@register.filter
def term(value: object) -> str:
    """Return a core word in the language of the page."""
    return words.term(value)


@register.filter
def tone(value: object) -> str:
    """Return the class that a state or flag is coloured by."""
    return _TONES.get(value, "") if isinstance(value, State | Confirmation | Flag) else ""


@register.filter
def level_name(value: str) -> str | Promise:
    """Return the name of a level, "" for none."""
    return code_parts.LEVELS.get(value, "")


@register.filter
def scheme_name(value: str) -> str | Promise:
    """Return the name of a coding."""
    return code_parts.SCHEMES.get(value, value)


@register.filter
def relation_name(value: Any) -> str | Promise:
    """Return what one battery is to another."""
    return words.RELATIONS.get(value, value)


@register.filter
def match_name(value: Any) -> str | Promise:
    """Return how a hit was found."""
    return words.MATCHES.get(value, value)


@register.filter
def party_name(party: Party | None) -> str:
    """Return an organisation's name in the language of the page."""
    if party is None:
        return "—"
    is_chinese = words.is_chinese()
    return party.name if is_chinese or not party.name_en else party.name_en


@register.filter
def organisation_name(organisation: Organisation) -> str:
    """Return an organisation's name in the language of the page."""
    if words.is_chinese() or not organisation.name_en:
        return organisation.name
    return organisation.name_en


@register.filter
def masked_vin(vin: str) -> str:
    """Return a vehicle's number with the middle hidden."""
    return masks.masked_vin(vin)


@register.filter
def facts(payload: Any) -> list[tuple[object, object]]:
    """Return what a payload says as labels and values."""
    return list(words.facts_of(payload)) if payload else []


@register.filter
def clock(moment: datetime | None) -> SafeString:
    """Return a moment to the second in the time of the page, with the exact one for machines."""
    if moment is None:
        return SafeString("")
    local = timezone.localtime(moment)
    return format_html(
        '<time datetime="{}">{}</time>', moment.isoformat(), local.strftime("%Y-%m-%d %H:%M:%S")
    )


@register.filter
def code_groups(text: str) -> SafeString:
    """Return a code in groups for the eye; copied, it is one word."""
    return format_html_join("", "<span>{}</span>", ((group,) for group in code_parts.grouped(text)))


@register.filter
def dictionary_item(mapping: Any, key: object) -> object:
    """Return an item of a mapping, None when it is not there."""
    return mapping.get(key)
