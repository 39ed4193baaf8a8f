"""What somebody should look at: open findings, and reports that wait for their battery."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from traceability.api import asking
from traceability.api.permissions import MayRead, actor_of
from traceability.api.representing import finding_json
from traceability.core.events import EventKind
from traceability.models.intake import QuarantinedReport
from traceability.models.registry import FindingKind
from traceability.queries import listing


class FindingList(APIView):
    """Open findings on batteries that the caller may see, newest first."""

    permission_classes = (MayRead,)

    @extend_schema(
        operation_id="findings_list",
        parameters=[
            OpenApiParameter("kind", str, enum=[kind.value for kind in FindingKind]),
            OpenApiParameter("cursor", str),
            OpenApiParameter("limit", int),
        ],
        responses={200: OpenApiTypes.OBJECT},
    )
    def get(self, request: Request) -> Response:
        """Return one page of them."""
        query = asking.Query(request, known={"kind", "cursor", "limit"})
        kinds = query.words("kind", FindingKind)
        page = listing.findings_page(
            actor=actor_of(request),
            kind=kinds[0] if kinds else "",
            after=query.cursor((datetime.fromisoformat, UUID, int, str)),
            limit=query.limit(most=listing.MOST_ROWS),
        )
        rows = [finding_json(row.code, row.finding) for row in page.rows]
        return Response(query.page(rows, page.next_after))


class QuarantineList(APIView):
    """The caller's own reports whose battery is not known yet, newest first."""

    permission_classes = (MayRead,)

    @extend_schema(
        operation_id="quarantine_list",
        parameters=[
            OpenApiParameter(
                "is_placed", bool, description="false, the default: those still waiting"
            ),
            OpenApiParameter("cursor", str),
            OpenApiParameter("limit", int),
        ],
        responses={200: OpenApiTypes.OBJECT},
    )
    def get(self, request: Request) -> Response:
        """Return one page of them."""
        query = asking.Query(request, known={"is_placed", "cursor", "limit"})
        page = listing.quarantine_page(
            actor=actor_of(request),
            is_placed=bool(query.truth("is_placed")),
            after=query.cursor((datetime.fromisoformat, UUID)),
            limit=query.limit(most=listing.MOST_ROWS),
        )
        return Response(query.page([_report_json(row) for row in page.rows], page.next_after))


def _report_json(row: QuarantinedReport) -> dict[str, object]:
    return {
        "id": row.id,
        "code": row.code,
        "kind": EventKind(row.kind).name.lower(),
        "occurred_at": row.occurred_at,
        "received_at": row.received_at,
        "placed_at": row.placed_at,
        "placed_seq": row.placed_seq,
    }
