"""What a unit (a pack, a lot or a bare code) must satisfy before it may be registered.

Pure rules over facts that a service has read beforehand: who holds which maker code when, what
is filed, what the uploader is. What only the ledger can answer under its locks (is the code or a
component taken) is asked there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from traceability.core.errors import RuleViolation
from traceability.core.roles import Role


class Basis(StrEnum):
    """In what right a record is made: as the maker, for one's own vehicle model, as holder."""

    MAKER = "maker"
    VEHICLE_MAKER = "vehicle_maker"
    HOLDER = "holder"


class Standing(StrEnum):
    """What the basis comes to for one code; it stands in the birth record."""

    MAKER = "maker"
    AUTHORISED_MAKER = "authorised_maker"
    VEHICLE_MAKER = "vehicle_maker"
    HOLDER = "holder"


# Who may open a record for another maker's pack as part of its own vehicle model
# (domain facts, 3: the automaker, for imports the importer, uploads the installation).
VEHICLE_MAKERS = frozenset({Role.AUTOMAKER, Role.IMPORTER})


class MakerCodeNotYours(RuleViolation):
    """The maker code belonged to somebody else on the production date.

    Params: maker, produced_on.
    """

    code = "maker_code_not_yours"


class NotAVehicleMaker(RuleViolation):
    """Only automakers and importers register other makers' packs for their vehicles."""

    code = "not_a_vehicle_maker"


class ModuleMissing(RuleViolation):
    """The filing says pack-module-cell, and the pack came without modules. Params: design_part."""

    code = "module_missing"


class ModuleNotFiled(RuleViolation):
    """The filing says pack-cell (CTP, CTB), and the pack came with modules. Params: design_part."""

    code = "module_not_expected"


class CellCountDiffers(RuleViolation):
    """The filing states another number of cells. Params: of, design_part, filed, found."""

    code = "cell_count_differs"


@dataclass(frozen=True, slots=True)
class Period:
    """Days from `first` to `last`, both included; no end when `last` is None."""

    first: date
    last: date | None

    def covers(self, day: date) -> bool:
        """Return whether the day lies in the period."""
        return self.first <= day and (self.last is None or day <= self.last)


@dataclass(frozen=True, slots=True)
class Filed:
    """What the filing in force says about a design part."""

    design_part: str
    structure: str
    cells_contained: int | None


@dataclass(frozen=True, slots=True)
class Standings:
    """The uploader's rights, as read before deciding: periods by maker code, and roles."""

    held: Mapping[str, Sequence[Period]]
    authorised: Mapping[str, Sequence[Period]]
    roles: frozenset[Role]


def standing_of(
    basis: Basis, *, maker: str | None, produced_on: date | None, uploader: Standings
) -> Standing:
    """Return in what right this uploader registers a code of this maker and day.

    Raises:
        MakerCodeNotYours: claimed as maker, but neither held nor authorised on that day.
        NotAVehicleMaker: claimed for a vehicle by an organisation that makes or imports none.
    """
    if basis is Basis.HOLDER:
        return Standing.HOLDER
    if maker is not None and produced_on is not None:
        if _covered(uploader.held.get(maker, ()), produced_on):
            return Standing.MAKER
        if _covered(uploader.authorised.get(maker, ()), produced_on):
            return Standing.AUTHORISED_MAKER
    if basis is Basis.MAKER:
        raise MakerCodeNotYours(maker=maker, produced_on=produced_on)
    if not uploader.roles & VEHICLE_MAKERS:
        raise NotAVehicleMaker(maker=maker)
    return Standing.VEHICLE_MAKER


def check_against_filings(
    *,
    design_part: str,
    module_of_cells: Iterable[str | None],
    filings: Mapping[str, Filed],
) -> None:
    """Hold a pack's composition against what is filed for it and for its modules.

    `module_of_cells` gives for each cell the code of its module, None when it sits in the pack.
    An unfiled design part is no fault here (中机函〔2018〕73号 leaves the code valid).

    Raises:
        ModuleMissing, ModuleNotFiled, CellCountDiffers: the composition is not the filed one.
    """
    per_module = Counter(module_of_cells)
    pack = filings.get(design_part)
    if pack is not None:
        if pack.structure == "pack-module-cell" and None in per_module:
            raise ModuleMissing(design_part=design_part)
        if pack.structure == "pack-cell" and per_module.keys() - {None}:
            raise ModuleNotFiled(design_part=design_part)
        _check_count("pack", pack, per_module.total())
    for module, cells in per_module.items():
        filed = filings.get(module[:14]) if module is not None else None
        if filed is not None:
            _check_count(module or "", filed, cells)


def _check_count(of: str, filed: Filed, found: int) -> None:
    if filed.cells_contained is not None and found != filed.cells_contained:
        raise CellCountDiffers(
            of=of, design_part=filed.design_part, filed=filed.cells_contained, found=found
        )


def _covered(periods: Iterable[Period], day: date) -> bool:
    return any(period.covers(day) for period in periods)
