"""Batteries: the list, one battery's story, its events, its family, its evidence."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from traceability.api import asking
from traceability.api.permissions import MayRead, actor_of
from traceability.api.representing import (
    component_json,
    event_json,
    facts_json,
    family_json,
    story_json,
)
from traceability.core.codes import Level
from traceability.core.errors import Malformed, NotFound
from traceability.core.events import EventKind
from traceability.core.lifecycle import Confirmation, State
from traceability.queries import batteries, bundles, events, listing, trace

_MOMENTS = [
    OpenApiParameter(
        "as_of", OpenApiTypes.DATETIME, description="only what had happened by then (occurred_at)"
    ),
    OpenApiParameter(
        "known_at", OpenApiTypes.DATETIME, description="only what was recorded by then"
    ),
]
_PAGING = [
    OpenApiParameter("cursor", str, description="`next` of the page before"),
    OpenApiParameter("limit", int, description="rows in a page"),
]


class BatteryList(APIView):
    """Batteries that the caller may see, recorded last first."""

    permission_classes = (MayRead,)

    @extend_schema(
        operation_id="batteries_list",
        parameters=[
            OpenApiParameter("state", str, many=True, enum=[s.value for s in State]),
            OpenApiParameter("confirmation", str, many=True, enum=[c.value for c in Confirmation]),
            OpenApiParameter("level", str, many=True, enum=[level.value for level in Level]),
            *[
                OpenApiParameter(name, str)
                for name in ("maker", "design_part", "lot", "line", "model", "code_begins")
            ],
            OpenApiParameter("registrant", str, description="USCC of who registered it"),
            OpenApiParameter("produced_from", OpenApiTypes.DATE),
            OpenApiParameter("produced_to", OpenApiTypes.DATE),
            OpenApiParameter("recorded_from", OpenApiTypes.DATETIME),
            OpenApiParameter("recorded_to", OpenApiTypes.DATETIME),
            OpenApiParameter("is_filed", bool),
            *_PAGING,
        ],
        responses={200: OpenApiTypes.OBJECT},
    )
    def get(self, request: Request) -> Response:
        """Return one page of them."""
        query = asking.Query(request, known=_LIST_PARAMETERS)
        wanted = listing.Wanted(
            states=query.words("state", State),
            confirmations=query.words("confirmation", Confirmation),
            levels=query.words("level", Level),
            maker=query.text("maker"),
            design_part=query.text("design_part"),
            lot=query.text("lot"),
            line=query.text("line"),
            model=query.text("model"),
            registrant=query.text("registrant"),
            code_begins=query.text("code_begins").upper(),
            produced_from=query.day("produced_from"),
            produced_to=query.day("produced_to"),
            recorded_from=query.moment("recorded_from"),
            recorded_to=query.moment("recorded_to"),
            is_filed=query.truth("is_filed"),
        )
        page = listing.batteries_page(
            wanted,
            actor=actor_of(request),
            after=query.cursor((datetime.fromisoformat, UUID)),
            limit=query.limit(most=listing.MOST_ROWS),
        )
        return Response(query.page([facts_json(row) for row in page.rows], page.next_after))


class BatteryStory(APIView):
    """One battery: facts, state, filing, findings, and the check of its record, made now."""

    permission_classes = (MayRead,)

    @extend_schema(
        operation_id="batteries_read", parameters=_MOMENTS, responses={200: OpenApiTypes.OBJECT}
    )
    def get(self, request: Request, code: str) -> Response:
        """Return it; a component without a record of its own answers with where it stands."""
        query = asking.Query(request, known={"as_of", "known_at"})
        actor = actor_of(request)
        as_of, known_at = query.moment("as_of"), query.moment("known_at")
        try:
            story = batteries.story(code, actor=actor, as_of=as_of, known_at=known_at)
        except NotFound:
            return Response(component_json(batteries.component(code, actor=actor)))
        return Response(story_json(story))


class BatteryEvents(APIView):
    """The events of one battery in the order of recording, with both clocks."""

    permission_classes = (MayRead,)

    @extend_schema(
        operation_id="batteries_events",
        parameters=[
            OpenApiParameter("kind", str, enum=[kind.name.lower() for kind in EventKind]),
            *_PAGING,
        ],
        responses={200: OpenApiTypes.OBJECT},
    )
    def get(self, request: Request, code: str) -> Response:
        """Return one page of them."""
        query = asking.Query(request, known={"kind", "cursor", "limit"})
        after = query.cursor((int,))
        page = events.events_page(
            code,
            actor=actor_of(request),
            after=after[0] if after else -1,
            limit=query.limit(most=events.MOST_EVENTS),
            kind=_kind(query.text("kind")),
        )
        key = (str(page.next_after),) if page.next_after is not None else None
        return Response(query.page([event_json(told) for told in page.events], key))


class BatteryTrace(APIView):
    """The whole family: parts, pack, lots, vehicles, successors, at any moment."""

    permission_classes = (MayRead,)

    @extend_schema(
        operation_id="batteries_trace", parameters=_MOMENTS, responses={200: OpenApiTypes.OBJECT}
    )
    def get(self, request: Request, code: str) -> Response:
        """Return it whole, in one answer."""
        query = asking.Query(request, known={"as_of", "known_at"})
        family = trace.family(
            code,
            actor=actor_of(request),
            as_of=query.moment("as_of"),
            known_at=query.moment("known_at"),
        )
        return Response(family_json(family))


class BatteryProof(APIView):
    """The evidence of one battery, to be checked offline and without us."""

    permission_classes = (MayRead,)

    @extend_schema(
        operation_id="batteries_proof",
        responses={
            200: OpenApiResponse(
                OpenApiTypes.OBJECT, description="a bundle as FORMATS.md, «Bundle», defines it"
            )
        },
    )
    def get(self, request: Request, code: str) -> HttpResponse:
        """Return the file byte for byte: it is hashed, so nothing may re-write it."""
        text = bundles.bundle_of(code, actor_of(request))
        return HttpResponse(text, content_type="application/json")


_LIST_PARAMETERS = frozenset(
    {
        "state", "confirmation", "level", "maker", "design_part", "lot", "line", "model",
        "code_begins", "registrant", "produced_from", "produced_to", "recorded_from",
        "recorded_to", "is_filed", "cursor", "limit",
    }
)  # fmt: skip


def _kind(name: str) -> EventKind | None:
    if not name:
        return None
    try:
        return EventKind[name.upper()]
    except KeyError:
        raise Malformed(field="kind", reason="vocabulary", text=name) from None
