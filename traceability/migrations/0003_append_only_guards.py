"""The event table refuses every change but one: the erasure of a payload by its right commitment.

ENABLE ALWAYS, so that `session_replication_role = replica` does not step around the guards.
"""

from django.db import migrations

GUARD = """
CREATE FUNCTION ledger_guard() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public AS $$
BEGIN
    IF tg_op = 'UPDATE' THEN
        IF old.body IS NOT NULL AND new.body IS NULL AND new.salt IS NULL
            AND new.pcommit = sha256('ledger/payload/v1\\000'::bytea || old.salt
                                     || convert_to(old.body, 'UTF8'))
            AND (to_jsonb(new) - ARRAY['body', 'salt', 'pcommit'])
              = (to_jsonb(old) - ARRAY['body', 'salt', 'pcommit'])
        THEN
            RETURN new;
        END IF;
    END IF;
    RAISE EXCEPTION 'the ledger is append-only (%)', tg_op USING ERRCODE = 'LG003';
END $$
"""

GUARD_TRIGGERS = [
    "CREATE TRIGGER guard_rows BEFORE UPDATE OR DELETE ON event "
    "FOR EACH ROW EXECUTE FUNCTION ledger_guard()",
    "CREATE TRIGGER guard_truncate BEFORE TRUNCATE ON event "
    "FOR EACH STATEMENT EXECUTE FUNCTION ledger_guard()",
    "ALTER TABLE event ENABLE ALWAYS TRIGGER guard_rows",
    "ALTER TABLE event ENABLE ALWAYS TRIGGER guard_truncate",
]



class Migration(migrations.Migration):
    dependencies = [("traceability", "0002_ledger_functions")]

    operations = [
        migrations.RunSQL([GUARD], ["DROP FUNCTION ledger_guard()"]),
        migrations.RunSQL(
            GUARD_TRIGGERS,
            ["DROP TRIGGER guard_rows ON event", "DROP TRIGGER guard_truncate ON event"],
        ),
    ]
