"""What a whole chain comes to: the one definition of every row that follows from events.

Pure: a chain goes in, rows come out. `projections` writes them, `rebuilding` holds the stored
ones against them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

import orjson

from traceability.core import codes, history, lifecycle, manifest
from traceability.core.codes import Scheme
from traceability.core.events import EventKind
from traceability.core.lifecycle import Confirmation, Flag, State
from traceability.models.registry import FindingKind

MOUNTING = frozenset(k for k, way in lifecycle.PASSAGES.items() if way.to is State.IN_USE)
# These say where the battery is to be looked for, not that it left its vehicle.
_WITH_VEHICLE = frozenset({State.IN_USE, State.EXPORTED, State.UNLOCATED})
_FOLDED = frozenset({EventKind.CORRECTED, EventKind.SEPARATED})
# What may bring a manifest.
STRUCTURING = frozenset(
    {
        EventKind.REGISTERED, EventKind.OPENED, EventKind.PRODUCT_REGISTERED,
        EventKind.COMPLETED, EventKind.STRUCTURE_SUPERSEDED,
    }
)  # fmt: skip
_READ = MOUNTING | STRUCTURING | _FOLDED


class Told(NamedTuple):
    """A stored event as far as projections read it. `body` is None where it was erased."""

    seq: int
    kind: int
    schema: int
    occurred_at: datetime
    recorded_at: datetime
    actor: int
    body: str | None
    leaf: bytes = b""

    def payload(self) -> dict[str, Any] | None:
        """Return the payload as a JSON object, None where it was erased."""
        return None if self.body is None else orjson.loads(self.body)

    def entry(self) -> history.Entry:
        """Return what the fold reads of the event."""
        kind = EventKind(self.kind)
        body = self.payload() if kind in _FOLDED else None
        return history.entry_of(
            seq=self.seq,
            kind=kind,
            schema=self.schema,
            occurred_at=self.occurred_at,
            recorded_at=self.recorded_at,
            body=body,
        )


class BatteryRow(NamedTuple):
    """The columns of `battery` that follow from its chain, in the order of `BATTERY_COLUMNS`."""

    scheme: str
    level: str
    maker: str
    design_part: str
    produced_on: date | None
    model: str
    lot: str
    line: str
    registrant_id: int
    state: str
    confirmation: str
    last_occurred_at: datetime
    recorded_at: datetime
    is_filed: bool
    is_structure_known: bool


BATTERY_COLUMNS = BatteryRow._fields


class Stay(NamedTuple):
    """A battery in a vehicle; `removed_at` is None while it is there."""

    vin: str
    installed_at: datetime
    removed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Projection:
    """What a chain comes to.

    `stays` by the seq of the installation; `findings` gives for (seq, kind) when the record was
    taken; `root` is that of the manifest in force, None for none.
    """

    battery: BatteryRow
    stays: Mapping[int, Stay]
    findings: Mapping[tuple[int, str], datetime]
    organisations: frozenset[int]
    root: bytes | None


def project(
    code: str,
    told: Sequence[Told],
    *,
    organisations: Mapping[int, int],
    roots: Sequence[bytes],
) -> Projection:
    """Return what a whole chain comes to, from its events alone.

    `told` is the chain in order of seq; `organisations` gives for an actor's number whose it is;
    `roots` are those of the battery's stored manifests in order of version, which speak for an
    event that has lost its payload.

    Raises:
        Malformed: a payload that the projection reads is none.
        IntegrityFailure: the chain does not begin with a birth, or has a second one.
    """
    story = history.tell([event.entry() for event in told])
    current = story.current
    if current is None:
        raise AssertionError("a chain has events")
    life = _present_life([event for event in told if event.kind != EventKind.REDACTED])
    bodies = _bodies(life, story)
    is_annulled = current.state is State.ANNULLED
    stays, second = _stays(story, bodies)
    root, unfiled = _structure(life, bodies, story, roots)
    return Projection(
        battery=BatteryRow(
            **_made(code, life, bodies),
            registrant_id=organisations[life[0].actor],
            state=current.state.value,
            confirmation=current.confirmation.value,
            last_occurred_at=current.last_occurred_at or _counts_from(story, life),
            recorded_at=life[0].recorded_at,
            is_filed=not unfiled,
            is_structure_known=root is not None and not is_annulled,
        ),
        stays=stays,
        findings=_findings(story, second),
        organisations=frozenset(organisations[event.actor] for event in told),
        root=None if is_annulled else root,
    )


def _present_life(told: Sequence[Told]) -> Sequence[Told]:
    """Return a birth and what follows it: after the last annulment, or up to it if it holds."""
    ends = [place for place, event in enumerate(told) if event.kind == EventKind.ANNULLED]
    if not ends:
        return told
    if ends[-1] + 1 < len(told):
        return told[ends[-1] + 1 :]
    return told[ends[-2] + 1 if len(ends) > 1 else 0 :]


def _bodies(life: Sequence[Told], story: history.Story) -> dict[int, dict[str, Any]]:
    """Return the payloads that count, by seq: the last correction's where there is one."""
    bodies = {
        event.seq: body
        for event in life
        if event.kind in _READ and (body := event.payload()) is not None
    }
    corrections = (
        body
        for event in life
        if event.kind == EventKind.CORRECTED and (body := bodies.get(event.seq)) is not None
    )
    last_said = {body["corrects"]: body["body"] for body in corrections}
    bodies.update({seq: body for seq, body in last_said.items() if body})
    withdrawn = {s.entry.seq for s in story.steps if Flag.WITHDRAWN in s.flags}
    return {seq: body for seq, body in bodies.items() if seq not in withdrawn}


def _counts_from(story: history.Story, life: Sequence[Told]) -> datetime:
    """Return the time of the annulment that holds, else of the birth."""
    if story.current is not None and story.current.state is State.ANNULLED:
        ended = (s for s in story.steps if s.entry.kind is EventKind.ANNULLED)
        return list(ended)[-1].occurred_at
    return next(s.occurred_at for s in story.steps if s.entry.seq == life[0].seq)


def _made(
    code: str, life: Sequence[Told], bodies: Mapping[int, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return what birth and completion say of the thing itself."""
    birth = bodies.get(life[0].seq, {})
    if life[0].kind == EventKind.SEPARATED:
        claim = birth.get("manifest_path", {})
        born = {"lot": claim.get("lot", ""), "line": claim.get("line", "")}
        day = manifest.parse_date(claim.get("date", manifest.NO_DATE))
    else:
        born = {name: birth.get(name, "") for name in ("model", "lot", "line")}
        day = _day(birth.get("produced_on", ""))
    for event in life:
        if event.kind == EventKind.COMPLETED and event.seq in bodies:
            said = bodies[event.seq]
            born |= {name: said[name] for name in ("model", "lot", "line") if said[name]}
            day = _day(said["produced_on"]) or day
    about = about_code(code)
    return about | {
        "model": born.get("model", ""),
        "lot": born["lot"],
        "line": born["line"],
        "produced_on": day or about["produced_on"],
    }


def about_code(code: str) -> dict[str, Any]:
    """Return what the code alone says, as columns of `battery`."""
    if code.startswith(f"{Scheme.LOT.value}:"):
        empty: dict[str, Any] = dict.fromkeys(("level", "maker", "design_part"), "")
        return empty | {"scheme": Scheme.LOT.value, "produced_on": None}
    parsed = codes.parse(code)
    return {
        "scheme": parsed.scheme.value,
        "level": parsed.level.value if parsed.level else "",
        "maker": parsed.maker or "",
        "design_part": parsed.design_part or "",
        "produced_on": parsed.produced_on,
    }


def _day(text: str) -> date | None:
    return date.fromisoformat(text) if text else None


def _structure(
    life: Sequence[Told],
    bodies: Mapping[int, Mapping[str, Any]],
    story: history.Story,
    roots: Sequence[bytes],
) -> tuple[bytes | None, Sequence[str]]:
    """Return the root of the manifest in force, and the unfiled design parts last stated."""
    withdrawn = {s.entry.seq for s in story.steps if Flag.WITHDRAWN in s.flags}
    root: bytes | None = None
    unfiled: Sequence[str] = ()
    for event in life:
        if event.seq in withdrawn or event.kind == EventKind.SEPARATED:
            continue
        if event.kind == EventKind.STRUCTURE_ANNULLED:
            root = None
        elif event.kind in STRUCTURING:
            body = bodies.get(event.seq)
            if body is None:
                root = roots[-1] if roots else None
            elif event.kind in lifecycle.BIRTHS or body.get("manifest_root"):
                root = bytes.fromhex(body.get("manifest_root", "")) or None
                unfiled = body.get("unfiled", ())
    return root, unfiled


def leaves_vehicle(kind: EventKind) -> bool:
    """Return whether after an event of this kind the battery is out of its vehicle."""
    to = lifecycle.PASSAGES[kind].to
    return to is not None and to not in _WITH_VEHICLE


def _stays(
    story: history.Story, bodies: Mapping[int, Mapping[str, Any]]
) -> tuple[dict[int, Stay], set[int]]:
    """Return the stays in vehicles, and the seqs of installations while in another vehicle."""
    stays: dict[int, Stay] = {}
    second: set[int] = set()
    here: int | None = None
    happened = [s for s in story.steps if s.state is not None]
    for step in sorted(happened, key=lambda s: (s.occurred_at, s.entry.seq)):
        kind, seq = step.entry.kind, step.entry.seq
        if kind in lifecycle.BIRTHS or kind is EventKind.ANNULLED:
            continue
        vin = bodies.get(seq, {}).get("vin", "") if kind in MOUNTING else ""
        if here is not None and (kind in MOUNTING or leaves_vehicle(kind)):
            if vin and stays[here].vin != vin:
                second.add(seq)
            # A pack is in one vehicle: the later report ends the earlier stay.
            stays[here] = stays[here]._replace(removed_at=step.occurred_at)
            here = None
        if vin:
            stays[seq] = Stay(vin, step.occurred_at, None)
            here = seq
    return stays, second


def _findings(story: history.Story, second: Collection[int]) -> dict[tuple[int, str], datetime]:
    taken_at = {step.entry.seq: step.entry.recorded_at for step in story.steps}
    found = [(seq, FindingKind.VIOLATION) for seq in story.violations]
    found += [(seq, FindingKind.SECOND_VEHICLE) for seq in second]
    current = story.current
    if current is not None and current.confirmation is Confirmation.DISPUTED:
        disputes = [
            s.entry.seq
            for s in story.steps
            if s.entry.kind is EventKind.DISPUTED and not s.flags & {Flag.WITHDRAWN, Flag.VOID}
        ]
        found += [(seq, FindingKind.DISPUTED) for seq in disputes[-1:]]
    return {(seq, kind.value): taken_at[seq] for seq, kind in found}
