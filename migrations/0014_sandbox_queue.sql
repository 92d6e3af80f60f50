-- Sandbox jobs get a work queue of their own, and replies carry their type. Constraints are added as NOT VALID, so that no
-- scan checks them under the table's lock; migration 0016 validates them. This migration locks the outbox and no other
-- table: its rows go away when they are published, while jobs are many.

-- The message's `type` property.
ALTER TABLE outbox
    ADD COLUMN reply_type text,
    ADD CONSTRAINT outbox_reply_type_check
        CHECK (reply_type IN ('accepted', 'rejected', 'completed', 'failed')) NOT VALID;

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
