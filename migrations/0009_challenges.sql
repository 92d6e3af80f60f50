-- Liveness challenges that were answered. A challenge is a signed token and leaves no row until its answer comes; a row lives
-- until the challenge would have expired anyway.

CREATE TABLE spent_challenges (
    id         uuid PRIMARY KEY,
    job_id     uuid NOT NULL REFERENCES jobs,
    expires_at timestamptz NOT NULL
);
CREATE INDEX spent_challenges_expired ON spent_challenges (expires_at);
CREATE INDEX spent_challenges_job ON spent_challenges (job_id);
