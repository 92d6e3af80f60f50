-- The main job: organisations, jobs, their images, and what must be told to the world about them.
-- Postgres is the truth and its clock is the only one: every lease and schedule below is compared with now().

CREATE TABLE tenants (
    id                uuid PRIMARY KEY,
    name              text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    -- The broker user whose submissions belong to this organisation (the broker validates the property `user_id`).
    amqp_user         text UNIQUE CHECK (length(amqp_user) BETWEEN 1 AND 255),
    retention_seconds bigint NOT NULL DEFAULT 86400 CHECK (retention_seconds BETWEEN 60 AND 2592000),
    created_at        timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_keys (
    -- The public part of `vv_live_<id>_<secret>`; the secret itself is never stored.
    id          text PRIMARY KEY,
    tenant_id   uuid NOT NULL REFERENCES tenants,
    secret_hmac bytea NOT NULL CHECK (length(secret_hmac) = 32),
    created_at  timestamptz NOT NULL DEFAULT now(),
    revoked_at  timestamptz
);
CREATE INDEX api_keys_tenant ON api_keys (tenant_id);

CREATE TABLE jobs (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL REFERENCES tenants,
    request_id      text NOT NULL UNIQUE CHECK (length(request_id) = 12),
    idempotency_key text CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    request_hash    bytea NOT NULL CHECK (length(request_hash) = 32),
    kind            text NOT NULL CHECK (kind IN ('likeness_check', 'face_match')),
    lane            text NOT NULL CHECK (lane IN ('interactive', 'bulk')),
    params          jsonb NOT NULL,
    metadata        jsonb NOT NULL,
    reply_to        text,
    correlation_id  text,
    state           text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'succeeded', 'failed')),
    -- Attempts that were charged; a worker that stops on request gives its attempt back.
    attempt         integer NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    -- Grows with every claim: a worker that lost its lease finds another epoch here and changes nothing.
    epoch           bigint NOT NULL DEFAULT 0,
    lease_until     timestamptz,
    run_after       timestamptz NOT NULL DEFAULT now(),
    verdict         text CHECK (verdict IN ('approved', 'in_review', 'rejected', 'not_finished')),
    result          jsonb,
    failure         jsonb,
    created_at      timestamptz NOT NULL DEFAULT now(),
    started_at      timestamptz,
    finished_at     timestamptz,
    purge_at        timestamptz,
    UNIQUE (tenant_id, idempotency_key),
    CHECK ((state = 'running') = (lease_until IS NOT NULL)),
    CHECK ((state = 'succeeded') = (verdict IS NOT NULL AND result IS NOT NULL)),
    CHECK ((state = 'failed') = (failure IS NOT NULL)),
    CHECK ((state IN ('succeeded', 'failed')) = (finished_at IS NOT NULL AND purge_at IS NOT NULL))
);
CREATE INDEX jobs_leases ON jobs (lease_until) WHERE state = 'running';
CREATE INDEX jobs_queued ON jobs (run_after) WHERE state = 'queued';
CREATE INDEX jobs_tenant ON jobs (tenant_id, id DESC);

-- A terminal job never changes again: not by a zombie, not by a mistake of ours.
CREATE FUNCTION refuse_change_of_terminal_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'job % is % and cannot change', OLD.id, OLD.state USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER jobs_terminal_is_final BEFORE UPDATE ON jobs FOR EACH ROW
    WHEN (OLD.state IN ('succeeded', 'failed')
          AND (NEW.state, NEW.verdict, NEW.result, NEW.failure, NEW.attempt, NEW.epoch, NEW.finished_at)
              IS DISTINCT FROM (OLD.state, OLD.verdict, OLD.result, OLD.failure, OLD.attempt, OLD.epoch, OLD.finished_at))
    EXECUTE FUNCTION refuse_change_of_terminal_job();

-- One row an image; the bytes lie encrypted in the blob store under `<tenant>/<id>`. Without wrapped_key they are noise.
CREATE TABLE images (
    id            uuid PRIMARY KEY,
    tenant_id     uuid NOT NULL REFERENCES tenants,
    job_id        uuid NOT NULL REFERENCES jobs,
    role          text NOT NULL CHECK (role IN ('reference', 'probe')),
    format        text NOT NULL CHECK (format IN ('jpeg', 'png', 'webp')),
    bytes         bigint NOT NULL CHECK (bytes > 0),
    master_key_id text NOT NULL,
    -- NULL from the moment of erasure until the blob is gone too and the row with it.
    wrapped_key   bytea,
    -- The job's, from its end on: here, where rows go away, an index on it stays small.
    purge_at      timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (job_id, role)
);
CREATE INDEX images_purge ON images (purge_at) WHERE purge_at IS NOT NULL;

-- What must reach the broker, written in the commit that made it true.
CREATE TABLE outbox (
    id             uuid PRIMARY KEY,
    kind           text NOT NULL CHECK (kind IN ('doorbell', 'reply_accepted', 'reply_rejected', 'reply_final')),
    tenant_id      uuid,
    job_id         uuid REFERENCES jobs,
    epoch          bigint NOT NULL DEFAULT 0,
    lane           text CHECK (lane IN ('interactive', 'bulk')),
    reply_to       text,
    correlation_id text,
    payload        jsonb,
    -- Times that a reply was tried; doorbells are tried for ever.
    attempt        integer NOT NULL DEFAULT 0,
    next_at        timestamptz NOT NULL DEFAULT now(),
    published_at   timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (kind, job_id, epoch),
    CHECK ((kind = 'doorbell') = (lane IS NOT NULL)),
    CHECK (kind <> 'doorbell' OR (job_id IS NOT NULL AND tenant_id IS NOT NULL)),
    CHECK (kind = 'doorbell' OR (reply_to IS NOT NULL AND payload IS NOT NULL))
);
CREATE INDEX outbox_due_replies ON outbox (next_at) WHERE published_at IS NULL AND kind <> 'doorbell';
CREATE INDEX outbox_due_doorbells ON outbox (lane, next_at) WHERE published_at IS NULL AND kind = 'doorbell';
CREATE INDEX outbox_fair_doorbells ON outbox (lane, tenant_id, next_at, id) WHERE published_at IS NULL AND kind = 'doorbell';
CREATE INDEX outbox_published ON outbox (published_at) WHERE published_at IS NOT NULL AND kind = 'doorbell';
CREATE INDEX outbox_job ON outbox (job_id);

-- What happened, once: revision 0 for the job itself.
CREATE TABLE events (
    id         uuid PRIMARY KEY,
    tenant_id  uuid NOT NULL REFERENCES tenants,
    job_id     uuid NOT NULL REFERENCES jobs,
    type       text NOT NULL CHECK (type IN ('job.completed', 'job.failed')),
    revision   integer NOT NULL DEFAULT 0,
    payload    jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (job_id, type, revision)
);

CREATE TABLE usage (
    job_id     uuid PRIMARY KEY REFERENCES jobs,
    tenant_id  uuid NOT NULL REFERENCES tenants,
    kind       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- What an operator must look at. Never holds a body: a submission that the broker gave up on lies encrypted in the
-- blob store under `dead/<id>`.
CREATE TABLE dead_letters (
    id             uuid PRIMARY KEY,
    kind           text NOT NULL CHECK (kind IN ('rejected_submission', 'failed_job', 'undelivered_doorbell', 'undelivered_submission', 'undelivered_reply')),
    tenant_id      uuid REFERENCES tenants,
    job_id         uuid REFERENCES jobs,
    amqp_user      text,
    message_id     text,
    code           text NOT NULL,
    detail         text NOT NULL,
    reply_to       text,
    correlation_id text,
    master_key_id  text,
    -- Empty while the body is being erased.
    wrapped_key    bytea,
    created_at     timestamptz NOT NULL DEFAULT now(),
    redriven_at    timestamptz,
    CHECK ((master_key_id IS NULL) = (wrapped_key IS NULL))
);
CREATE UNIQUE INDEX dead_letters_failed_job ON dead_letters (job_id) WHERE kind = 'failed_job';
CREATE INDEX dead_letters_newest ON dead_letters (id DESC);
