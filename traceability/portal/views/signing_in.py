"""Signing in and out, the language of the pages, and for whom one acts."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.views import LoginView, LogoutView
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from traceability.models.parties import Scope
from traceability.portal.access import everybody, members
from traceability.portal.acting import SESSION_KEY, memberships_of, now
from traceability.services.acting import Actor

ONE_YEAR_S = 365 * 24 * 3600

sign_in = everybody(
    LoginView.as_view(
        template_name="portal/sign_in.html", next_page="home", redirect_authenticated_user=True
    )
)
sign_out = everybody(LogoutView.as_view(next_page="home"))


@require_safe
@everybody
def language(request: HttpRequest, chosen: str) -> HttpResponse:
    """Remember the language in a cookie of its own and go back. No account and no session."""
    if chosen not in dict(settings.LANGUAGES):
        raise Http404
    response = redirect(_safe(request, request.GET.get("next", "/")))
    response.set_cookie(
        settings.LANGUAGE_COOKIE_NAME,
        chosen,
        max_age=ONE_YEAR_S,
        secure=request.is_secure(),
        httponly=True,
        samesite="Lax",
    )
    return response


@require_POST
@members(Scope.READ)
def organisation(request: HttpRequest, actor: Actor) -> HttpResponse:
    """Act for another organisation of one's own from now on."""
    chosen = request.POST.get("organisation", "")
    found = memberships_of(actor.user, now=now()) if actor.user is not None else []
    for membership in found:
        if str(membership.organisation_id) == chosen:
            request.session[SESSION_KEY] = membership.organisation_id
            return redirect("home")
    raise Http404


def _safe(request: HttpRequest, target: str) -> str:
    """Return a way back that stays here."""
    is_ours = url_has_allowed_host_and_scheme(
        target, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return target if is_ours else "/"
