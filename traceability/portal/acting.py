"""For whom a signed-in person acts: one organisation at a time, named in the page's header."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone

from traceability.core.roles import Role
from traceability.models.parties import (
    Credential,
    CredentialKind,
    Duty,
    Membership,
    Organisation,
    OrganisationRole,
    User,
)
from traceability.services.acting import SCOPES_OF_DUTY, Actor

SESSION_KEY = "organisation"


def now() -> datetime:
    """Return the time at which a page is made."""
    return timezone.now()  # noqa: TID251 - a page is an edge: it says when it was made


def memberships_of(user: User, *, now: datetime) -> list[Membership]:
    """Return a person's memberships in force, by the organisation's name."""
    in_force = Q(until__isnull=True) | Q(until__gt=now)
    return list(
        Membership.objects.select_related("organisation")
        .filter(in_force, user=user, since__lte=now)
        .order_by("organisation__name")
    )


def actor_of(request: HttpRequest) -> Actor | None:
    """Return the actor of a session, None for nobody or for a person without an organisation.

    Who belongs to several acts for the one chosen last, at first for the first by name.
    """
    user = request.user
    if not isinstance(user, User) or not user.is_active:
        return None
    moment = now()
    memberships = memberships_of(user, now=moment)
    chosen = request.session.get(SESSION_KEY)
    membership = next(
        (m for m in memberships if m.organisation_id == chosen),
        memberships[0] if memberships else None,
    )
    if membership is None:
        return None
    credential = Credential.objects.filter(
        organisation=membership.organisation, kind=CredentialKind.PEOPLE
    ).first()
    if credential is None:
        return None
    return Actor(
        organisation=membership.organisation,
        credential=credential,
        user=user,
        roles=_roles_of(membership.organisation, now=moment),
        scopes=SCOPES_OF_DUTY[Duty(membership.duty)],
    )


def _roles_of(organisation: Organisation, *, now: datetime) -> frozenset[Role]:
    today = timezone.localdate(now)
    in_force = Q(valid_to__isnull=True) | Q(valid_to__gte=today)
    rows = OrganisationRole.objects.filter(
        in_force, organisation=organisation, valid_from__lte=today
    )
    return frozenset(Role(role) for role in rows.values_list("role", flat=True))
