"""Search: one entry by GET, a list by POST."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from traceability.api import asking
from traceability.api.permissions import MayRead, actor_of
from traceability.api.representing import hit_json
from traceability.core.codes import MalformedCode
from traceability.core.errors import Malformed
from traceability.queries import search
from traceability.wording import sentence


class Search(APIView):
    """Batteries by code, part of a code, vehicle or lot."""

    permission_classes = (MayRead,)

    @extend_schema(
        operation_id="search",
        parameters=[
            OpenApiParameter(
                "q",
                str,
                required=True,
                description="full code, front, end or inner part, pattern with ? and *, full VIN,"
                " lot or lot/line",
            ),
            OpenApiParameter("limit", int),
        ],
        responses={200: OpenApiTypes.OBJECT},
    )
    def get(self, request: Request) -> Response:
        """Return what one entry finds."""
        query = asking.Query(request, known={"q", "limit"})
        text = query.text("q")
        if not text:
            raise Malformed(field="q", reason="missing")
        found = search.search(
            text, actor=actor_of(request), limit=query.limit(most=search.MOST_HITS)
        )
        return Response(
            {
                "looked_for": found.looked_for,
                "results": [hit_json(hit) for hit in found.hits],
                "is_cut": found.is_cut,
                "is_timed_out": found.is_timed_out,
            }
        )

    @extend_schema(
        operation_id="search_list",
        request=OpenApiTypes.OBJECT,
        responses={200: OpenApiTypes.OBJECT},
        description="`codes`: an array of full codes or vehicles, or a text with anything between"
        " them; up to 5,000. Every entry is found, not found or malformed.",
    )
    def post(self, request: Request) -> Response:
        """Return what became of each entry of a list."""
        entries = _entries(request.data)
        answer = search.search_list(entries, actor=actor_of(request))
        return Response(
            {
                "found": [
                    {"entry": entry, "results": [hit_json(hit) for hit in hits]}
                    for entry, hits in answer.hits
                ],
                "not_found": answer.not_found,
                "malformed": [
                    {
                        "entry": misread.text,
                        "code": MalformedCode.code,
                        "message": sentence(MalformedCode.code, {"faults": misread.faults}),
                    }
                    for misread in answer.malformed
                ],
                "repeated": answer.repeated,
            }
        )


def _entries(body: object) -> list[str]:
    if not isinstance(body, dict) or set(body) != {"codes"}:
        raise Malformed(field="codes", reason="missing")
    codes = body["codes"]
    if isinstance(codes, str):
        return search.entries_of(codes)
    if isinstance(codes, list) and all(isinstance(code, str) for code in codes):
        return codes
    raise Malformed(field="codes", reason="type")
