-- no-transaction
-- Deleting a job looks for its dead letters. Built without a lock that stops writes.
CREATE INDEX CONCURRENTLY IF NOT EXISTS dead_letters_job ON dead_letters (job_id) WHERE job_id IS NOT NULL;
