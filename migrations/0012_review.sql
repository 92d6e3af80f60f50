-- The reviewers' desk: who reviews, the cases that wait, what was decided, and who did what.

CREATE TABLE reviewers (
    id            uuid PRIMARY KEY,
    tenant_id     uuid NOT NULL REFERENCES tenants,
    -- Reviews the cases of test keys, or those of live ones.
    sandbox       boolean NOT NULL,
    -- What they sign in with; one of its kind in the deployment.
    login         text NOT NULL UNIQUE CHECK (login = lower(login) AND length(login) BETWEEN 3 AND 254),
    name          text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    -- Settles disputes, gives cases to others, corrects decisions.
    is_lead       boolean NOT NULL,
    -- Argon2id, as a PHC string.
    password_hash text NOT NULL,
    -- Wrong passwords since the last right one.
    failures      integer NOT NULL DEFAULT 0,
    locked_until  timestamptz,
    disabled_at   timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX reviewers_account ON reviewers (tenant_id, sandbox, name);

CREATE TABLE reviewer_sessions (
    -- Of the cookie; the cookie itself is never stored.
    token_hmac  bytea PRIMARY KEY CHECK (length(token_hmac) = 32),
    reviewer_id uuid NOT NULL REFERENCES reviewers,
    created_at  timestamptz NOT NULL DEFAULT now(),
    -- When its reviewer last did something.
    seen_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX reviewer_sessions_reviewer ON reviewer_sessions (reviewer_id);
CREATE INDEX reviewer_sessions_seen ON reviewer_sessions (seen_at);

-- One row a job that came out as `in_review`; the job itself never changes.
CREATE TABLE review_cases (
    job_id       uuid PRIMARY KEY REFERENCES jobs,
    tenant_id    uuid NOT NULL REFERENCES tenants,
    sandbox      boolean NOT NULL,
    -- In percent.
    score        double precision,
    -- Of the warnings that are more than information.
    risks        text[] NOT NULL,
    opened_at    timestamptz NOT NULL,
    -- Its images are erased then, whether or not somebody decided.
    lapses_at    timestamptz NOT NULL,
    state        text NOT NULL DEFAULT 'waiting'
                 CHECK (state IN ('waiting', 'second', 'disputed', 'settling', 'decided', 'lapsed', 'erased')),
    -- Who has it before them; nobody once the lease is over.
    holder       uuid REFERENCES reviewers,
    taken_at     timestamptz,
    lease_until  timestamptz,
    -- The first of two opinions.
    first_by     uuid REFERENCES reviewers,
    first_choice text CHECK (first_choice IN ('approved', 'rejected')),
    -- While it settles: what will be written then, unless it is undone, and the state that it came from.
    pending      jsonb,
    pending_by   uuid REFERENCES reviewers,
    settles_at   timestamptz,
    came_from    text CHECK (came_from IN ('waiting', 'second', 'disputed')),
    -- What it came to.
    verdict      text CHECK (verdict IN ('approved', 'rejected')),
    decided_at   timestamptz,
    -- Of the last entry in review_decisions.
    revision     integer NOT NULL DEFAULT 0,
    -- The transaction that changed it last: whoever looks on reads in this order.
    xid          xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CHECK ((holder IS NULL) = (lease_until IS NULL) AND (holder IS NULL) = (taken_at IS NULL)),
    CHECK ((state = 'settling') = (pending IS NOT NULL) AND (state = 'settling') = (settles_at IS NOT NULL)
           AND (state = 'settling') = (pending_by IS NOT NULL) AND (state = 'settling') = (came_from IS NOT NULL)),
    CHECK ((verdict IS NULL) = (decided_at IS NULL)),
    CHECK (state <> 'decided' OR verdict IS NOT NULL),
    CHECK (verdict IS NULL OR state IN ('decided', 'erased'))
);
CREATE INDEX review_cases_queue ON review_cases (tenant_id, sandbox, opened_at, job_id)
    WHERE state IN ('waiting', 'second', 'disputed', 'settling');
CREATE INDEX review_cases_opinions ON review_cases (tenant_id, sandbox, state, opened_at, job_id)
    WHERE state IN ('second', 'disputed');
CREATE INDEX review_cases_risks ON review_cases USING gin (risks)
    WHERE state IN ('waiting', 'second', 'disputed', 'settling');
CREATE INDEX review_cases_holder ON review_cases (holder) WHERE holder IS NOT NULL;
CREATE INDEX review_cases_settling ON review_cases (settles_at) WHERE state = 'settling';
CREATE INDEX review_cases_lapsing ON review_cases (lapses_at) WHERE state IN ('waiting', 'second', 'disputed');
CREATE INDEX review_cases_opened ON review_cases (tenant_id, sandbox, opened_at);
CREATE INDEX review_cases_order ON review_cases (xid);

CREATE FUNCTION mark_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.xid := pg_current_xact_id();
    RETURN NEW;
END $$;
-- A lease that is renewed is no news.
CREATE TRIGGER review_cases_change BEFORE UPDATE ON review_cases FOR EACH ROW
    WHEN ((NEW.state, NEW.holder, NEW.revision) IS DISTINCT FROM (OLD.state, OLD.holder, OLD.revision))
    EXECUTE FUNCTION mark_change();

CREATE TABLE review_decisions (
    id          uuid PRIMARY KEY,
    job_id      uuid NOT NULL REFERENCES jobs,
    tenant_id   uuid NOT NULL REFERENCES tenants,
    sandbox     boolean NOT NULL,
    revision    integer NOT NULL CHECK (revision > 0),
    reviewer_id uuid NOT NULL REFERENCES reviewers,
    -- An opinion decides nothing by itself.
    stage       text NOT NULL CHECK (stage IN ('opinion', 'decision', 'correction')),
    choice      text NOT NULL CHECK (choice IN ('approved', 'rejected')),
    reasons     text[] NOT NULL,
    note        text NOT NULL CHECK (length(note) <= 2000),
    -- Which pictures had been sent to the reviewer's browser: ["probe 0 whole", ...].
    seen        jsonb NOT NULL,
    -- When the case was taken.
    taken_at    timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (job_id, revision)
);
CREATE INDEX review_decisions_account ON review_decisions (tenant_id, sandbox, id DESC);
CREATE INDEX review_decisions_reviewer ON review_decisions (tenant_id, sandbox, reviewer_id, id DESC);
CREATE INDEX review_decisions_corrections ON review_decisions (tenant_id, sandbox, id DESC) WHERE stage = 'correction';

-- Whether somebody may take a case, or have it: no second opinion by who gave the first, no end of a dispute by a party to it.
CREATE FUNCTION may_review(it review_cases, reviewer uuid, is_lead boolean) RETURNS boolean STABLE LANGUAGE sql AS $$
    SELECT it.state IN ('waiting', 'second', 'disputed') AND it.lapses_at > now()
           AND (it.state <> 'second' OR it.first_by IS DISTINCT FROM reviewer)
           AND (it.state <> 'disputed' OR (is_lead AND NOT EXISTS
               (SELECT 1 FROM review_decisions AS entry WHERE entry.job_id = it.job_id AND entry.reviewer_id = reviewer)))
$$;

-- Who did what at the desk, for ever.
CREATE TABLE review_trail (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL REFERENCES tenants,
    sandbox     boolean NOT NULL,
    reviewer_id uuid NOT NULL REFERENCES reviewers,
    job_id      uuid REFERENCES jobs,
    action      text NOT NULL,
    -- What the action says of itself; never free text.
    detail      text NOT NULL DEFAULT '',
    at          timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX review_trail_job ON review_trail (job_id, id) WHERE job_id IS NOT NULL;
CREATE INDEX review_trail_views ON review_trail (job_id, reviewer_id, action, detail, at) WHERE action IN ('opened', 'viewed');
CREATE INDEX review_trail_reviewer ON review_trail (reviewer_id, id);

-- Neither changes. Of a decision the note alone is taken away, when its job is erased.
CREATE FUNCTION refuse_change_of_record() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is only added to', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE FUNCTION refuse_change_of_decision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.note = '' AND EXISTS (SELECT 1 FROM review_cases WHERE job_id = OLD.job_id AND state = 'erased') THEN
        OLD.note := '';
        IF NEW IS NOT DISTINCT FROM OLD THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION '% is only added to', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER review_trail_is_final BEFORE UPDATE OR DELETE ON review_trail
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_record();
CREATE TRIGGER review_trail_stays BEFORE TRUNCATE ON review_trail
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_record();
CREATE TRIGGER review_decisions_are_final BEFORE UPDATE ON review_decisions
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_decision();
CREATE TRIGGER review_decisions_stay BEFORE DELETE ON review_decisions
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_record();
CREATE TRIGGER review_decisions_are_kept BEFORE TRUNCATE ON review_decisions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_record();

-- Jobs in review: of those without a case the janitor makes one.
CREATE INDEX jobs_in_review ON jobs (purge_at) WHERE verdict = 'in_review' AND erased_at IS NULL;
