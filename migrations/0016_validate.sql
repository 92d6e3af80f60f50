-- Validates what the last two migrations added or replaced. Reads and writes go on meanwhile.
ALTER TABLE jobs VALIDATE CONSTRAINT jobs_state_check, VALIDATE CONSTRAINT jobs_finished_check;
ALTER TABLE outbox VALIDATE CONSTRAINT outbox_lane_check, VALIDATE CONSTRAINT outbox_reply_type_check,
    VALIDATE CONSTRAINT outbox_reply_type_known;
