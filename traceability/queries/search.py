"""Finding batteries: by a full code or part of one, a vehicle, a lot, or a pasted list.

Full codes are found by the id that follows from them, fronts and ends of codes by an index each;
anything inside a code is a scan and gets little time. Cells have no rows: a full cell code is
found by its fingerprint and confirmed in the manifest; part of a cell code is not found.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from django.db import OperationalError, connection, models, transaction
from django.db.models.functions import Reverse

from traceability.core import codes
from traceability.core.codes import MalformedCode
from traceability.core.errors import Malformed
from traceability.core.lifecycle import State
from traceability.models.registry import Battery, Component, Installation
from traceability.queries import composition, visibility
from traceability.services.acting import Actor

MOST_HITS = 100
MOST_CODES = 5_000
LONGEST_QUERY = 200
# Two characters match everything and help nobody.
LEAST_PART = 3
SCAN_TIMEOUT_MS = 1_500
QUERY_CANCELED = "57014"

# Space, tab, line break, comma, semicolon, pipe, quotes, in the half and full widths that office
# programs and messengers write.
_SEPARATORS = re.compile(r"[\s,;|\"'`、，；｜“”‘’＂＇\u00a0\u3000\ufeff]+")
_CODE = re.compile(r"[0-9A-Z:._-]{1,64}")
_VIN = re.compile(r"[0-9A-HJ-NPR-Z]{17}")
_PATTERN = re.compile(r"[0-9A-Z:._?*-]{1,64}")


class Match(StrEnum):
    """How a hit was found."""

    CODE = "code"
    COMPONENT = "component"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    INNER = "inner"
    PATTERN = "pattern"
    VEHICLE = "vehicle"
    LOT = "lot"


@dataclass(frozen=True, slots=True)
class Hit:
    """A unit that was found. `state` is None without a chain of its own.

    `holder` is the code of the pack or lot that a component stands in, "" for none.
    """

    code: str
    level: str
    match: Match
    state: State | None = None
    holder: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to. `is_cut`: there are more; `is_timed_out`: not everywhere was looked.

    `looked_for` is the text as it was understood.
    """

    looked_for: str
    hits: tuple[Hit, ...]
    is_cut: bool = False
    is_timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Misread:
    """An entry of a list that is no code: `faults` as in `core.codes.MalformedCode`."""

    text: str
    faults: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Sorted:
    """A list looked up: every entry stands in exactly one of the three, in the order given."""

    hits: tuple[tuple[str, tuple[Hit, ...]], ...]
    not_found: tuple[str, ...]
    malformed: tuple[Misread, ...]
    repeated: int


def entries_of(text: str) -> list[str]:
    """Return the codes in a pasted text, upper-case, each once, in the order given.

    A text that is one code printed with spaces or line breaks is one entry.

    Raises:
        Malformed: more than MOST_CODES entries.
    """
    pieces = [piece for piece in _SEPARATORS.split(text) if piece]
    if 1 < len(pieces) <= 8 and _reads("".join(pieces)):
        return [codes.normalise("".join(pieces))]
    entries = list(dict.fromkeys(codes.normalise(piece) for piece in pieces))
    if len(entries) > MOST_CODES:
        raise Malformed(field="codes", reason="count", count=len(entries), most=MOST_CODES)
    return entries


def search(text: str, *, actor: Actor, limit: int = MOST_HITS) -> Found:
    """Return what one entry finds among the batteries that the actor may see.

    `?` stands for one character, `*` for any number. A text without them is tried as a code, a
    vehicle, a lot, and then as a part of a code: in front, at the end, inside.

    Raises:
        Malformed: field `q`, reason `length` or `characters`.
    """
    raw = text.strip()
    if len(raw) > LONGEST_QUERY:
        raise Malformed(field="q", reason="length", most=LONGEST_QUERY)
    wanted = codes.normalise(raw)
    if "?" in wanted or "*" in wanted:
        return _by_pattern(wanted, actor=actor, limit=limit)
    hits = _by_lot(raw, actor=actor, limit=limit)
    if _CODE.fullmatch(wanted):
        hits = [*_exactly([wanted], actor=actor).get(wanted, ()), *hits]
    if hits:
        return Found(wanted, tuple(hits[:limit]), is_cut=len(hits) > limit)
    if not _CODE.fullmatch(wanted):
        raise Malformed(field="q", reason="characters", text=raw)
    return _by_part(wanted, actor=actor, limit=limit)


def search_list(entries: Sequence[str], *, actor: Actor) -> Sorted:
    """Return for each entry what it finds; the not-found and the malformed ones are named.

    Entries are full codes or vehicles. What the actor may not see is not found.

    Raises:
        Malformed: more than MOST_CODES entries.
    """
    if len(entries) > MOST_CODES:
        raise Malformed(field="codes", reason="count", count=len(entries), most=MOST_CODES)
    wanted = [codes.normalise(entry) for entry in entries]
    unique = list(dict.fromkeys(entry for entry in wanted if entry))
    found = _exactly([entry for entry in unique if _CODE.fullmatch(entry)], actor=actor)
    missing = [entry for entry in unique if entry not in found]
    malformed = [misread for entry in missing if (misread := _misread(entry)) is not None]
    named = {misread.text for misread in malformed}
    return Sorted(
        hits=tuple((entry, tuple(found[entry])) for entry in unique if entry in found),
        not_found=tuple(entry for entry in missing if entry not in named),
        malformed=tuple(malformed),
        repeated=len([entry for entry in wanted if entry]) - len(unique),
    )


def _exactly(wanted: Sequence[str], *, actor: Actor) -> dict[str, list[Hit]]:
    """Return what has one of these codes, or is or was in one of these vehicles."""
    ids = {codes.battery_id_of(code): code for code in wanted}
    seen = visibility.visible_batteries(actor)
    found: dict[str, list[Hit]] = {}
    for row in seen.filter(battery_id__in=list(ids)).only("code", "level", "state"):
        found.setdefault(row.code, []).append(_hit(row, Match.CODE))
    for code, hit in _components([c for c in wanted if c not in found], seen=seen):
        found.setdefault(code, []).append(hit)
    vins = [code for code in wanted if _VIN.fullmatch(code)]
    for vin, hit in _in_vehicles(vins, seen=seen):
        found.setdefault(vin, []).append(hit)
    return found


def _components(
    wanted: Collection[str], *, seen: models.QuerySet[Battery]
) -> Iterable[tuple[str, Hit]]:
    """Yield the modules and cells without a chain of their own, once for each that holds them."""
    candidates = composition.holders_of(wanted)
    holder_ids = set().union(*candidates.values())
    holders = {
        row.battery_id: row.code
        for row in seen.filter(battery_id__in=list(holder_ids)).only("battery_id", "code")
    }
    manifests = composition.manifests_of(holders)
    for code, places in composition.places_of(wanted, manifests=manifests).items():
        for place in places:
            yield (
                code,
                Hit(code, place.component.level, Match.COMPONENT, holder=holders[place.holder_id]),
            )


def _in_vehicles(
    vins: Sequence[str], *, seen: models.QuerySet[Battery]
) -> Iterable[tuple[str, Hit]]:
    installed = Installation.objects.filter(vin__in=vins).order_by("vin", "installed_at")
    pairs = list(dict.fromkeys(installed.values_list("vin", "battery_id")))
    batteries = {
        row.battery_id: row
        for row in seen.filter(battery_id__in=[battery_id for _, battery_id in pairs])
    }
    for vin, battery_id in pairs:
        if battery_id in batteries:
            yield vin, _hit(batteries[battery_id], Match.VEHICLE)


def _by_lot(text: str, *, actor: Actor, limit: int) -> list[Hit]:
    """Return what came from a production lot, named `lot` or `lot/line`."""
    lot, _, line = text.partition("/")
    named = models.Q(lot=lot.strip()) & (models.Q(line=line.strip()) if line else models.Q())
    if not lot.strip():
        return []
    seen = visibility.visible_batteries(actor)
    packs = [_hit(row, Match.LOT) for row in seen.filter(named).order_by("code")[: limit + 1]]
    modules = Component.objects.filter(named).filter(
        models.Q(pack_id__in=seen.values("battery_id"))
        | models.Q(lot_id__in=seen.values("battery_id"))
    )
    rows = list(modules.order_by("code")[: limit + 1])
    holders = _codes_of({row.pack_id or row.lot_id for row in rows})
    return packs + [_component_hit(row, Match.LOT, holders) for row in rows]


def _by_part(wanted: str, *, actor: Actor, limit: int) -> Found:
    if len(wanted) < LEAST_PART:
        raise Malformed(field="q", reason="short", least=LEAST_PART)
    for match, condition in (
        (Match.PREFIX, models.Q(code__startswith=wanted)),
        (Match.SUFFIX, models.Q(backwards__startswith=wanted[::-1])),
    ):
        hits = _matching(condition, match, actor=actor, limit=limit)
        if hits:
            return Found(wanted, tuple(hits[:limit]), is_cut=len(hits) > limit)
    return _scan(wanted, models.Q(code__contains=wanted), Match.INNER, actor=actor, limit=limit)


def _by_pattern(wanted: str, *, actor: Actor, limit: int) -> Found:
    if not _PATTERN.fullmatch(wanted):
        raise Malformed(field="q", reason="characters", text=wanted)
    if len(wanted.replace("?", "").replace("*", "")) < LEAST_PART:
        raise Malformed(field="q", reason="short", least=LEAST_PART)
    known = re.match(r"[^?*]*", wanted)
    front = known[0] if known else ""
    end = re.split(r"[?*]", wanted)[-1]
    expression = re.escape(wanted).replace(r"\?", ".").replace(r"\*", ".*")
    # Whichever end is known narrows the search by its index before the pattern is tried.
    narrow = models.Q()
    if len(front) >= len(end):
        narrow = models.Q(code__startswith=front) if front else narrow
    else:
        narrow = models.Q(backwards__startswith=end[::-1])
    condition = narrow & models.Q(code__regex=f"^{expression}$")
    return _scan(wanted, condition, Match.PATTERN, actor=actor, limit=limit)


def _scan(wanted: str, condition: models.Q, match: Match, *, actor: Actor, limit: int) -> Found:
    """Search where no index helps, and stop when it takes too long."""
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT set_config('statement_timeout', %s, true)", (str(SCAN_TIMEOUT_MS),)
                )
            hits = _matching(condition, match, actor=actor, limit=limit)
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) != QUERY_CANCELED:
            raise
        return Found(wanted, (), is_timed_out=True)
    return Found(wanted, tuple(hits[:limit]), is_cut=len(hits) > limit)


def _matching(condition: models.Q, match: Match, *, actor: Actor, limit: int) -> list[Hit]:
    """Return the batteries and modules whose code matches, at most one more than `limit`."""
    seen = visibility.visible_batteries(actor)
    batteries = seen.annotate(backwards=Reverse("code")).filter(condition).order_by("code")
    hits = [_hit(row, match) for row in batteries[: limit + 1]]
    modules = (
        Component.objects.annotate(backwards=Reverse("code"))
        .filter(condition)
        .filter(
            models.Q(pack_id__in=seen.values("battery_id"))
            | models.Q(lot_id__in=seen.values("battery_id"))
        )
        .order_by("code")
    )
    rows = list(modules[: limit + 1])
    holders = _codes_of({row.pack_id or row.lot_id for row in rows})
    known = {hit.code for hit in hits}
    return hits + [_component_hit(r, match, holders) for r in rows if r.code not in known]


def _codes_of(battery_ids: Collection[UUID | None]) -> dict[UUID, str]:
    """Return the codes of packs and lots whose visibility was asked already."""
    ids = [battery_id for battery_id in battery_ids if battery_id is not None]
    rows = Battery.objects.filter(battery_id__in=ids).values_list("battery_id", "code")
    return dict(rows)


def _hit(row: Battery, match: Match) -> Hit:
    return Hit(row.code, row.level, match, State(row.state))


def _component_hit(row: Component, match: Match, holders: dict[UUID, str]) -> Hit:
    holder = row.pack_id or row.lot_id
    return Hit(row.code, row.level, match, holder=holders.get(holder, "") if holder else "")


def _reads(text: str) -> bool:
    try:
        codes.parse(text)
    except MalformedCode:
        return False
    return True


def _misread(entry: str) -> Misread | None:
    """Return what is wrong with an entry that is no battery code and no vehicle either."""
    if _VIN.fullmatch(entry):
        return None
    try:
        codes.parse(entry)
    except MalformedCode as malformed:
        faults = malformed.params.get("faults")
        return Misread(entry, tuple(faults) if isinstance(faults, list | tuple) else ())
    return None
