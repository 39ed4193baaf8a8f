"""A battery code taken apart for the eye: which characters say what.

GB/T 34014-2017, 4.2: X1-X14 are the design part, X15-X24 the production part; a second-life code
leaves out the traceability characters and ends in R and its level.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

from django.utils import formats
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from traceability.core.codes import BatteryCode, Level, Scheme

Text = str | Promise

LEVELS: Mapping[str, Text] = MappingProxyType(
    {Level.PACK: _("pack"), Level.MODULE: _("module"), Level.CELL: _("cell")}
)
# GB/T 34014-2017, X5. B and E are read on real codes, the others in secondary tables.
BATTERY_TYPES: Mapping[str, Text] = MappingProxyType(
    {
        "A": _("nickel-metal hydride"),
        "B": _("lithium iron phosphate (LFP)"),
        "C": _("lithium manganese oxide"),
        "D": _("lithium cobalt oxide"),
        "E": _("ternary (NCM/NCA)"),
        "F": _("supercapacitor"),
        "G": _("lithium titanate"),
        "Z": _("other"),
    }
)
SCHEMES: Mapping[str, Text] = MappingProxyType(
    {
        Scheme.GBT34014_24: _("GB/T 34014-2017, 24 characters"),
        Scheme.GBT34014_19: _("GB/T 34014-2017, second-life product, 19 characters"),
        Scheme.GBT45565: _("GB/T 45565"),
        Scheme.LEGACY: _("another coding, kept as it is"),
        Scheme.LOT: _("production lot"),
        Scheme.TMP: _("provisional number of a battery whose code cannot be read"),
    }
)


@dataclass(frozen=True, slots=True)
class Part:
    """Some characters of a code, where they stand, what they are and what they say."""

    positions: str
    text: str
    name: Text
    meaning: Text
    is_production: bool = False


def parts_of(code: BatteryCode) -> tuple[Part, ...]:
    """Return the parts of a code of GB/T 34014-2017, () for any other scheme."""
    text = code.text
    if code.scheme not in {Scheme.GBT34014_24, Scheme.GBT34014_19}:
        return ()
    is_new = code.scheme is Scheme.GBT34014_24
    level = LEVELS.get(text[3], "")
    day = formats.date_format(code.produced_on) if code.produced_on else gettext("unknown")
    parts = [
        Part("X1–X3", text[:3], _("maker code"), _("allotted to the maker on filing")),
        Part("X4", text[3], _("level"), level),
        Part("X5", text[4], _("battery type"), BATTERY_TYPES.get(text[4], _("not in the table"))),
        Part("X6–X7", text[5:7], _("specification"), _("the maker's own, filed")),
    ]
    rest = text[7:]
    if is_new:
        parts.append(Part("X8–X14", text[7:14], _("traceability"), _("the maker's own, filed")))
        rest = text[14:]
    start = 15 if is_new else 8
    parts += [
        Part(f"X{start}–X{start + 2}", rest[:3], _("production date"), day, is_production=True),
        Part(
            f"X{start + 3}–X{start + 9}", rest[3:10], _("serial number"),
            _("counted anew each day"), is_production=True,
        ),
    ]  # fmt: skip
    if not is_new:
        parts.append(
            Part("X18–X19", rest[10:], _("second life"), _("regrouped from used batteries"))
        )
    return tuple(parts)


def grouped(text: str) -> tuple[str, ...]:
    """Return a code in groups that can be read aloud: as its parts stand, else in fours."""
    if len(text) == 24:
        cuts = (0, 3, 7, 14, 17, 24)
    elif len(text) == 19:
        cuts = (0, 3, 7, 10, 17, 19)
    else:
        return (text,)
    return tuple(text[a:b] for a, b in pairwise(cuts))
