from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection

from tests.committed import empty


@pytest.fixture
def committed(django_db_setup, django_db_blocker) -> Iterator[None]:
    """Give the test a database whose commits are real, empty before and after."""
    with django_db_blocker.unblock():
        empty()
        try:
            yield
        finally:
            empty()
            connection.close()
