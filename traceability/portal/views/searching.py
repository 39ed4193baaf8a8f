"""Home and search: one box for a code, a part of one, a vehicle or a lot, and one for a list."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from traceability.core.codes import MalformedCode
from traceability.core.errors import Malformed
from traceability.models.parties import Scope
from traceability.portal.access import everybody, members, page
from traceability.portal.acting import actor_of
from traceability.queries import batteries, jobs, search
from traceability.queries.search import Found, Match, Sorted
from traceability.services.acting import Actor
from traceability.wording import sentence

LATEST = 8


@everybody
def home(request: HttpRequest) -> HttpResponse:
    """Show the search, and to members what came last."""
    actor = actor_of(request)
    context: dict[str, object] = {"section": "search"}
    if actor is not None:
        context |= {
            "batteries": batteries.latest(actor=actor, limit=LATEST),
            "jobs": jobs.latest(actor=actor, limit=LATEST),
        }
    return render(request, "portal/home.html", page(actor, **context))


@members(Scope.READ)
def find(request: HttpRequest, actor: Actor) -> HttpResponse:
    """Show what an entry or a pasted list comes to."""
    text = request.POST.get("codes", "") if request.method == "POST" else request.GET.get("q", "")
    found: Found | None = None
    answer: Sorted | None = None
    refusal = ""
    try:
        entries = search.entries_of(text)
        if request.method == "POST" and len(entries) > 1:
            answer = search.search_list(entries, actor=actor)
        elif text.strip():
            found = search.search(entries[0] if len(entries) == 1 else text, actor=actor)
    except Malformed as malformed:
        refusal = sentence(malformed.code, malformed.params)
    if found is not None and _is_the_one(found):
        return redirect("battery", code=found.hits[0].code)
    context = {
        "section": "search",
        "q": request.GET.get("q", ""),
        "pasted": request.POST.get("codes", ""),
        "found": found,
        "answer": answer,
        "misread": _misread(answer),
        "refusal": refusal,
    }
    status = 400 if refusal else 200
    return render(request, "portal/search.html", page(actor, **context), status=status)


def _is_the_one(found: Found) -> bool:
    """Return whether a full code was asked for and there it is."""
    return len(found.hits) == 1 and found.hits[0].match in {Match.CODE, Match.COMPONENT}


def _misread(answer: Sorted | None) -> list[tuple[str, str]]:
    if answer is None:
        return []
    return [
        (misread.text, sentence(MalformedCode.code, {"faults": misread.faults}))
        for misread in answer.malformed
    ]
