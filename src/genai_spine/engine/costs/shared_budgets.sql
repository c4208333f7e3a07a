-- Budgets that several processes share, in PostgreSQL: the same decisions as those of shared_budgets.lua, from the same
-- numbers, with the same answers. Amounts are nano-dollars and tokens; moments are of the server's clock.
--
-- `budgets_1` takes many commands in one transaction, [{"do", "id", "lease" (µs), "process", "of": [[name, number, …],
-- …]}, …], and answers with a list for each. The rows of all their budgets are locked first, in the order of their
-- names, so that processes wait for each other and never in a circle. Run again, this file changes nothing; a later
-- version of a function gets another number, since processes of both may be at work.

CREATE SCHEMA IF NOT EXISTS genai_spine;

CREATE TABLE IF NOT EXISTS genai_spine.budget_sum (
    name TEXT PRIMARY KEY, usd BIGINT NOT NULL DEFAULT 0, tokens BIGINT NOT NULL DEFAULT 0,
    held_usd BIGINT NOT NULL DEFAULT 0, held_tokens BIGINT NOT NULL DEFAULT 0,
    told_1 BOOLEAN NOT NULL DEFAULT FALSE, told_2 BOOLEAN NOT NULL DEFAULT FALSE, forgotten_at TIMESTAMPTZ
) WITH (fillfactor = 50); -- a row is changed many times a second, and that within its page
CREATE INDEX IF NOT EXISTS budget_sum_forgotten ON genai_spine.budget_sum (forgotten_at);

CREATE TABLE IF NOT EXISTS genai_spine.budget_call (
    name TEXT NOT NULL, id TEXT NOT NULL, usd BIGINT NOT NULL, tokens BIGINT NOT NULL, ends_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (id, name)
);
CREATE INDEX IF NOT EXISTS budget_call_ends ON genai_spine.budget_call (name, ends_at);

CREATE TABLE IF NOT EXISTS genai_spine.budget_process (
    name TEXT NOT NULL, process TEXT NOT NULL, PRIMARY KEY (name, process)
);

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

-- A process that comes to a budget raises its sums to what it knows; later it adds what it used while the server was
-- away.
CREATE OR REPLACE FUNCTION genai_spine.budget_restore_1(of_name TEXT, by_process TEXT, n BIGINT[]) RETURNS VOID
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO genai_spine.budget_process VALUES (of_name, by_process) ON CONFLICT DO NOTHING;
    IF FOUND THEN
        UPDATE genai_spine.budget_sum SET usd = usd + greatest(0, n[5] - usd - held_usd),
            tokens = tokens + greatest(0, n[6] - tokens - held_tokens),
            forgotten_at = CASE WHEN n[9] > 0 THEN clock_timestamp() + n[9] * INTERVAL '1 millisecond' END
            WHERE name = of_name;
    ELSIF n[7] <> 0 OR n[8] <> 0 THEN
        UPDATE genai_spine.budget_sum SET usd = usd + n[7], tokens = tokens + n[8] WHERE name = of_name;
    END IF;
END $$;

-- Of each: limits (usd, tokens; -1: none), amounts, what the process knows to be used, what it used alone, when the
-- sums are forgotten (ms; 0: never). A `look` takes nothing.
CREATE OR REPLACE FUNCTION genai_spine.budget_take_1(command JSONB) RETURNS JSONB LANGUAGE plpgsql AS $$
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
        PERFORM genai_spine.budget_restore_1(names[i], command->>'process', n);
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

-- Of each: amounts.
CREATE OR REPLACE FUNCTION genai_spine.budget_grow_1(command JSONB) RETURNS JSONB LANGUAGE plpgsql AS $$
DECLARE one JSONB;
BEGIN
    FOR one IN SELECT value FROM jsonb_array_elements(command->'of') LOOP
        UPDATE genai_spine.budget_call SET usd = usd + (one->>1)::BIGINT, tokens = tokens + (one->>2)::BIGINT,
            ends_at = clock_timestamp() + (command->>'lease')::BIGINT * INTERVAL '1 microsecond'
            WHERE name = one->>0 AND id = command->>'id';
        IF FOUND THEN
            UPDATE genai_spine.budget_sum SET held_usd = held_usd + (one->>1)::BIGINT,
                held_tokens = held_tokens + (one->>2)::BIGINT WHERE name = one->>0;
        END IF;
    END LOOP;
    RETURN '[]';
END $$;

-- Of each: what was held, what was used, levels (usd and tokens of the next two; -1: none). It answers with the sums,
-- and for each level whether it was reached by this.
CREATE OR REPLACE FUNCTION genai_spine.budget_settle_1(command JSONB) RETURNS JSONB LANGUAGE plpgsql AS $$
DECLARE
    one JSONB;
    n BIGINT[];
    held RECORD;
    s RECORD;
    told_1_now BOOLEAN;
    told_2_now BOOLEAN;
    answer JSONB := '[]';
BEGIN
    FOR one IN SELECT value FROM jsonb_array_elements(command->'of') LOOP
        n := ARRAY(SELECT x::BIGINT FROM jsonb_array_elements_text(one - 0) x);
        DELETE FROM genai_spine.budget_call WHERE name = one->>0 AND id = command->>'id'
            RETURNING usd, tokens INTO held;
        IF FOUND THEN
            UPDATE genai_spine.budget_sum SET usd = usd + n[3], tokens = tokens + n[4],
                held_usd = held_usd - held.usd, held_tokens = held_tokens - held.tokens WHERE name = one->>0;
        ELSE -- its time was over, and what it held counts as spent; unless the sums were lost
            UPDATE genai_spine.budget_sum SET usd = usd + n[3] - n[1], tokens = tokens + n[4] - n[2]
                WHERE name = one->>0 AND EXISTS (SELECT FROM genai_spine.budget_process p
                    WHERE p.name = one->>0 AND p.process = command->>'process');
        END IF;
        SELECT * INTO s FROM genai_spine.budget_sum WHERE name = one->>0;
        told_1_now := NOT s.told_1 AND ((n[5] > 0 AND s.usd >= n[5]) OR (n[6] > 0 AND s.tokens >= n[6]));
        told_2_now := NOT s.told_2 AND ((n[7] > 0 AND s.usd >= n[7]) OR (n[8] > 0 AND s.tokens >= n[8]));
        IF told_1_now OR told_2_now THEN
            UPDATE genai_spine.budget_sum SET told_1 = told_1 OR told_1_now, told_2 = told_2 OR told_2_now
                WHERE name = one->>0;
        END IF;
        answer := answer
            || jsonb_build_array(s.usd, s.tokens, s.held_usd, s.held_tokens, told_1_now::INT, told_2_now::INT);
    END LOOP;
    RETURN answer;
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
CREATE OR REPLACE FUNCTION genai_spine.budgets_1(commands JSONB, patience INT) RETURNS JSONB LANGUAGE plpgsql AS $$
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
            WHEN 'settle' THEN genai_spine.budget_settle_1(command)
            WHEN 'grow' THEN genai_spine.budget_grow_1(command)
            ELSE genai_spine.budget_take_1(command)
        END);
    END LOOP;
    RETURN answers;
END $$;
