-- The other two kinds, sandbox jobs, uploaded images, sealed records, and jobs that are cancelled or erased.

-- What an organisation is allowed and prefers; `domain::tenant::TenantSettings` reads it, missing fields mean defaults.
ALTER TABLE tenants ADD COLUMN settings jsonb NOT NULL DEFAULT '{}';

ALTER TABLE api_keys
    ADD COLUMN environment text NOT NULL DEFAULT 'live' CHECK (environment IN ('live', 'test')),
    ADD COLUMN scopes text[] NOT NULL DEFAULT ARRAY['submit', 'read', 'erase', 'billing'],
    ADD COLUMN label text NOT NULL DEFAULT '',
    ADD COLUMN expires_at timestamptz;

ALTER TABLE jobs
    -- Submitted with a test key: computed without models, free of charge, seen by test keys alone.
    ADD COLUMN sandbox boolean NOT NULL DEFAULT false,
    -- From then on images, sealed records, result and metadata are gone.
    ADD COLUMN erased_at timestamptz,
    DROP CONSTRAINT jobs_kind_check,
    DROP CONSTRAINT jobs_state_check,
    DROP CONSTRAINT jobs_check1,
    DROP CONSTRAINT jobs_check3,
    DROP CONSTRAINT jobs_tenant_id_idempotency_key_key,
    ADD CONSTRAINT jobs_kind_check CHECK (kind IN ('likeness_check', 'id_match', 'face_match', 'compare_with_liveness')),
    ADD CONSTRAINT jobs_state_check CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'expired')),
    ADD CONSTRAINT jobs_succeeded_check CHECK ((state = 'succeeded') = (verdict IS NOT NULL)
        AND (state = 'succeeded' AND erased_at IS NULL) = (result IS NOT NULL)),
    ADD CONSTRAINT jobs_finished_check CHECK ((state IN ('succeeded', 'failed', 'cancelled', 'expired'))
        = (finished_at IS NOT NULL AND purge_at IS NOT NULL)),
    ADD CONSTRAINT jobs_idempotency UNIQUE (tenant_id, sandbox, idempotency_key);

-- A terminal job changes once more at most: by its erasure, which takes its result away.
DROP TRIGGER jobs_terminal_is_final ON jobs;
CREATE TRIGGER jobs_terminal_is_final BEFORE UPDATE ON jobs FOR EACH ROW
    WHEN (OLD.state IN ('succeeded', 'failed', 'cancelled', 'expired')
          AND ((NEW.state, NEW.verdict, NEW.failure, NEW.attempt, NEW.epoch, NEW.finished_at)
               IS DISTINCT FROM (OLD.state, OLD.verdict, OLD.failure, OLD.attempt, OLD.epoch, OLD.finished_at)
               OR (NEW.result IS DISTINCT FROM OLD.result
                   AND NOT (OLD.erased_at IS NULL AND NEW.erased_at IS NOT NULL AND NEW.result IS NULL))))
    EXECUTE FUNCTION refuse_change_of_terminal_job();

ALTER TABLE images
    -- NULL: uploaded by itself, to be named by requests until its time is over.
    ALTER COLUMN job_id DROP NOT NULL,
    ADD COLUMN sandbox boolean NOT NULL DEFAULT false,
    -- Several images of a role are counted from 0, in the order of the request.
    ADD COLUMN position smallint NOT NULL DEFAULT 0 CHECK (position >= 0),
    DROP CONSTRAINT images_role_check,
    DROP CONSTRAINT images_job_id_role_key,
    ADD CONSTRAINT images_role_check CHECK ((role = 'upload') = (job_id IS NULL) AND role IN ('reference', 'probe', 'upload')),
    ADD CONSTRAINT images_place UNIQUE (job_id, role, position);

-- What a job knows of a person beside images: the ID number asked for, the identity record found. Encrypted like an
-- image, each row under a key of its own; gone when the row is.
CREATE TABLE sealed_records (
    job_id        uuid NOT NULL REFERENCES jobs,
    purpose       text NOT NULL CHECK (purpose IN ('id_number', 'identity')),
    tenant_id     uuid NOT NULL REFERENCES tenants,
    master_key_id text NOT NULL,
    wrapped_key   bytea NOT NULL,
    sealed        bytea NOT NULL,
    -- The job's, from its end on.
    purge_at      timestamptz,
    PRIMARY KEY (job_id, purpose)
);
CREATE INDEX sealed_records_purge ON sealed_records (purge_at) WHERE purge_at IS NOT NULL;
