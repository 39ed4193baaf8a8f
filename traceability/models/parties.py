"""Who is who: people, organisations, their roles, and the credentials they act with."""

from __future__ import annotations

from enum import StrEnum

from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils.translation import gettext_lazy as _

from traceability.core.roles import Role
from traceability.models.constraints import hash_length, vocabulary


class User(AbstractUser):
    """A person who signs in. What a person may do follows from memberships alone."""

    class Meta(AbstractUser.Meta):
        verbose_name = _("user")
        verbose_name_plural = _("users")


class OrganisationStatus(StrEnum):
    """Whether an organisation may act, may only read and finish, or is gone."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    EXITED = "exited"


class Organisation(models.Model):
    """A legal person, known by its unified social credit code (GB 32100-2015)."""

    uscc = models.CharField(_("unified social credit code"), max_length=18, unique=True)
    name = models.CharField(_("name"), max_length=200)
    name_en = models.CharField(_("English name"), max_length=200, blank=True)
    status = models.CharField(
        _("status"),
        max_length=10,
        default=OrganisationStatus.ACTIVE,
        choices=[(status.value, status.value) for status in OrganisationStatus],
    )
    admitted_at = models.DateTimeField(_("admitted at"))

    class Meta:
        verbose_name = _("organisation")
        verbose_name_plural = _("organisations")
        constraints = [vocabulary("status", OrganisationStatus, table="organisation")]

    def __str__(self) -> str:
        return self.name


class OrganisationRole(models.Model):
    """What an organisation is, from and until a day: one firm may be several things at once."""

    organisation = models.ForeignKey(Organisation, models.PROTECT, related_name="roles")
    role = models.CharField(max_length=24, choices=[(role.value, role.value) for role in Role])
    valid_from = models.DateField()
    valid_to = models.DateField(null=True, blank=True)

    class Meta:
        constraints = [
            vocabulary("role", Role, table="organisationrole"),
            models.UniqueConstraint(
                fields=["organisation", "role", "valid_from"], name="organisationrole_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.organisation_id}: {self.role}"


class Duty(StrEnum):
    """What a member does for the organisation."""

    ADMINISTRATOR = "administrator"
    OPERATOR = "operator"
    READER = "reader"


class Membership(models.Model):
    """A person acting for an organisation."""

    user = models.ForeignKey(User, models.PROTECT, related_name="memberships")
    organisation = models.ForeignKey(Organisation, models.PROTECT, related_name="memberships")
    duty = models.CharField(max_length=16, choices=[(duty.value, duty.value) for duty in Duty])
    since = models.DateTimeField()
    until = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            vocabulary("duty", Duty, table="membership"),
            models.UniqueConstraint(fields=["user", "organisation"], name="membership_once"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} for {self.organisation_id}"


class CredentialKind(StrEnum):
    """Who acts through a credential."""

    PEOPLE = "people"
    MACHINE = "machine"
    SYSTEM = "system"


class Credential(models.Model):
    """The opaque actor number that stands in records: an organisation's, never a person's.

    People act under their organisation's one `people` credential (the person stands in the salted
    payload, where redaction reaches); each machine key has a credential of its own.
    """

    number = models.BigAutoField(primary_key=True)
    organisation = models.ForeignKey(Organisation, models.PROTECT, related_name="credentials")
    kind = models.CharField(
        max_length=10, choices=[(kind.value, kind.value) for kind in CredentialKind]
    )
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            vocabulary("kind", CredentialKind, table="credential"),
            models.UniqueConstraint(
                fields=["organisation", "kind"],
                condition=~models.Q(kind=CredentialKind.MACHINE),
                name="credential_one_for_people",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.number}"


class Scope(StrEnum):
    """What a machine key may do for its organisation."""

    READ = "read"
    REGISTER = "register"
    RECORD = "record"


class ApiKey(models.Model):
    """A machine's key: a public prefix and the SHA-256 of a 256-bit secret that is shown once."""

    prefix = models.CharField(max_length=12, unique=True)
    secret_sha256 = models.BinaryField()
    name = models.CharField(max_length=100)
    credential = models.OneToOneField(Credential, models.PROTECT, related_name="api_key")
    scopes = ArrayField(models.CharField(max_length=10))
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            hash_length("secret_sha256", table="apikey"),
            models.CheckConstraint(
                condition=models.Q(scopes__contained_by=[scope.value for scope in Scope]),
                name="apikey_scopes_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.prefix} ({self.name})"
