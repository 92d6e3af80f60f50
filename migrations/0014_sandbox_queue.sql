-- Sandbox jobs get a work queue of their own, replies carry their type, and the job state `expired`, which nothing ever
-- set, goes away. Constraints are replaced as NOT VALID: that needs no scan under the table's lock. The next migration
-- validates them, which blocks nobody.

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

-- The message's `type` property.
ALTER TABLE outbox
    ADD COLUMN reply_type text CHECK (reply_type IN ('accepted', 'rejected', 'completed', 'failed'));

-- Replies that wait already, and those of processes of an older version, which do not name the type.
CREATE FUNCTION reply_type_of(kind text, payload jsonb) RETURNS text IMMUTABLE LANGUAGE sql AS $$
    SELECT CASE kind WHEN 'reply_accepted' THEN 'accepted' WHEN 'reply_rejected' THEN 'rejected'
                     ELSE CASE WHEN payload->>'state' IN ('failed', 'cancelled') THEN 'failed' ELSE 'completed' END END
$$;
CREATE FUNCTION name_reply_type() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.reply_type := reply_type_of(NEW.kind, NEW.payload);
    RETURN NEW;
END $$;
CREATE TRIGGER outbox_reply_type BEFORE INSERT ON outbox FOR EACH ROW
    WHEN (NEW.kind <> 'doorbell' AND NEW.reply_type IS NULL) EXECUTE FUNCTION name_reply_type();
UPDATE outbox SET reply_type = reply_type_of(kind, payload) WHERE kind <> 'doorbell';

ALTER TABLE outbox
    DROP CONSTRAINT outbox_lane_check,
    ADD CONSTRAINT outbox_lane_check CHECK (lane IN ('interactive', 'bulk', 'sandbox')) NOT VALID,
    ADD CONSTRAINT outbox_reply_type_known CHECK ((kind = 'doorbell') = (reply_type IS NULL)) NOT VALID;
