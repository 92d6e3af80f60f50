-- The registry: identity records of the deployment's own. Sources are the deployment's, not an organisation's: every
-- organisation that may submit an id_match asks the same ones, and none can list them.

CREATE TABLE identity_registry (
    -- The portrait lies encrypted in the blob store under `identity/<id>`; a replaced entry gets a new one.
    id            uuid NOT NULL UNIQUE,
    id_type       text NOT NULL CHECK (id_type IN ('nin', 'bvn', 'vnin', 'drivers_license', 'passport')),
    -- Keyed hash of the number, which itself is nowhere.
    number_hmac   bytea NOT NULL CHECK (length(number_hmac) = 32),
    -- Keyed hash of everything that was imported: an import that comes again finds nothing to do.
    content_hmac  bytea NOT NULL CHECK (length(content_hmac) = 32),
    portrait_master_key_id text NOT NULL,
    portrait_key  bytea NOT NULL,
    -- The attributes, encrypted.
    record_master_key_id text NOT NULL,
    record_key    bytea NOT NULL,
    record        bytea NOT NULL,
    imported_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id_type, number_hmac)
);
