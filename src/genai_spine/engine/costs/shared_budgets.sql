-- Budgets that several processes share, in PostgreSQL: the same decisions as those of shared_budgets.lua, from the same
-- numbers, with the same answers. Amounts are nano-dollars and tokens; moments are of the server's clock.
--
-- `budgets_2` takes many commands in one transaction, [{"do", "id", "lease" (µs), "process", "of": [[name, number, …],
-- …]}, …], and answers with a list for each. The rows of all their budgets are locked first, in the order of their
-- names, so that processes wait for each other and never in a circle. Run again, this file changes nothing; a later
-- version of a function gets another number, since processes of both may be at work.

-- IF NOT EXISTS asks for the right to make one also where an administrator has made it.
DO $$ BEGIN IF to_regnamespace('genai_spine') IS NULL THEN CREATE SCHEMA genai_spine; END IF; END $$;

CREATE TABLE IF NOT EXISTS genai_spine.budget_sum (
    name TEXT PRIMARY KEY, usd BIGINT NOT NULL DEFAULT 0, tokens BIGINT NOT NULL DEFAULT 0,
    held_usd BIGINT NOT NULL DEFAULT 0, held_tokens BIGINT NOT NULL DEFAULT 0,
    told_1 BOOLEAN NOT NULL DEFAULT FALSE, told_2 BOOLEAN NOT NULL DEFAULT FALSE, forgotten_at TIMESTAMPTZ
) WITH (fillfactor = 50); -- a row is changed many times a second, and that within its page
ALTER TABLE genai_spine.budget_sum ADD COLUMN IF NOT EXISTS base_usd BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS base_tokens BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS told TEXT[] NOT NULL DEFAULT '{}';
CREATE INDEX IF NOT EXISTS budget_sum_forgotten ON genai_spine.budget_sum (forgotten_at);

CREATE TABLE IF NOT EXISTS genai_spine.budget_call (
    name TEXT NOT NULL, id TEXT NOT NULL, usd BIGINT NOT NULL, tokens BIGINT NOT NULL, ends_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (id, name)
);
CREATE INDEX IF NOT EXISTS budget_call_ends ON genai_spine.budget_call (name, ends_at);

CREATE TABLE IF NOT EXISTS genai_spine.budget_process (
    name TEXT NOT NULL, process TEXT NOT NULL, PRIMARY KEY (name, process)
);
ALTER TABLE genai_spine.budget_process ADD COLUMN IF NOT EXISTS last BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS usd BIGINT NOT NULL DEFAULT 0, ADD COLUMN IF NOT EXISTS tokens BIGINT NOT NULL DEFAULT 0;

-- What a process that died has held counts as spent when its time is over.
CREATE OR REPLACE FUNCTION genai_spine.budget_expire_1(of_name TEXT) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE
    by_now TIMESTAMPTZ := clock_timestamp(); -- an index looks for a moment, not for a function
    gone RECORD;
BEGIN
    WITH deleted AS (
        DELETE FROM genai_spine.budget_call WHERE name = of_name AND ends_at <= by_now RETURNING usd, tokens
    ) SELECT sum(usd)::BIGINT AS usd, sum(tokens)::BIGINT AS tokens INTO gone FROM deleted;
    IF gone.usd IS NOT NULL THEN
        UPDATE genai_spine.budget_sum SET usd = usd + gone.usd, tokens = tokens + gone.tokens,
            held_usd = held_usd - gone.usd, held_tokens = held_tokens - gone.tokens WHERE name = of_name;
    END IF;
END $$;

-- A process that comes to a budget raises its sums to what it knows, `k`: 1 if it was told so here, which it is where the
-- sums were lost, and 0 if by its ledger; what is spent; what its own calls hold; how much of what it used alone is among
-- what is spent; when the sums are forgotten (ms; 0: never).
CREATE OR REPLACE FUNCTION genai_spine.budget_restore_2(of_name TEXT, by_process TEXT, k BIGINT[]) RETURNS VOID
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO genai_spine.budget_process (name, process, usd, tokens) VALUES (of_name, by_process, k[6], k[7])
        ON CONFLICT DO NOTHING;
    IF FOUND THEN
        UPDATE genai_spine.budget_sum SET
            usd = usd + k[4] + greatest(0, k[2] - CASE k[1] WHEN 1 THEN base_usd ELSE usd + held_usd END),
            base_usd = base_usd + greatest(0, k[2] - CASE k[1] WHEN 1 THEN base_usd ELSE usd + held_usd END),
            tokens = tokens + k[5] + greatest(0, k[3] - CASE k[1] WHEN 1 THEN base_tokens ELSE tokens + held_tokens END),
            base_tokens = base_tokens
                + greatest(0, k[3] - CASE k[1] WHEN 1 THEN base_tokens ELSE tokens + held_tokens END),
            forgotten_at = CASE WHEN k[8] > 0 THEN clock_timestamp() + k[8] * INTERVAL '1 millisecond' END
            WHERE name = of_name;
    END IF;
END $$;

-- What a process used while the server was away, all since it began, so that it may be told twice, and late.
CREATE OR REPLACE FUNCTION genai_spine.budget_tell_2(of_name TEXT, by_process TEXT, alone BIGINT[]) RETURNS VOID
LANGUAGE plpgsql AS $$
DECLARE
    before RECORD;
BEGIN
    SELECT last, usd, tokens INTO before FROM genai_spine.budget_process WHERE name = of_name AND process = by_process;
    IF alone[3] > before.last AND (alone[1] <> before.usd OR alone[2] <> before.tokens) THEN
        UPDATE genai_spine.budget_process SET usd = alone[1], tokens = alone[2], last = alone[3]
            WHERE name = of_name AND process = by_process;
        UPDATE genai_spine.budget_sum SET usd = usd + alone[1] - before.usd, tokens = tokens + alone[2] - before.tokens
            WHERE name = of_name;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION genai_spine.budget_is_finished_2(of_name TEXT, of_id TEXT) RETURNS BOOLEAN LANGUAGE sql AS $$
    SELECT EXISTS (SELECT FROM genai_spine.budget_call WHERE id = 'finished:' || of_id AND name = of_name)
$$;

-- Of each: limits (usd, tokens; -1: none), amounts, what the process used while the server was away and a number that
-- grows, what it knows. A `look` takes nothing.
CREATE OR REPLACE FUNCTION genai_spine.budget_take_2(command JSONB) RETURNS JSONB LANGUAGE plpgsql AS $$
DECLARE
    names TEXT[] := ARRAY(SELECT one->>0 FROM jsonb_array_elements(command->'of') one);
    numbers JSONB := command->'of';
    n BIGINT[];
    s RECORD;
    has_room BOOLEAN := TRUE;
    answer JSONB := '[]';
BEGIN
    FOR i IN 1..cardinality(names) LOOP
        n := ARRAY(SELECT x::BIGINT FROM jsonb_array_elements_text((numbers->(i - 1)) - 0) x);
        PERFORM genai_spine.budget_expire_1(names[i]);
        PERFORM genai_spine.budget_restore_2(names[i], command->>'process', n[8:15]);
        PERFORM genai_spine.budget_tell_2(names[i], command->>'process', n[5:7]);
        has_room := has_room AND NOT genai_spine.budget_is_finished_2(names[i], command->>'id');
        SELECT usd + held_usd AS usd, tokens + held_tokens AS tokens INTO s
            FROM genai_spine.budget_sum WHERE name = names[i];
        IF (n[1] >= 0 AND n[3] > 0 AND s.usd + n[3] > n[1]) OR (n[2] >= 0 AND n[4] > 0 AND s.tokens + n[4] > n[2]) THEN
            has_room := FALSE;
        END IF;
    END LOOP;
    FOR i IN 1..cardinality(names) LOOP
        IF has_room AND command->>'do' = 'take' THEN
            n[3:4] := ARRAY[(numbers->(i - 1)->>3)::BIGINT, (numbers->(i - 1)->>4)::BIGINT];
            INSERT INTO genai_spine.budget_call VALUES (names[i], command->>'id', n[3], n[4],
                clock_timestamp() + (command->>'lease')::BIGINT * INTERVAL '1 microsecond');
            UPDATE genai_spine.budget_sum SET held_usd = held_usd + n[3], held_tokens = held_tokens + n[4]
                WHERE name = names[i];
        END IF;
        SELECT usd, tokens, held_usd, held_tokens INTO s FROM genai_spine.budget_sum WHERE name = names[i];
        answer := answer || jsonb_build_array(s.usd, s.tokens, s.held_usd, s.held_tokens);
    END LOOP;
    RETURN jsonb_build_array(has_room::INT) || answer;
END $$;

-- Of each: amounts. Of a call whose time was over, and of one that was under way when the sums were lost, all that is
-- held is spent.
CREATE OR REPLACE FUNCTION genai_spine.budget_grow_2(command JSONB) RETURNS JSONB LANGUAGE plpgsql AS $$
DECLARE one JSONB;
BEGIN
    FOR one IN SELECT value FROM jsonb_array_elements(command->'of') LOOP
        UPDATE genai_spine.budget_call SET usd = usd + (one->>1)::BIGINT, tokens = tokens + (one->>2)::BIGINT,
            ends_at = clock_timestamp() + (command->>'lease')::BIGINT * INTERVAL '1 microsecond'
            WHERE name = one->>0 AND id = command->>'id';
        IF FOUND THEN
            UPDATE genai_spine.budget_sum SET held_usd = held_usd + (one->>1)::BIGINT,
                held_tokens = held_tokens + (one->>2)::BIGINT WHERE name = one->>0;
        ELSE
            UPDATE genai_spine.budget_sum SET usd = usd + (one->>1)::BIGINT, tokens = tokens + (one->>2)::BIGINT
                WHERE name = one->>0 AND EXISTS (SELECT FROM genai_spine.budget_process p
                    WHERE p.name = one->>0 AND p.process = command->>'process')
                AND NOT genai_spine.budget_is_finished_2(one->>0, command->>'id');
        END IF;
    END LOOP;
    RETURN '[]';
END $$;

-- Of each: what was held, what was used, levels (usd and tokens of the next two; -1: none), what the process knows. It
-- answers with the sums, and for each level whether it was reached by this.
CREATE OR REPLACE FUNCTION genai_spine.budget_settle_2(command JSONB) RETURNS JSONB LANGUAGE plpgsql AS $$
DECLARE
    one JSONB;
    n BIGINT[];
    held RECORD;
    s RECORD;
    levels TEXT[]; -- of a limit that was changed, another one may be reached
    told_1_now BOOLEAN;
    told_2_now BOOLEAN;
    answer JSONB := '[]';
BEGIN
    FOR one IN SELECT value FROM jsonb_array_elements(command->'of') LOOP
        n := ARRAY(SELECT x::BIGINT FROM jsonb_array_elements_text(one - 0) x);
        PERFORM genai_spine.budget_restore_2(one->>0, command->>'process', n[9:16]);
        DELETE FROM genai_spine.budget_call WHERE name = one->>0 AND id = command->>'id'
            RETURNING usd, tokens INTO held;
        IF FOUND THEN
            UPDATE genai_spine.budget_sum SET usd = usd + n[3], tokens = tokens + n[4],
                held_usd = held_usd - held.usd, held_tokens = held_tokens - held.tokens WHERE name = one->>0;
        ELSE -- its time was over, or the sums were lost, and what it held counts as spent
            UPDATE genai_spine.budget_sum SET usd = usd + n[3] - n[1], tokens = tokens + n[4] - n[2]
                WHERE name = one->>0 AND NOT genai_spine.budget_is_finished_2(one->>0, command->>'id');
        END IF;
        SELECT * INTO s FROM genai_spine.budget_sum WHERE name = one->>0;
        levels := ARRAY[n[5] || ':' || n[6], n[7] || ':' || n[8]];
        told_1_now := levels[1] <> ALL (s.told) AND ((n[5] > 0 AND s.usd >= n[5]) OR (n[6] > 0 AND s.tokens >= n[6]));
        told_2_now := levels[2] <> ALL (s.told) AND ((n[7] > 0 AND s.usd >= n[7]) OR (n[8] > 0 AND s.tokens >= n[8]));
        IF told_1_now OR told_2_now THEN
            UPDATE genai_spine.budget_sum SET told = told || CASE WHEN told_1_now THEN levels[1:1] ELSE '{}' END
                || CASE WHEN told_2_now THEN levels[2:2] ELSE '{}' END WHERE name = one->>0;
        END IF;
        answer := answer
            || jsonb_build_array(s.usd, s.tokens, s.held_usd, s.held_tokens, told_1_now::INT, told_2_now::INT);
    END LOOP;
    RETURN answer;
END $$;

-- Of each: what was used. As settle, for a take or a settle of which nobody knows whether it was heard: nothing, where
-- the call holds nothing; what is heard of the call later, comes too late.
CREATE OR REPLACE FUNCTION genai_spine.budget_finish_2(command JSONB) RETURNS JSONB LANGUAGE plpgsql AS $$
DECLARE
    one JSONB;
    held RECORD;
BEGIN
    FOR one IN SELECT value FROM jsonb_array_elements(command->'of') LOOP
        DELETE FROM genai_spine.budget_call WHERE name = one->>0 AND id = command->>'id'
            RETURNING usd, tokens INTO held;
        IF FOUND THEN
            UPDATE genai_spine.budget_sum SET usd = usd + (one->>1)::BIGINT, tokens = tokens + (one->>2)::BIGINT,
                held_usd = held_usd - held.usd, held_tokens = held_tokens - held.tokens WHERE name = one->>0;
        END IF;
        INSERT INTO genai_spine.budget_call VALUES (one->>0, 'finished:' || (command->>'id'), 0, 0,
            clock_timestamp() + (command->>'lease')::BIGINT * INTERVAL '1 microsecond') ON CONFLICT DO NOTHING;
    END LOOP;
    RETURN '[]';
END $$;

-- Windows that were over long ago, a few at a time.
CREATE OR REPLACE FUNCTION genai_spine.budget_forget_1() RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE
    by_now TIMESTAMPTZ := clock_timestamp();
    old TEXT[];
BEGIN
    WITH deleted AS (
        DELETE FROM genai_spine.budget_sum WHERE name IN (
            SELECT name FROM genai_spine.budget_sum WHERE forgotten_at <= by_now LIMIT 100
            FOR UPDATE SKIP LOCKED
        ) RETURNING name
    ) SELECT array_agg(name) INTO old FROM deleted;
    DELETE FROM genai_spine.budget_call WHERE name = ANY (old);
    DELETE FROM genai_spine.budget_process WHERE name = ANY (old);
END $$;

-- `patience` is for how long the rows of others are waited for (ms): who asked has given up by then.
CREATE OR REPLACE FUNCTION genai_spine.budgets_2(commands JSONB, patience INT) RETURNS JSONB LANGUAGE plpgsql AS $$
DECLARE
    command JSONB;
    is_new BOOLEAN;
    answers JSONB := '[]';
BEGIN
    PERFORM set_config('lock_timeout', patience::TEXT, TRUE);
    WITH locked AS (
        INSERT INTO genai_spine.budget_sum (name)
        SELECT DISTINCT one->>0 FROM jsonb_array_elements(commands) c, jsonb_array_elements(c->'of') one ORDER BY 1
        ON CONFLICT (name) DO UPDATE SET name = excluded.name
        RETURNING xmax = 0 AS is_inserted
    ) SELECT bool_or(is_inserted) INTO is_new FROM locked;
    IF is_new THEN
        PERFORM genai_spine.budget_forget_1();
    END IF;
    FOR command IN SELECT value FROM jsonb_array_elements(commands) LOOP
        answers := answers || jsonb_build_array(CASE command->>'do'
            WHEN 'settle' THEN genai_spine.budget_settle_2(command)
            WHEN 'grow' THEN genai_spine.budget_grow_2(command)
            WHEN 'finish' THEN genai_spine.budget_finish_2(command)
            ELSE genai_spine.budget_take_2(command)
        END);
    END LOOP;
    RETURN answers;
END $$;
