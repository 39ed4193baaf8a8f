"""`manage.py verify_ledger [--battery CODE] [--workers N] [--json]`: is the ledger what it was?"""

from __future__ import annotations

import argparse
import json
import sys
from time import perf_counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from traceability.core.codes import battery_id_of, normalise
from traceability.core.errors import TraceabilityError
from traceability.queries import verification
from traceability.queries.damage import Checked, Found

DAMAGED, NOTHING_CHECKED = 1, 2


class Command(BaseCommand):
    """Verifies chains, manifests, joint events, submissions and heads, and names all damage.

    Exit code 0: something was verified and nothing is wrong; 1: damage; 2: nothing was there to
    verify, which is never a pass.
    """

    help = "Make every hash of the ledger again and name what does not stand."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments."""
        parser.add_argument("--battery", metavar="CODE", help="only this battery")
        parser.add_argument("--workers", type=int, default=1, metavar="N")
        parser.add_argument("--json", action="store_true", help="one JSON object a line")

    def handle(self, *_: Any, **options: Any) -> None:
        """Run the command."""
        battery_id = None
        if options["battery"]:
            try:
                battery_id = battery_id_of(normalise(options["battery"]))
            except TraceabilityError as refusal:
                raise CommandError(str(refusal)) from refusal
        if options["workers"] < 1:
            raise CommandError("--workers takes a number from 1")
        self._is_json = options["json"]
        checked = Checked()
        begun = perf_counter()
        n_found = 0
        for found in verification.verify(
            checked,
            battery_id=battery_id,
            workers=options["workers"],
            on_progress=self._progress(),
        ):
            n_found += 1
            self._say(found)
        self._conclude(checked, n_found, perf_counter() - begun)
        if n_found:
            sys.exit(DAMAGED)
        if not checked.events:
            sys.exit(NOTHING_CHECKED)

    def _progress(self) -> verification.OnProgress | None:
        if self._is_json or not sys.stderr.isatty():
            return None
        total = verification.estimated_events()

        def show(events: int) -> None:
            done = min(events / total, 1.0) if total else 0.0
            bar = ("#" * round(done * 40)).ljust(40)
            self.stderr.write(f"\r[{bar}] {events:,}", ending="")
            self.stderr.flush()

        return show

    def _say(self, found: Found) -> None:
        if self._is_json:
            self.stdout.write(json.dumps(found.line(), ensure_ascii=False))
            return
        where = "" if found.seq is None else f" record {found.seq}"
        unit = "" if found.unit is None else f" submission {found.unit}"
        detail = f" ({found.detail})" if found.detail else ""
        self.stdout.write(f"{found.damage.value}: {found.battery}{where}{unit}{detail}")

    def _conclude(self, checked: Checked, n_found: int, seconds: float) -> None:
        figures = {
            "chains": checked.chains,
            "events": checked.events,
            "manifests": checked.manifests,
            "joint_events": checked.joint_events,
            "submissions": checked.units,
            "damage": n_found,
        }
        if self._is_json:
            rounded = {"seconds": f"{seconds:.3f}"}
            self.stdout.write(json.dumps({"checked": figures | rounded}))
            return
        words = ", ".join(f"{name} {number:,}" for name, number in figures.items())
        self.stdout.write(f"{words} in {seconds:.1f} s")
        if not n_found and not checked.events:
            self.stdout.write("Nothing was verified: there is no such chain.")
