"""Bare codes: a holder's list of batteries whose structure it does not know.

Each row names one battery by its deepest code. Nothing is said about what it contains, so a pack
here claims no module and no cell; the maker may complete the record later.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from datetime import date

from traceability.core.codes import BatteryCode, MalformedCode, parse
from traceability.core.intake import IntakeResult, Unit
from traceability.core.intake_rows import Refusal, Row, Unreadable, Value

STRUCTURE_UNKNOWN = "unknown"


def read_codes(rows: Iterable[Row], *, today: date) -> IntakeResult:
    """Return a unit for each row that names exactly one battery in a code that reads."""
    units: list[Unit] = []
    refusals: list[Refusal] = []
    seen: dict[str, tuple[str, int]] = {}
    n_rows = 0
    for row in rows:
        n_rows += 1
        sheet, number, pack, module, cell, model, _, lot, line = row
        column, value = _deepest(pack, module, cell)
        read = _read(value, today)
        if isinstance(read, tuple):
            code, params = read
            text = value.text if isinstance(value, Unreadable) else value or ""
            refusals.append(Refusal(sheet, number, column, text, code, params))
            continue
        if read.text in seen:
            other_sheet, other_row = seen[read.text]
            params = {"other_sheet": other_sheet, "other_row": other_row}
            refusals.append(Refusal(sheet, number, column, read.text, "code_listed_twice", params))
            continue
        seen[read.text] = sheet, number
        units.append(_unit(read, sheet, number, _text(model), _text(lot), _text(line)))
    return IntakeResult(units=units, refusals=refusals, blocked=[], warnings=[], n_rows=n_rows)


def _deepest(pack: Value, module: Value, cell: Value) -> tuple[str, Value]:
    for column, value in (("cell", cell), ("module", module)):
        if value is not None:
            return column, value
    return "pack", pack


def _read(value: Value, today: date) -> BatteryCode | tuple[str, dict[str, object]]:
    if value is None:
        return "code_missing", {}
    if isinstance(value, Unreadable):
        return value.code, {}
    try:
        parsed = parse(value)
    except MalformedCode as refusal:
        return "code_malformed", dict(refusal.params)
    if parsed.produced_on is not None and parsed.produced_on > today:
        return "code_in_future", {"date": parsed.produced_on, "today": today, "position": 15}
    return parsed


def _text(value: Value) -> str:
    return value if isinstance(value, str) else ""


def _unit(code: BatteryCode, sheet: str, row: int, model: str, lot: str, line: str) -> Unit:
    level = code.level.value if code.level is not None else ""
    return Unit(
        code=code.text,
        parsed=code,
        structure=STRUCTURE_UNKNOWN,
        produced_on=code.produced_on,
        model=model,
        lot=lot,
        line=line,
        components=[(0, 0, level, code.text, lot, line, code.produced_on)],
        design_parts=frozenset({code.design_part} if code.design_part else ()),
        foreign=frozenset(),
        row_sheets=[sheet],
        row_numbers=array("I", [row]),
        row_positions=array("I", [0]),
    )
