-- no-transaction
-- The states that few jobs are in: those in progress, which are also counted for limits, and those without a result.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_not_succeeded ON jobs (tenant_id, sandbox, state, id DESC)
    WHERE state <> 'succeeded';
