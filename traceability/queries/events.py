"""The events of one battery, page by page, each as it reads now."""

from __future__ import annotations

from dataclasses import dataclass

from traceability.core import codes
from traceability.core.errors import NotFound
from traceability.core.events import EventKind
from traceability.queries import batteries, chains, visibility
from traceability.queries.batteries import Told
from traceability.queries.visibility import Sight
from traceability.services.acting import Actor

MOST_EVENTS = 200


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events in order of seq. `next_after` asks for the next page, None for none."""

    code: str
    events: tuple[Told, ...]
    next_after: int | None


def events_page(
    code: str,
    *,
    actor: Actor,
    after: int = -1,
    limit: int = 50,
    kind: EventKind | None = None,
) -> EventPage:
    """Return the events of a battery with a seq above `after`, in three queries.

    Corrections stand as events of their own here: a page must not depend on what comes later.
    The flags of each follow from the whole chain, so all of it is read, without the payloads.

    Raises:
        NotFound: no such battery, or not for this actor.
    """
    normal = codes.normalise(code)
    battery_id = codes.battery_id_of(normal)
    sight = visibility.sight_of(actor, battery_id)
    if sight is Sight.NOTHING:
        raise NotFound(what="battery", key=normal)
    light = chains.records_of_many([battery_id], bodies_of=chains.FOLDED).get(battery_id, [])
    if not light:
        raise NotFound(what="battery", key=normal)
    wanted = [r for r in light if r.seq > after and (kind is None or r.kind == kind)]
    size = max(1, min(limit, MOST_EVENTS))
    page = wanted[:size]
    records = chains.records_at(battery_id, [record.seq for record in page])
    told = chains.tell(light)
    steps = {step.entry.seq: step for step in told.steps} if told else {}
    events = batteries.tell_events(
        records,
        steps,
        parties=batteries.parties_of(records),
        hides=sight is not Sight.WHOLE,
        nests=False,
    )
    next_after = page[-1].seq if len(wanted) > size else None
    return EventPage(normal, events, next_after)
