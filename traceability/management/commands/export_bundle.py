"""`manage.py export_bundle CODE [--output FILE]`: one battery's history, to be verified offline."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from traceability.core.errors import TraceabilityError
from traceability.queries import bundles


class Command(BaseCommand):
    """Writes everything there is about a battery: whoever can run this sees it anyway."""

    help = "Export a battery's records and manifests; verify with traceability.core.bundle."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments."""
        parser.add_argument("code", metavar="CODE")
        parser.add_argument("--output", type=Path, metavar="FILE", help="instead of the screen")

    def handle(self, *_: Any, **options: Any) -> None:
        """Run the command."""
        try:
            text = bundles.whole_bundle_of(options["code"])
        except TraceabilityError as refusal:
            raise CommandError(str(refusal)) from refusal
        output: Path | None = options["output"]
        if output is None:
            self.stdout.write(text, ending="")
            return
        try:
            # Bytes: a platform that translates line feeds would break the checksum.
            output.write_bytes(text.encode())
        except OSError as error:
            raise CommandError(f"{output}: {error.strerror}") from error
        self.stdout.write(f"{output}: python -m traceability.core.bundle {output}")
