"""The append, redaction and hashing functions: the single writer of records.

Lists of single statements: a distributed database takes one at a time. Refusals of our own carry
SQLSTATE class LG (LG001 stale head, LG002 malformed call, LG003 append-only); branch on these.
"""

from django.db import migrations

UNIT_SEQUENCE = [
    # CACHE must stay 1, or unit order may not follow lock order.
    "CREATE SEQUENCE ledger_unit AS bigint CACHE 1",
]

RECORD = """
CREATE FUNCTION ledger_leaf(
    kind smallint, seq integer, occurred_at timestamptz, recorded_at timestamptz, actor bigint,
    site integer, schema smallint, code text, prev bytea, pcommit bytea
) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS $$
SELECT sha256(
    '\\x000101'::bytea || int2send(kind) || int4send(seq)
    || int8send((extract(epoch FROM occurred_at) * 1000000)::bigint)
    || int8send((extract(epoch FROM recorded_at) * 1000000)::bigint)
    || int8send(actor) || int4send(site) || int2send(schema)
    || set_byte('\\x00'::bytea, 0, octet_length(code)) || convert_to(code, 'UTF8')
    || prev || pcommit)
$$
"""

COMMITMENT = """
CREATE FUNCTION ledger_commitment(
    salt bytea, body text, event_id uuid, participants_n integer, participants_hash bytea
) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT CASE WHEN event_id IS NULL THEN
    sha256('ledger/payload/v1\\000'::bytea || salt || convert_to(body, 'UTF8'))
ELSE
    sha256('ledger/joint/v1\\000'::bytea || uuid_send(event_id) || int4send(participants_n)
           || participants_hash
           || sha256('ledger/payload/v1\\000'::bytea || salt || convert_to(body, 'UTF8')))
END
$$
"""

# The head of one chain, locked. A chain of one record has no head row yet: it is made here, so
# that the row lock exists before anything is decided.
LOCK_HEAD = """
CREATE FUNCTION ledger_lock_head(INOUT battery uuid, expected integer, OUT last_leaf bytea,
                                 OUT last_recorded timestamptz)
LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
DECLARE
    found_seq integer;
BEGIN
    SELECT h.seq, h.leaf, h.recorded_at INTO found_seq, last_leaf, last_recorded
    FROM public.head h WHERE h.battery_id = battery FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO public.head (battery_id, seq, leaf, recorded_at)
        SELECT e.battery_id, e.seq, e.leaf, e.recorded_at
        FROM public.event e WHERE e.battery_id = battery ORDER BY e.seq DESC LIMIT 1
        ON CONFLICT DO NOTHING;
        SELECT h.seq, h.leaf, h.recorded_at INTO found_seq, last_leaf, last_recorded
        FROM public.head h WHERE h.battery_id = battery FOR UPDATE;
    END IF;
    IF found_seq IS DISTINCT FROM expected THEN
        RAISE EXCEPTION 'head of % is at %, not at %', battery, found_seq, expected
            USING ERRCODE = 'LG001';
    END IF;
END $$
"""

# One event in one round trip: lock, number, chain, hash, insert, queue.
APPEND = """
CREATE FUNCTION ledger_append(
    p_battery uuid, p_code text, p_expected integer, p_kind smallint, p_schema smallint,
    p_occurred timestamptz, p_actor bigint, p_site integer, p_body text, p_salt bytea,
    OUT o_unit bigint, OUT o_seq integer, OUT o_recorded timestamptz, OUT o_leaf bytea
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    prev bytea := '\\x0000000000000000000000000000000000000000000000000000000000000000';
    found_seq integer := -1;
    last_recorded timestamptz;
BEGIN
    IF p_battery <> encode(substr(sha256(convert_to(p_code, 'UTF8')), 1, 16), 'hex')::uuid THEN
        RAISE EXCEPTION 'battery id is not that of the code' USING ERRCODE = 'LG002';
    END IF;
    IF p_expected >= 0 THEN
        SELECT h.seq, h.leaf, h.recorded_at INTO found_seq, prev, last_recorded
        FROM public.head h WHERE h.battery_id = p_battery FOR UPDATE;
        IF found_seq IS DISTINCT FROM p_expected THEN
            -- a head that is missing is made and locked; one that moved is refused
            SELECT l.last_leaf, l.last_recorded INTO prev, last_recorded
            FROM public.ledger_lock_head(p_battery, p_expected) l;
        END IF;
    END IF;
    -- the unit is drawn after the lock: unit order must follow chain order, else a later record
    -- of a battery could be sealed before an earlier one
    o_unit := nextval('public.ledger_unit');
    o_seq := p_expected + 1;
    o_recorded := greatest(clock_timestamp(), last_recorded);
    o_leaf := public.ledger_leaf(
        p_kind, o_seq, p_occurred, o_recorded, p_actor, p_site, p_schema, p_code, prev,
        sha256('ledger/payload/v1\\000'::bytea || p_salt || convert_to(p_body, 'UTF8')));
    INSERT INTO public.event (battery_id, seq, kind, schema, site, occurred_at, recorded_at, actor,
                              unit, ordinal, body, salt, leaf)
    VALUES (p_battery, o_seq, p_kind, p_schema, p_site, p_occurred, o_recorded, p_actor,
            o_unit, 0, p_body, p_salt, o_leaf);
    IF p_expected >= 0 THEN
        UPDATE public.head SET seq = o_seq, leaf = o_leaf, recorded_at = o_recorded
        WHERE battery_id = p_battery;
    END IF;
    INSERT INTO public.unit_queue (unit, n) VALUES (o_unit, 1);
END $$
"""

# Many events of many chains as one submission: heads locked one by one in battery order, one
# clock reading under the locks, one number, one set-based insert. Several events of one battery
# follow each other in the order given; only the first states what it expects.
APPEND_MANY = """
CREATE FUNCTION ledger_append_many(
    p_battery uuid[], p_code text[], p_expected integer[], p_kind smallint[], p_schema smallint[],
    p_occurred timestamptz[], p_actor bigint, p_site integer[], p_body text[], p_salt bytea[],
    p_event_id uuid[], p_participants_n integer[], p_participants_hash bytea[],
    OUT o_unit bigint, OUT o_recorded timestamptz[], OUT o_seq integer[], OUT o_leaf bytea[]
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    zeros constant bytea :=
        '\\x0000000000000000000000000000000000000000000000000000000000000000';
    chain record;
    item record;
    now_under_lock timestamptz;
    prev bytea;
    seq_here integer;
    recorded timestamptz;
    battery_here uuid;
BEGIN
    PERFORM 1 FROM unnest(p_battery, p_code) AS t(battery, code)
    WHERE t.battery <> encode(substr(sha256(convert_to(t.code, 'UTF8')), 1, 16), 'hex')::uuid;
    IF FOUND THEN
        RAISE EXCEPTION 'a battery id is not that of its code' USING ERRCODE = 'LG002';
    END IF;
    FOR chain IN
        SELECT DISTINCT ON (t.battery) t.battery, t.expected
        FROM unnest(p_battery, p_expected) WITH ORDINALITY AS t(battery, expected, k)
        WHERE t.expected IS NOT NULL ORDER BY t.battery, t.k
    LOOP
        IF chain.expected >= 0 THEN
            PERFORM public.ledger_lock_head(chain.battery, chain.expected);
        END IF;
    END LOOP;
    o_unit := nextval('public.ledger_unit');
    now_under_lock := clock_timestamp();
    o_seq := array_fill(0, ARRAY[cardinality(p_battery)]);
    o_leaf := array_fill(NULL::bytea, ARRAY[cardinality(p_battery)]);
    o_recorded := array_fill(NULL::timestamptz, ARRAY[cardinality(p_battery)]);
    FOR item IN
        SELECT t.*, h.leaf AS head_leaf, h.recorded_at AS head_recorded
        FROM unnest(p_battery, p_code, p_expected, p_kind, p_schema, p_occurred, p_site, p_body,
                    p_salt, p_event_id, p_participants_n, p_participants_hash)
             WITH ORDINALITY AS t(battery, code, expected, kind, schema, occurred, site, body,
                                  salt, event_id, participants_n, participants_hash, k)
             LEFT JOIN public.head h ON h.battery_id = t.battery AND t.expected >= 0
        ORDER BY t.battery, t.k
    LOOP
        IF item.battery IS DISTINCT FROM battery_here THEN
            battery_here := item.battery;
            seq_here := item.expected;
            prev := CASE WHEN item.expected < 0 THEN zeros ELSE item.head_leaf END;
            recorded := greatest(now_under_lock, item.head_recorded);
        END IF;
        seq_here := seq_here + 1;
        prev := public.ledger_leaf(
            item.kind, seq_here, item.occurred, recorded, p_actor, item.site, item.schema,
            item.code, prev,
            public.ledger_commitment(item.salt, item.body, item.event_id, item.participants_n,
                                     item.participants_hash));
        o_seq[item.k] := seq_here;
        o_leaf[item.k] := prev;
        o_recorded[item.k] := recorded;
    END LOOP;
    INSERT INTO public.event (battery_id, seq, kind, schema, site, occurred_at, recorded_at, actor,
                              unit, ordinal, event_id, participants_n, participants_hash, body,
                              salt, leaf)
    SELECT t.battery, t.seq, t.kind, t.schema, t.site, t.occurred, t.recorded, p_actor,
           o_unit, t.k - 1, t.event_id, t.participants_n, t.participants_hash, t.body,
           t.salt, t.leaf
    FROM unnest(p_battery, o_seq, p_kind, p_schema, p_site, p_occurred, o_recorded, p_event_id,
                p_participants_n, p_participants_hash, p_body, p_salt, o_leaf)
         WITH ORDINALITY AS t(battery, seq, kind, schema, site, occurred, recorded, event_id,
                              participants_n, participants_hash, body, salt, leaf, k);
    -- the last record of each chain becomes its head; a chain of one record has none yet
    INSERT INTO public.head (battery_id, seq, leaf, recorded_at)
    SELECT DISTINCT ON (t.battery) t.battery, t.seq, t.leaf, t.recorded
    FROM unnest(p_battery, o_seq, o_leaf, o_recorded) AS t(battery, seq, leaf, recorded)
    WHERE t.seq > 0 ORDER BY t.battery, t.seq DESC
    ON CONFLICT (battery_id) DO UPDATE
    SET seq = excluded.seq, leaf = excluded.leaf, recorded_at = excluded.recorded_at;
    INSERT INTO public.unit_queue (unit, n) VALUES (o_unit, cardinality(p_battery));
END $$
"""

# The bulk path draws its number and queues it here; the events follow by COPY.
OPEN_UNIT = """
CREATE FUNCTION ledger_open_unit(p_n integer, OUT o_unit bigint, OUT o_now timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF p_n NOT BETWEEN 1 AND 1048576 THEN
        RAISE EXCEPTION 'a submission holds 1 to 1048576 events' USING ERRCODE = 'LG002';
    END IF;
    o_unit := nextval('public.ledger_unit');
    o_now := clock_timestamp();
    INSERT INTO public.unit_queue (unit, n) VALUES (o_unit, p_n);
END $$
"""

# Redaction: payload and salt go, the commitment stays. The guard checks that it is the right one.
REDACT = """
CREATE FUNCTION ledger_redact(p_battery uuid, p_seq integer) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    UPDATE public.event
    SET pcommit = sha256('ledger/payload/v1\\000'::bytea || salt || convert_to(body, 'UTF8')),
        body = NULL, salt = NULL
    WHERE battery_id = p_battery AND seq = p_seq AND body IS NOT NULL;
    RETURN FOUND;
END $$
"""


DROP_FUNCTIONS = [
    "DROP FUNCTION ledger_redact",
    "DROP FUNCTION ledger_open_unit",
    "DROP FUNCTION ledger_append_many",
    "DROP FUNCTION ledger_append",
    "DROP FUNCTION ledger_lock_head",
    "DROP FUNCTION ledger_commitment",
    "DROP FUNCTION ledger_leaf",
]


class Migration(migrations.Migration):
    dependencies = [("traceability", "0001_initial")]

    operations = [
        # Heads are rewritten in place, over and over: room for it keeps them on their page.
        migrations.RunSQL(
            ["ALTER TABLE head SET (fillfactor = 70)"], ["ALTER TABLE head RESET (fillfactor)"]
        ),
        migrations.RunSQL(UNIT_SEQUENCE, ["DROP SEQUENCE ledger_unit"]),
        migrations.RunSQL(
            [RECORD, COMMITMENT, LOCK_HEAD, APPEND, APPEND_MANY, OPEN_UNIT, REDACT], DROP_FUNCTIONS
        ),
    ]
