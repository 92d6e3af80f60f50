-- The price of a job is fixed when it is submitted, and its wallet knows what the jobs under way may still cost. The
-- triggers also serve processes of the version before, which name no price.

ALTER TABLE wallets
    -- The sum of the prices of this organisation's jobs that have not ended, in minor units.
    ADD COLUMN reserved bigint NOT NULL DEFAULT 0;
ALTER TABLE jobs
    -- What the job costs if it is confirmed, in minor units. NULL for kinds that are free.
    ADD COLUMN price bigint;

-- What the job may still cost.
CREATE FUNCTION reserved_for(job jobs) RETURNS bigint IMMUTABLE LANGUAGE sql AS $$
    SELECT CASE WHEN job.kind = 'id_match' AND NOT job.sandbox AND job.state IN ('queued', 'running')
                THEN coalesce(job.price, 0) ELSE 0 END
$$;

CREATE FUNCTION price_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SELECT CASE jsonb_typeof(settings->'id_match_price')
                WHEN 'number' THEN greatest((settings->>'id_match_price')::numeric::bigint, 0) ELSE 0 END
    INTO NEW.price FROM tenants WHERE id = NEW.tenant_id;
    RETURN NEW;
END $$;
CREATE TRIGGER jobs_price BEFORE INSERT ON jobs FOR EACH ROW
    WHEN (NEW.kind = 'id_match' AND NOT NEW.sandbox AND NEW.price IS NULL) EXECUTE FUNCTION price_job();

CREATE FUNCTION reserve_money() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    change bigint := CASE TG_OP WHEN 'DELETE' THEN 0 ELSE reserved_for(NEW) END
                   - CASE TG_OP WHEN 'INSERT' THEN 0 ELSE reserved_for(OLD) END;
BEGIN
    IF change <> 0 THEN
        INSERT INTO wallets (tenant_id, reserved) VALUES (coalesce(NEW.tenant_id, OLD.tenant_id), change)
        ON CONFLICT (tenant_id) DO UPDATE SET reserved = wallets.reserved + change;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER jobs_reserve AFTER INSERT ON jobs FOR EACH ROW
    WHEN (NEW.kind = 'id_match' AND NEW.price > 0) EXECUTE FUNCTION reserve_money();
CREATE TRIGGER jobs_give_back AFTER UPDATE OF state, sandbox, price ON jobs FOR EACH ROW
    WHEN (NEW.kind = 'id_match' AND reserved_for(OLD) <> reserved_for(NEW)) EXECUTE FUNCTION reserve_money();
CREATE TRIGGER jobs_give_back_deleted AFTER DELETE ON jobs FOR EACH ROW
    WHEN (OLD.kind = 'id_match' AND OLD.price > 0) EXECUTE FUNCTION reserve_money();

-- Jobs under way get the price of now, and with it their reservation. They are few, and have an index.
UPDATE jobs SET price = CASE jsonb_typeof(settings->'id_match_price')
                             WHEN 'number' THEN greatest((settings->>'id_match_price')::numeric::bigint, 0) ELSE 0 END
FROM tenants
WHERE tenants.id = jobs.tenant_id AND kind = 'id_match' AND state IN ('queued', 'running') AND NOT sandbox;
