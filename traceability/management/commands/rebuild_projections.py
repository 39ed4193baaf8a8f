"""`manage.py rebuild_projections [--check] [--battery CODE]`: do stored rows equal the events?"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from django.core.management.base import BaseCommand

from traceability.core.codes import battery_id_of, normalise
from traceability.services import rebuilding


class Command(BaseCommand):
    """Computes all projections from the events, names what differs, and puts it right.

    With `--check` nothing is written. Each difference is one JSON object on a line of its own.
    Exit code 0: nothing differs, or it has been put right; 1: something differs.
    """

    help = "Hold stored projections against the events; without --check, rewrite what is wrong."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments."""
        parser.add_argument("--check", action="store_true", help="only name the differences")
        parser.add_argument("--battery", metavar="CODE", action="append", help="only this battery")

    def handle(self, *_: Any, **options: Any) -> None:
        """Run the command."""
        ids = None
        if options["battery"]:
            ids = [battery_id_of(normalise(code)) for code in options["battery"]]
        only_check = options["check"]
        differences = (rebuilding.check if only_check else rebuilding.rebuild)(ids)
        n_left = 0
        for one in differences:
            n_left += only_check or one.wrong == "unreadable"
            self.stdout.write(
                json.dumps(
                    {
                        "table": one.table,
                        "battery_id": str(one.battery_id),
                        "row": one.row,
                        "wrong": one.wrong,
                    },
                    ensure_ascii=False,
                )
            )
        if n_left:
            sys.exit(1)
