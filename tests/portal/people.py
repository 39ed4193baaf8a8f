"""People of the pages' tests, who sign in for the organisations of `tests.stored`."""

from __future__ import annotations

from django.test import Client

from tests import stored
from traceability.models.parties import Duty, Membership, User
from traceability.services.acting import Actor


def member(actor: Actor, username: str = "zhang", duty: Duty = Duty.OPERATOR) -> User:
    """Return a person who acts for the organisation."""
    user, _ = User.objects.get_or_create(username=username)
    Membership.objects.get_or_create(
        user=user,
        organisation=actor.organisation,
        defaults={"duty": duty, "since": stored.MORNING},
    )
    return user


def browser(actor: Actor, username: str = "zhang", duty: Duty = Duty.OPERATOR) -> Client:
    """Return a browser in which such a person has signed in, reading English."""
    client = Client(headers={"accept-language": "en"})
    client.force_login(
        member(actor, username, duty), backend="django.contrib.auth.backends.ModelBackend"
    )
    return client
