-- Which pictures were sent as somebody's living face: keyed hashes, by which the same picture is known again within its
-- organisation, and by nobody without the key. They live as long as the job's images.

CREATE TABLE probe_prints (
    job_id    uuid PRIMARY KEY REFERENCES jobs,
    tenant_id uuid NOT NULL REFERENCES tenants,
    print     bytea NOT NULL CHECK (length(print) = 32),
    -- Keyed hashes of the print's eight parts: of two nearly equal prints at least one is the same.
    parts     bigint[] NOT NULL,
    -- Whom the picture was held against: a print of the reference image, or a keyed hash of the ID number.
    image     bytea CHECK (length(image) = 32),
    number    bytea CHECK (length(number) = 32),
    purge_at  timestamptz NOT NULL,
    CHECK ((image IS NULL) <> (number IS NULL))
);
CREATE INDEX probe_prints_parts ON probe_prints USING gin (parts);
CREATE INDEX probe_prints_purge ON probe_prints (purge_at);
