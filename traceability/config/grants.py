"""Who may do what to which table: the second lock beside the guards, applied after each migrate.

The roles themselves are made by whoever runs the cluster (the launcher, the test plugin, an
administrator): a migration that needed CREATEROLE could not run as a mere owner.
"""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

APP, LOADER, SEALER, AUDIT = "ledger_app", "ledger_loader", "ledger_sealer", "ledger_audit"
ROLES = (APP, LOADER, SEALER, AUDIT)

EVERYTHING = "SELECT, INSERT, UPDATE, DELETE"

# Tables not named here belong to the product's ordinary work: everything for APP and LOADER.
RIGHTS: dict[str, dict[str, str]] = {
    "event": {APP: "SELECT", LOADER: "SELECT, INSERT", SEALER: "SELECT", AUDIT: "SELECT"},
    "head": {APP: "SELECT", LOADER: "SELECT", SEALER: "SELECT", AUDIT: "SELECT"},
    "unit_queue": {APP: "SELECT", LOADER: "SELECT", SEALER: "SELECT, DELETE", AUDIT: "SELECT"},
    "manifest": {APP: "SELECT, INSERT", LOADER: "SELECT, INSERT", AUDIT: "SELECT"},
    "submission": {
        APP: "SELECT, INSERT, UPDATE",
        LOADER: "SELECT, INSERT, UPDATE",
        SEALER: "SELECT",
        AUDIT: "SELECT",
    },
    "battery": {
        APP: EVERYTHING,
        LOADER: EVERYTHING,
        SEALER: "SELECT",
        AUDIT: "SELECT",
    },
    "component": {APP: EVERYTHING, LOADER: EVERYTHING, AUDIT: "SELECT"},
    "cell_fingerprint": {APP: EVERYTHING, LOADER: EVERYTHING, AUDIT: "SELECT"},
    "django_migrations": {APP: "SELECT", LOADER: "SELECT", SEALER: "SELECT", AUDIT: "SELECT"},
}

FUNCTION_RIGHTS: dict[str, tuple[str, ...]] = {
    "ledger_append": (APP, LOADER),
    "ledger_append_many": (APP, LOADER),
    "ledger_open_unit": (LOADER,),
    "ledger_redact": (APP, LOADER),
    "ledger_leaf": ROLES,
    "ledger_commitment": ROLES,
    "ledger_lock_head": (),
}


def apply_grants(using: str) -> None:
    """Bring the privileges of the four service roles to exactly what stands above.

    Raises:
        ImproperlyConfigured: a role does not exist in this cluster.
    """
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", (list(ROLES),))
        missing = set(ROLES) - {name for (name,) in cursor.fetchall()}
        if missing:
            raise ImproperlyConfigured(
                f"The database has no role {', '.join(sorted(missing))}: make them first "
                "(CREATE ROLE … LOGIN), then migrate again."
            )
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = [name for (name,) in cursor.fetchall()]
        cursor.execute(_statement(tables))


def _statement(tables: list[str]) -> str:
    roles = ", ".join(ROLES)
    ordinary = [name for name in tables if name not in RIGHTS]
    grants = [
        f"GRANT USAGE ON SCHEMA public TO {roles}",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {roles}, PUBLIC",
        f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM {roles}, PUBLIC",
        f"REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM {roles}, PUBLIC",
    ]
    grants += [f'GRANT {EVERYTHING} ON "{table}" TO {APP}, {LOADER}' for table in ordinary]
    grants += [
        f'GRANT {privileges} ON "{table}" TO {role}'
        for table, rights in RIGHTS.items()
        if table in tables
        for role, privileges in rights.items()
    ]
    # Identity columns draw from sequences of their own; the unit number only from the functions.
    grants += [
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {APP}, {LOADER}",
        f"REVOKE ALL ON SEQUENCE ledger_unit FROM {roles}",
    ]
    grants += [
        f"GRANT EXECUTE ON FUNCTION {function} TO {', '.join(roles_of)}"
        for function, roles_of in FUNCTION_RIGHTS.items()
        if roles_of
    ]
    return "; ".join(grants)
