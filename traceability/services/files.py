"""Original files, kept under their hash below the data folder.

The database knows the hash; the folder holds the bytes.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.conf import settings

from traceability.core.errors import Malformed, NotFound
from traceability.models.intake import StoredFile


@dataclass(frozen=True, slots=True)
class Received:
    """A file on disk that the database does not know yet. `sha256` has 32 bytes."""

    sha256: bytes
    size_bytes: int


def receive(chunks: Iterable[bytes]) -> Received:
    """Write the bytes below the data folder under their hash and return what they are.

    The file is complete and durable before anybody can name it: temporary name, fsync, rename.

    Raises:
        Malformed: more bytes than LEDGER_MAX_UPLOAD_BYTES.
    """
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".incoming-{secrets.token_hex(8)}"
    digest = hashlib.sha256()
    size = 0
    try:
        with temporary.open("xb") as out:
            for chunk in chunks:
                size += len(chunk)
                if size > settings.LEDGER_MAX_UPLOAD_BYTES:
                    raise FileTooLarge(field="file", limit_bytes=settings.LEDGER_MAX_UPLOAD_BYTES)
                digest.update(chunk)
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
        final = path_of(digest.digest())
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)
    return Received(digest.digest(), size)


class FileTooLarge(Malformed):
    """More bytes than this installation takes. Params: field, limit_bytes."""

    code = "file_too_large"


def know(received: Received, *, now: datetime) -> StoredFile:
    """Return the row of a received file, made if these bytes are new."""
    file, _ = StoredFile.objects.get_or_create(
        sha256=received.sha256, defaults={"size_bytes": received.size_bytes, "stored_at": now}
    )
    return file


def path_of(sha256: bytes) -> Path:
    """Return where a file of this hash lies (or would lie)."""
    name = bytes(sha256).hex()
    return _folder() / name[:2] / name


def existing_path(file: StoredFile) -> Path:
    """Return the path of a file whose bytes are still kept.

    Raises:
        NotFound: it was erased, or its bytes are gone from the disk.
    """
    path = path_of(bytes(file.sha256))
    if file.erased_at is not None or not path.exists():
        raise NotFound(what="file", key=bytes(file.sha256).hex())
    return path


def _folder() -> Path:
    return Path(settings.LEDGER_DATA) / "files"
