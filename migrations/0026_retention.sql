-- Jobs and events are deleted when their organisation's time for records is over. What has a law of its own outlives
-- them: the ledger, the reviewers' decisions and their audit log, receipts of erasures, and counts of jobs.

ALTER TABLE ledger DROP CONSTRAINT ledger_job_id_fkey;
ALTER TABLE review_decisions DROP CONSTRAINT review_decisions_job_id_fkey;
ALTER TABLE review_trail DROP CONSTRAINT review_trail_job_id_fkey;

-- Receipts of erased jobs whose rows are gone. `DELETE /v1/jobs/{id}` still answers with them.
CREATE TABLE erasure_receipts (
    job_id    uuid PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenants,
    sandbox   boolean NOT NULL,
    receipt   jsonb NOT NULL,
    erased_at timestamptz NOT NULL
);

-- How many jobs each organisation had whose rows in `usage` are gone.
CREATE TABLE usage_days (
    tenant_id uuid NOT NULL REFERENCES tenants,
    day       date NOT NULL,
    kind      text NOT NULL,
    jobs      bigint NOT NULL CHECK (jobs > 0),
    PRIMARY KEY (tenant_id, day, kind)
);
