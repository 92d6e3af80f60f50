-- no-transaction
-- The janitor looks for bodies whose time is over each minute, among all dead letters there ever were. Built without a
-- lock that stops writes.
CREATE INDEX CONCURRENTLY IF NOT EXISTS dead_letters_bodies ON dead_letters (created_at) WHERE wrapped_key IS NOT NULL;
