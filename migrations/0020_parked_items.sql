-- Items that a batch loop set aside because they fail by themselves: a row that cannot be read, a blob that cannot be
-- deleted. The loop leaves such an item alone until retry_at, so that its neighbours go on.

CREATE TABLE parked_items (
    -- Which loop set it aside. A newer version may have loops that this one does not know.
    loop      text NOT NULL CHECK (length(loop) BETWEEN 1 AND 64),
    -- The id of the row, the path of the blob, ...: what the loop calls it.
    item      text NOT NULL CHECK (length(item) BETWEEN 1 AND 512),
    -- The organisation, if it is known. No foreign key: setting an item aside must never fail because of another row.
    tenant_id uuid,
    -- For operators. It never holds personal data, an image or a secret.
    reason    text NOT NULL CHECK (length(reason) <= 500),
    first_at  timestamptz NOT NULL DEFAULT now(),
    last_at   timestamptz NOT NULL DEFAULT now(),
    -- How often it failed.
    count     bigint NOT NULL DEFAULT 1 CHECK (count > 0),
    -- From then on the loop takes it again.
    retry_at  timestamptz NOT NULL,
    PRIMARY KEY (loop, item)
);
CREATE INDEX parked_items_retry ON parked_items (retry_at);
CREATE INDEX parked_items_list ON parked_items (last_at DESC, loop, item);
