"""The page of one battery, its records down to the bytes, and its evidence file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from traceability.core import codes
from traceability.core.codes import BatteryCode, MalformedCode
from traceability.core.errors import Malformed, NotFound
from traceability.models.parties import Scope
from traceability.portal import code_parts, words
from traceability.portal.access import members, page
from traceability.portal.acting import now
from traceability.queries import batteries, bundles, masks, trace
from traceability.queries.batteries import Story, Told
from traceability.queries.composition import Tree
from traceability.services.acting import Actor

EVENTS_PER_PAGE = 50
# A browser that draws more than this is slow; a lot may have a hundred thousand.
MOST_PARTS_SHOWN = 2_000


@members(Scope.READ)
def battery(request: HttpRequest, actor: Actor, code: str) -> HttpResponse:
    """Show a battery, or a module or cell that has no record of its own."""
    as_of, known_at = _moment(request, "as_of"), _moment(request, "known_at")
    try:
        story = batteries.story(code, actor=actor, as_of=as_of, known_at=known_at)
    except NotFound:
        return _component(request, actor, code)
    family = trace.family(code, actor=actor, as_of=as_of, known_at=known_at)
    events, older_before = _page_of(story.events, request.GET.get("before"))
    tree, is_cut = _cut(family.structure.tree) if family.structure else (None, False)
    context = {
        "section": "search",
        "story": story,
        "family": family,
        "structure": family.structure,
        "tree": tree,
        "tree_is_cut": is_cut,
        "tree_limit": MOST_PARTS_SHOWN,
        "events": events,
        "older_before": older_before,
        "is_past": as_of is not None or known_at is not None,
        "as_of_text": request.GET.get("as_of", ""),
        "known_at_text": request.GET.get("known_at", ""),
        "checked_at": now(),
        "findings": [
            {"seq": finding.seq, "sentence": words.FINDINGS.get(finding.kind, finding.kind)}
            for finding in story.findings
        ],
        "head_leaf": story.chain.head_leaf.hex() if story.chain.head_leaf else "",
        "bundle_name": bundle_name(story.facts.code),
    }
    return render(
        request, "portal/battery.html", page(actor, **context, **_damage(story), **_said(code))
    )


@members(Scope.READ)
def record(request: HttpRequest, actor: Actor, code: str, seq: int) -> HttpResponse:
    """Show the bytes that one record's hash covers."""
    raw, payload = batteries.raw_record(code, seq, actor=actor)
    context = {
        "section": "search",
        "code": codes.normalise(code),
        "seq": seq,
        "raw": raw,
        "is_masked": masks.names_a_vehicle(payload),
    }
    return render(request, "portal/record.html", page(actor, **context))


@members(Scope.READ)
def bundle(_request: HttpRequest, actor: Actor, code: str) -> HttpResponse:
    """Send the evidence of one battery, to be checked without us."""
    response = HttpResponse(bundles.bundle_of(code, actor), content_type="application/json")
    name = bundle_name(codes.normalise(code))
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def bundle_name(code: str) -> str:
    """Return the name of a battery's evidence file: no colon, which some systems refuse."""
    return f"{code.replace(':', '_')}.bundle.json"


def _component(request: HttpRequest, actor: Actor, code: str) -> HttpResponse:
    component = batteries.component(code, actor=actor)
    family = trace.family(code, actor=actor)
    context = {"section": "search", "component": component, "family": family}
    return render(request, "portal/component.html", page(actor, **context, **_said(code)))


def _said(code: str) -> dict[str, Any]:
    """Return what the code itself says, as far as it reads."""
    read = read_code(code)
    return {
        "parts": code_parts.parts_of(read) if read else (),
        "chemistry": code_parts.BATTERY_TYPES.get(read.battery_type or "", "") if read else "",
    }


def read_code(text: str) -> BatteryCode | None:
    """Return a code, None for a text that is none."""
    try:
        return codes.parse(text)
    except MalformedCode:
        return None


def _damage(story: Story) -> dict[str, Any]:
    return {
        "chain_damage": words.CHAIN_DAMAGES.get(story.chain.damage, story.chain.damage),
        "manifest_damages": [
            (check, words.MANIFEST_DAMAGES.get(check.damage, check.damage))
            for check in story.manifests
            if not check.is_whole and check.damage != "erased"
        ],
    }


def _page_of(events: Sequence[Told], before: str | None) -> tuple[list[Told], int | None]:
    """Return some events, newest first, and where the next page begins."""
    newest = list(reversed(events))
    if before is not None:
        if not (before.isascii() and before.isdigit()):
            raise Malformed(field="before", reason="number", text=before)
        newest = [event for event in newest if event.seq < int(before)]
    shown = newest[:EVENTS_PER_PAGE]
    return shown, shown[-1].seq if len(newest) > EVENTS_PER_PAGE else None


def _cut(tree: Tree) -> tuple[Tree, bool]:
    """Return the tree with no more parts than a page can show, and whether it was cut."""
    if len(tree.codes) <= MOST_PARTS_SHOWN:
        return tree, False
    left = MOST_PARTS_SHOWN
    modules = []
    for module in tree.modules:
        if left <= 0:
            break
        cells = tuple(islice(module.cells, left))
        modules.append(replace(module, cells=cells))
        left -= 1 + len(cells)
    return replace(tree, modules=tuple(modules), cells=tree.cells[: max(left, 0)]), True


def _moment(request: HttpRequest, name: str) -> datetime | None:
    """Return a moment of the query, in the time of the page where it states no zone."""
    text = request.GET.get(name, "").strip()
    if not text:
        return None
    try:
        moment = parse_datetime(text)
        if moment is None and (day := parse_date(text)) is not None:
            moment = datetime.combine(day, datetime.max.time())
    except ValueError:
        moment = None
    if moment is None:
        raise Malformed(field=name, reason="time", text=text)
    return timezone.make_aware(moment) if timezone.is_naive(moment) else moment
