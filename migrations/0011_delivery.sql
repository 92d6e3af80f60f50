-- Delivery: webhook endpoints with their secrets, deliveries and their attempts, and the order in which events are read.

ALTER TABLE events
    ADD COLUMN sandbox boolean NOT NULL DEFAULT false,
    -- The transaction that wrote it. Ids are given before commits are: a reader that went by id alone would pass over an
    -- event that was committed late. One that reads in the order (xid, id), and nothing of transactions that may still
    -- run, misses none.
    ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    -- What happened to an endpoint is about no job.
    ALTER COLUMN job_id DROP NOT NULL,
    DROP CONSTRAINT events_type_check;
UPDATE events SET sandbox = true FROM jobs WHERE jobs.id = events.job_id AND jobs.sandbox;
UPDATE events SET type = 'image.erased' WHERE type = 'job.erased';
ALTER TABLE events
    ADD CONSTRAINT events_type_check CHECK (type IN
        ('job.completed', 'job.failed', 'review.decided', 'image.erased', 'endpoint.disabled', 'endpoint.test')),
    ADD CONSTRAINT events_subject_check CHECK ((job_id IS NULL) = (type IN ('endpoint.disabled', 'endpoint.test')));
CREATE INDEX events_order ON events (xid, id);
CREATE INDEX events_account_order ON events (tenant_id, sandbox, xid, id);
CREATE INDEX events_account_time ON events (tenant_id, sandbox, created_at);

-- Whoever reads events in their order and remembers where it was.
CREATE TABLE event_tails (
    name        text PRIMARY KEY,
    xid         xid8 NOT NULL,
    event_id    uuid NOT NULL,
    -- One process at a time reads on.
    holder      uuid,
    lease_until timestamptz NOT NULL DEFAULT now()
);
-- Behind everything that there is by now.
INSERT INTO event_tails (name, xid, event_id)
    VALUES ('results', pg_current_xact_id(), 'ffffffff-ffff-ffff-ffff-ffffffffffff');

CREATE TABLE webhook_endpoints (
    id            uuid PRIMARY KEY,
    tenant_id     uuid NOT NULL REFERENCES tenants,
    sandbox       boolean NOT NULL,
    url           text NOT NULL CHECK (length(url) BETWEEN 1 AND 2048),
    description   text NOT NULL CHECK (length(description) <= 200),
    event_types   text[] NOT NULL CHECK (cardinality(event_types) > 0),
    -- Attempts a second at most.
    rate_limit    integer CHECK (rate_limit > 0),
    -- Why nothing is delivered to it; NULL: it is enabled.
    disabled      text CHECK (disabled IN ('by_request', 'gone', 'failing')),
    disabled_at   timestamptz,
    -- The first failure since the last success.
    failing_since timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    CHECK ((disabled IS NULL) = (disabled_at IS NULL))
);
CREATE INDEX webhook_endpoints_account ON webhook_endpoints (tenant_id, sandbox, id);

-- What signs, encrypted like an image under a key of its own. Two live while they are rotated.
CREATE TABLE webhook_secrets (
    id            uuid PRIMARY KEY,
    endpoint_id   uuid NOT NULL REFERENCES webhook_endpoints ON DELETE CASCADE,
    master_key_id text NOT NULL,
    wrapped_key   bytea NOT NULL,
    sealed        bytea NOT NULL,
    public_key    bytea NOT NULL CHECK (length(public_key) = 32),
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz
);
CREATE INDEX webhook_secrets_endpoint ON webhook_secrets (endpoint_id);

-- One event for one endpoint, written in the event's own commit.
CREATE TABLE deliveries (
    event_id    uuid NOT NULL REFERENCES events,
    endpoint_id uuid NOT NULL REFERENCES webhook_endpoints ON DELETE CASCADE,
    state       text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
    -- Attempts since it began, or was asked for once more: the place in the schedule.
    attempts    integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    -- Grows with every claim: an answer that comes after the lease ran out changes nothing.
    epoch       bigint NOT NULL DEFAULT 0,
    -- Due then; while it is being attempted, the end of the lease.
    next_at     timestamptz NOT NULL DEFAULT now(),
    created_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    PRIMARY KEY (event_id, endpoint_id),
    CHECK ((state = 'pending') = (finished_at IS NULL))
);
CREATE INDEX deliveries_due ON deliveries (next_at) WHERE state = 'pending';
CREATE INDEX deliveries_fair ON deliveries (endpoint_id, next_at, event_id) WHERE state = 'pending';
CREATE INDEX deliveries_list ON deliveries (endpoint_id, event_id DESC);
CREATE INDEX deliveries_by_state ON deliveries (endpoint_id, state, event_id DESC);
CREATE INDEX deliveries_old ON deliveries (finished_at) WHERE state <> 'pending';

CREATE TABLE delivery_attempts (
    event_id    uuid NOT NULL,
    endpoint_id uuid NOT NULL,
    epoch       bigint NOT NULL,
    at          timestamptz NOT NULL,
    duration_ms integer NOT NULL CHECK (duration_ms >= 0),
    -- What was answered; NULL: nothing was, and error says why.
    status      smallint,
    error       text,
    -- The beginning of the answer.
    answer      text NOT NULL CHECK (length(answer) <= 1024),
    -- In the order of commits, as events: for whoever looks on.
    xid         xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (event_id, endpoint_id, epoch),
    FOREIGN KEY (event_id, endpoint_id) REFERENCES deliveries ON DELETE CASCADE,
    CHECK ((status IS NULL) = (error IS NOT NULL))
);
CREATE INDEX delivery_attempts_order ON delivery_attempts (xid, event_id, endpoint_id, epoch);

ALTER TABLE api_keys ALTER COLUMN scopes SET DEFAULT ARRAY['submit', 'read', 'erase', 'billing', 'webhooks'];
-- There are endpoints now.
UPDATE tenants SET settings = settings - 'webhook_url' WHERE settings ? 'webhook_url';
