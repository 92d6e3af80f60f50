-- no-transaction
-- Lists of jobs go through an account's jobs, newest first. The index has all that the filters look at, so a search for
-- few among many reads no job that it does not show.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_account ON jobs (tenant_id, sandbox, id DESC)
    INCLUDE (state, verdict, kind, created_at);
