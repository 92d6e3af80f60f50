-- The database and its blob store know each other, erased blobs wait in a table of their own, and blobs that no row knows
-- are set aside for days before they are deleted. Only new tables: processes of the version before go on as they did.

-- Which blob store belongs to this database. The same id stands in the store, as `visavis-store.json`.
CREATE TABLE blob_store (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    id       uuid NOT NULL,
    -- When the store was seen to carry the id. Empty while the two are being bound.
    bound_at timestamptz
);

-- Places whose keys are erased, in the commit that erased them. Each leaves when it stands in the erasure log and its blob
-- is gone. `jobs/<organisation>/<job>` names no blob but a job that was erased on request.
CREATE TABLE erasures (
    place     text PRIMARY KEY,
    job_id    uuid,
    -- Times that deleting it was tried.
    attempt   integer NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    next_at   timestamptz NOT NULL DEFAULT now(),
    erased_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX erasures_due ON erasures (next_at);
CREATE INDEX erasures_job ON erasures (job_id) WHERE job_id IS NOT NULL;

-- Blobs that no row knows. The blob stays where it is until it was known to no row for days.
CREATE TABLE stranded_blobs (
    place         text PRIMARY KEY,
    id            uuid NOT NULL,
    first_seen_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX stranded_blobs_oldest ON stranded_blobs (first_seen_at);
