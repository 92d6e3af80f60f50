-- Prepaid wallets and what moved in them. Amounts are minor units of the wallet's currency.

CREATE TABLE wallets (
    tenant_id  uuid PRIMARY KEY REFERENCES tenants,
    -- XXX, ISO 4217's "no currency", until the first credit decides.
    currency   text NOT NULL DEFAULT 'XXX' CHECK (currency ~ '^[A-Z]{3}$'),
    -- Below zero where the organisation may overdraw.
    balance    bigint NOT NULL DEFAULT 0
);

CREATE TABLE ledger (
    id            uuid PRIMARY KEY,
    -- The order of movements: given under the wallet's lock, so that balance_after follows it.
    seq           bigint GENERATED ALWAYS AS IDENTITY,
    tenant_id     uuid NOT NULL REFERENCES wallets,
    job_id        uuid REFERENCES jobs,
    kind          text NOT NULL CHECK (kind IN ('debit', 'credit')),
    amount_minor  bigint NOT NULL CHECK (amount_minor > 0),
    balance_after bigint NOT NULL,
    note          text NOT NULL CHECK (length(note) <= 200),
    -- Not now(), which is when the transaction began, before it waited for the lock.
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((kind = 'debit') = (job_id IS NOT NULL))
);
-- However often a job is delivered, it is paid once.
CREATE UNIQUE INDEX ledger_debits ON ledger (job_id) WHERE kind = 'debit';
CREATE UNIQUE INDEX ledger_statement ON ledger (tenant_id, seq DESC);

CREATE FUNCTION refuse_change_of_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is only ever added to' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER ledger_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_ledger();

-- What a wallet is promised to, while the jobs are on their way.
CREATE INDEX jobs_to_be_billed ON jobs (tenant_id)
    WHERE kind = 'id_match' AND state IN ('queued', 'running') AND NOT sandbox;
