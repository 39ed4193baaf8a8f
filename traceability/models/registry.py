"""The registry: maker codes, filings, batteries and what they are made of.

`Battery`, `Component`, `CellFingerprint`, `Installation` and `Finding` are projections of the
events, written in the same transaction; `rebuild_projections --check` proves that they agree.
"""

from __future__ import annotations

from enum import StrEnum

from django.contrib.postgres.indexes import OpClass
from django.db import models
from django.db.models.functions import Reverse
from django.utils.translation import gettext_lazy as _

from traceability.core.codes import Level, Scheme
from traceability.core.lifecycle import Confirmation, State
from traceability.models.constraints import hash_length, id_derives_from_code, vocabulary
from traceability.models.parties import Organisation


class MakerCode(models.Model):
    """A maker code (GB/T 34014-2017, X1-X3) held by an organisation from and until a day."""

    code = models.CharField(_("maker code"), max_length=3, db_index=True)
    organisation = models.ForeignKey(Organisation, models.PROTECT, related_name="maker_codes")
    valid_from = models.DateField(_("valid from"))
    valid_to = models.DateField(_("valid to"), null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["code", "valid_from"], name="makercode_once"),
            models.CheckConstraint(
                condition=models.Q(code__regex=r"^[0-9A-Z]{3}$"), name="makercode_form"
            ),
        ]

    def __str__(self) -> str:
        return self.code


class MakerAuthorisation(models.Model):
    """A maker's leave for another organisation to register packs under its code, dated."""

    code = models.CharField(_("maker code"), max_length=3, db_index=True)
    grantee = models.ForeignKey(Organisation, models.PROTECT, related_name="maker_authorisations")
    valid_from = models.DateField(_("valid from"))
    valid_to = models.DateField(_("valid to"), null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["code", "grantee", "valid_from"], name="makerauthorisation_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.code} for {self.grantee_id}"


class PackStructure(StrEnum):
    """Whether a filed pack has modules, or cells straight in the pack (CTP, CTB)."""

    PACK_MODULE_CELL = "pack-module-cell"
    PACK_CELL = "pack-cell"


class CodeFiling(models.Model):
    """The filing (备案) of a specification and traceability code, 中机函〔2018〕73号.

    Keyed by the design part (first 14 characters). A filing sent again with other contents is a
    new revision; the highest is in force.
    """

    design_part = models.CharField(max_length=14)
    revision = models.PositiveSmallIntegerField()
    organisation = models.ForeignKey(Organisation, models.PROTECT, related_name="filings")
    level = models.CharField(max_length=1, choices=[(level.value, level.value) for level in Level])
    maker_specification = models.CharField(max_length=100, blank=True)
    model = models.CharField(max_length=100)
    rated_capacity_ah = models.DecimalField(max_digits=12, decimal_places=4, null=True)
    nominal_voltage_v = models.DecimalField(max_digits=10, decimal_places=3, null=True)
    mass_kg = models.DecimalField(max_digits=10, decimal_places=4, null=True)
    chemistry = models.CharField(max_length=60, blank=True)
    cathode = models.CharField(max_length=60, blank=True)
    anode = models.CharField(max_length=60, blank=True)
    arrangement = models.CharField(max_length=40, blank=True)
    cells_contained = models.PositiveIntegerField(null=True)
    dimensions_mm = models.CharField(max_length=60, blank=True)
    structure = models.CharField(
        max_length=20,
        blank=True,
        choices=[(structure.value, structure.value) for structure in PackStructure],
    )
    filed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["design_part", "revision"], name="codefiling_once"),
            vocabulary("level", Level, table="codefiling"),
            models.CheckConstraint(
                condition=models.Q(structure__in=["", *[s.value for s in PackStructure]]),
                name="codefiling_structure_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.design_part} (revision {self.revision})"


class DesignPart(models.Model):
    """One row per design part that ever had a component: the lock that makes cells unique.

    Registration locks the rows of the components concerned in sorted order before it looks for
    their fingerprints, so two registrations that could claim one cell never look at once.
    """

    design_part = models.CharField(max_length=14, primary_key=True)

    class Meta:
        db_table = "design_part"

    def __str__(self) -> str:
        return self.design_part


class Battery(models.Model):
    """Everything that has a chain: pack, module, cell, echelon product, production lot."""

    battery_id = models.UUIDField(primary_key=True)
    code = models.TextField(_("battery code"))
    scheme = models.CharField(max_length=12, choices=[(s.value, s.value) for s in Scheme])
    level = models.CharField(max_length=1, blank=True)
    maker = models.CharField(max_length=3, blank=True)
    design_part = models.CharField(max_length=14, blank=True, db_index=True)
    produced_on = models.DateField(null=True)
    model = models.CharField(max_length=100, blank=True)
    lot = models.CharField(max_length=64, blank=True)
    line = models.CharField(max_length=64, blank=True)
    registrant = models.ForeignKey(Organisation, models.PROTECT, related_name="+")
    state = models.CharField(max_length=24, choices=[(s.value, s.value) for s in State])
    confirmation = models.CharField(
        max_length=24, choices=[(c.value, c.value) for c in Confirmation]
    )
    last_occurred_at = models.DateTimeField()
    recorded_at = models.DateTimeField()
    is_filed = models.BooleanField()
    is_structure_known = models.BooleanField()

    class Meta:
        db_table = "battery"
        verbose_name = _("battery")
        verbose_name_plural = _("batteries")
        constraints = [
            id_derives_from_code("battery_id", "code", table="battery"),
            vocabulary("scheme", Scheme, table="battery"),
            vocabulary("state", State, table="battery"),
            vocabulary("confirmation", Confirmation, table="battery"),
            models.CheckConstraint(
                condition=models.Q(level__in=["", *[level.value for level in Level]]),
                name="battery_level_known",
            ),
        ]
        indexes = [
            # Partial codes are searched from the front and from the back (worn labels).
            models.Index(
                fields=["code"], name="battery_code_front", opclasses=["text_pattern_ops"]
            ),
            models.Index(
                OpClass(Reverse("code"), name="text_pattern_ops"), name="battery_code_back"
            ),
            models.Index(
                models.expressions.F("registrant"),
                models.expressions.F("recorded_at").desc(),
                name="battery_by_registrant",
            ),
            models.Index(
                fields=["lot", "line"], condition=~models.Q(lot=""), name="battery_by_lot"
            ),
        ]

    def __str__(self) -> str:
        return self.code


class Manifest(models.Model):
    """What a pack or lot was made of, stored once, compressed; a correction is a new version."""

    pk = models.CompositePrimaryKey("battery_id", "version")
    battery_id = models.UUIDField()
    version = models.PositiveSmallIntegerField()
    root = models.BinaryField()
    components = models.PositiveIntegerField()
    modules = models.PositiveIntegerField()
    cells = models.PositiveIntegerField()
    packed = models.BinaryField()

    class Meta:
        db_table = "manifest"
        constraints = [hash_length("root", table="manifest")]

    def __str__(self) -> str:
        return f"{self.battery_id} version {self.version}"


class Component(models.Model):
    """A module by its own code: the pack it was built into, the lot it left the factory in."""

    component_id = models.UUIDField(primary_key=True)
    code = models.TextField()
    level = models.CharField(max_length=1)
    pack_id = models.UUIDField(null=True, db_index=True)
    lot_id = models.UUIDField(null=True, db_index=True)
    position = models.PositiveIntegerField()
    lot = models.CharField(max_length=64, blank=True)
    line = models.CharField(max_length=64, blank=True)
    produced_on = models.DateField(null=True)

    class Meta:
        db_table = "component"
        constraints = [
            id_derives_from_code("component_id", "code", table="component"),
            vocabulary("level", Level, table="component"),
        ]
        indexes = [
            models.Index(
                fields=["code"], name="component_code_front", opclasses=["text_pattern_ops"]
            ),
            models.Index(
                OpClass(Reverse("code"), name="text_pattern_ops"), name="component_code_back"
            ),
            models.Index(fields=["lot", "line"], name="component_by_lot"),
        ]

    def __str__(self) -> str:
        return self.code


class CellFingerprint(models.Model):
    """Eight bytes of a cell code's hash and the manifest that may hold it.

    No code and no uniqueness: a hit is confirmed in the manifest, since hashes may collide.
    """

    pk = models.CompositePrimaryKey("fingerprint", "battery_id")
    fingerprint = models.BigIntegerField()
    battery_id = models.UUIDField()

    class Meta:
        db_table = "cell_fingerprint"

    def __str__(self) -> str:
        return f"{self.fingerprint} in {self.battery_id}"


class BatteryParty(models.Model):
    """An organisation that has to do with a battery: it registered, made or recorded on it.

    `queries.visibility` decides from these rows and from roles who may read what.
    """

    pk = models.CompositePrimaryKey("battery_id", "organisation_id")
    battery_id = models.UUIDField()
    organisation = models.ForeignKey(Organisation, models.PROTECT, related_name="+")

    class Meta:
        db_table = "battery_party"

    def __str__(self) -> str:
        return f"{self.organisation_id} of {self.battery_id}"


class Installation(models.Model):
    """A battery in a vehicle, from an event until another: the answer to «which VIN, when»."""

    pk = models.CompositePrimaryKey("battery_id", "seq")
    battery_id = models.UUIDField()
    seq = models.PositiveIntegerField()
    vin = models.CharField(max_length=17, db_index=True)
    installed_at = models.DateTimeField()
    removed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "installation"

    def __str__(self) -> str:
        return f"{self.battery_id} in a vehicle from event {self.seq}"


class FindingKind(StrEnum):
    """Why somebody should look."""

    VIOLATION = "violation"
    DISPUTED = "disputed"
    SECOND_VEHICLE = "second_vehicle"


class Finding(models.Model):
    """A fact that was taken although the rules did not expect it, open until it is settled."""

    pk = models.CompositePrimaryKey("battery_id", "seq", "kind")
    battery_id = models.UUIDField()
    seq = models.PositiveIntegerField()
    kind = models.CharField(max_length=20, choices=[(k.value, k.value) for k in FindingKind])
    opened_at = models.DateTimeField()

    class Meta:
        db_table = "finding"
        constraints = [vocabulary("kind", FindingKind, table="finding")]

    def __str__(self) -> str:
        return f"{self.kind} at {self.battery_id}/{self.seq}"
