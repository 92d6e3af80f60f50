-- Uploads, renditions and their signed URLs, signing keys, and erasure on request.

ALTER TABLE images
    -- Pixels once upright; known of uploads.
    ADD COLUMN width integer CHECK (width > 0),
    ADD COLUMN height integer CHECK (height > 0);

-- JPEG files made from an image on their first read; the bytes lie encrypted in the blob store under
-- `renditions/<tenant>/<id>`. They go when their image goes.
CREATE TABLE renditions (
    id            uuid PRIMARY KEY,
    tenant_id     uuid NOT NULL REFERENCES tenants,
    image_id      uuid NOT NULL REFERENCES images,
    variant       text NOT NULL CHECK (variant IN ('portrait', 'whole')),
    master_key_id text NOT NULL,
    -- NULL from the moment of erasure until the blob is gone too and the row with it.
    wrapped_key   bytea,
    created_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (image_id, variant)
);

-- What checks our signatures, for ever: a receipt outlives the master key whose signing key signed it.
CREATE TABLE signing_keys (
    kid        text PRIMARY KEY,
    public_key bytea NOT NULL CHECK (length(public_key) = 32),
    created_at timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE jobs
    -- The signed receipt, as it was answered first.
    ADD COLUMN erasure_receipt jsonb,
    ADD CONSTRAINT jobs_erasure_check CHECK ((erased_at IS NULL) = (erasure_receipt IS NULL));

ALTER TABLE events
    DROP CONSTRAINT events_type_check,
    ADD CONSTRAINT events_type_check CHECK (type IN ('job.completed', 'job.failed', 'job.erased'));

-- Replies about a job that were asked for once more name it in their payload alone.
CREATE INDEX outbox_replies_about ON outbox ((payload->>'id')) WHERE kind <> 'doorbell';
