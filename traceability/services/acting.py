"""Who acts: every command takes an Actor, and no command has a default one."""

from __future__ import annotations

from dataclasses import dataclass

from traceability.core.errors import NotPermitted
from traceability.core.roles import Role
from traceability.models.parties import (
    Credential,
    Duty,
    Organisation,
    OrganisationStatus,
    Scope,
    User,
)


@dataclass(frozen=True, slots=True)
class Actor:
    """An organisation acting through one credential, and the person behind it if there is one.

    `roles` are the organisation's roles in force on the day; `scopes` what the key or the
    member's duty allows.
    """

    organisation: Organisation
    credential: Credential
    user: User | None
    roles: frozenset[Role]
    scopes: frozenset[Scope]

    @property
    def by(self) -> str:
        """Return the reference of the person for the salted payload, "" for a machine."""
        return f"user:{self.user.pk}" if self.user is not None else ""

    def demand(self, scope: Scope, *, act: str) -> None:
        """Refuse an act that the key or the member's duty does not cover.

        Raises:
            NotPermitted: the scope is missing, or the organisation is not active.
        """
        if scope not in self.scopes:
            raise NotPermitted(act=act, scope=scope.value)
        if scope is not Scope.READ and self.organisation.status != OrganisationStatus.ACTIVE:
            raise NotPermitted(act=act, status=self.organisation.status)

    def demand_role(self, *roles: Role, act: str) -> None:
        """Refuse an act that none of the organisation's roles allows.

        Raises:
            NotPermitted: the organisation has none of these roles today.
        """
        if not self.roles.intersection(roles):
            raise NotPermitted(act=act, roles=[role.value for role in roles])


SCOPES_OF_DUTY: dict[Duty, frozenset[Scope]] = {
    Duty.ADMINISTRATOR: frozenset(Scope),
    Duty.OPERATOR: frozenset(Scope),
    Duty.READER: frozenset({Scope.READ}),
}
