"""Who may open a page: every view states it, and no view runs before it holds.

`everybody` pages need no sign-in and read nothing about the visitor. `members` pages need a
signed-in person who acts for an organisation, with the scope that the page takes; what of a
battery such a person sees is decided in `queries.visibility`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _

from traceability.core.errors import (
    LedgerBusy,
    Malformed,
    NotFound,
    NotPermitted,
    RuleViolation,
)
from traceability.models.parties import Scope
from traceability.portal.acting import actor_of, memberships_of, now
from traceability.services.acting import Actor
from traceability.wording import sentence

View = Callable[..., HttpResponseBase]


def everybody(view: View) -> View:
    """State that a page is open to everybody."""

    @wraps(view)
    def run(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return view(request, *args, **kwargs)

    run.access = "everybody"  # type: ignore[attr-defined]  # read by the access matrix test
    return run


def members(scope: Scope) -> Callable[[View], View]:
    """State that a page is for people acting for an organisation, with this scope.

    The view gets the actor after the request. What the core refuses becomes a page.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def run(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path())
            actor = actor_of(request)
            if actor is None:
                return _without_organisation(request)
            if scope not in actor.scopes:
                return render(request, "403.html", page(actor), status=403)
            try:
                response = view(request, actor, *args, **kwargs)
            except NotFound:
                return render(request, "404.html", page(actor), status=404)
            except NotPermitted:
                return render(request, "403.html", page(actor), status=403)
            except LedgerBusy as busy:
                return _refused(request, actor, busy.code, busy.params, status=503)
            except (Malformed, RuleViolation) as refusal:
                return _refused(request, actor, refusal.code, refusal.params, status=400)
            # What one organisation sees must not come out of a cache for another.
            response.headers.setdefault("Cache-Control", "private, no-store")
            return response

        run.access = scope  # type: ignore[attr-defined]  # read by the access matrix test
        return run

    return decorate


def page(actor: Actor | None, **context: object) -> dict[str, object]:
    """Return a page's context with what its frame needs."""
    frame: dict[str, object] = {"actor": actor}
    if actor is not None and actor.user is not None:
        organisations = [m.organisation for m in memberships_of(actor.user, now=now())]
        frame["actor_roles"] = sorted(actor.roles)
        frame["other_organisations"] = organisations if len(organisations) > 1 else []
    return frame | context


def _without_organisation(request: HttpRequest) -> HttpResponse:
    context = {
        "heading": _("You act for no organisation"),
        "sentence": _(
            "Your account is not a member of any organisation now, so there is nothing for it to"
            " see."
        ),
        "what_now": _("Ask your organisation's administrator."),
    }
    return render(request, "portal/notice.html", context, status=403)


def _refused(
    request: HttpRequest, actor: Actor, code: str, params: dict[str, object], *, status: int
) -> HttpResponse:
    context = {"heading": _("Nothing was changed"), "sentence": sentence(code, params)}
    return render(request, "portal/notice.html", page(actor, **context), status=status)
