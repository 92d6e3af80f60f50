-- The job state `expired`, which nothing ever set, goes away. The constraints are replaced as NOT VALID: that needs no scan
-- under the table's lock. The next migration validates them, which blocks nobody.

DO $$
BEGIN
    IF EXISTS (SELECT FROM jobs WHERE state = 'expired') THEN
        RAISE EXCEPTION 'there are jobs in the state "expired", which this version does not know'
            USING HINT = 'No version of visavis sets it. Find out who did, and delete these jobs or put them into the state "cancelled".';
    END IF;
END $$;

ALTER TABLE jobs
    DROP CONSTRAINT jobs_state_check,
    DROP CONSTRAINT jobs_finished_check,
    ADD CONSTRAINT jobs_state_check CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')) NOT VALID,
    ADD CONSTRAINT jobs_finished_check CHECK ((state IN ('succeeded', 'failed', 'cancelled'))
        = (finished_at IS NOT NULL AND purge_at IS NOT NULL)) NOT VALID;

DROP TRIGGER jobs_terminal_is_final ON jobs;
CREATE TRIGGER jobs_terminal_is_final BEFORE UPDATE ON jobs FOR EACH ROW
    WHEN (OLD.state IN ('succeeded', 'failed', 'cancelled')
          AND ((NEW.state, NEW.verdict, NEW.failure, NEW.attempt, NEW.epoch, NEW.finished_at)
               IS DISTINCT FROM (OLD.state, OLD.verdict, OLD.failure, OLD.attempt, OLD.epoch, OLD.finished_at)
               OR (NEW.result IS DISTINCT FROM OLD.result
                   AND NOT (OLD.erased_at IS NULL AND NEW.erased_at IS NOT NULL AND NEW.result IS NULL))))
    EXECUTE FUNCTION refuse_change_of_terminal_job();
