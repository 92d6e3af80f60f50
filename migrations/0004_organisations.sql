-- Keys that follow each other: a rotated key and its successors are one family, of which two may live.
ALTER TABLE api_keys ADD COLUMN family text;
UPDATE api_keys SET family = id;
ALTER TABLE api_keys ALTER COLUMN family SET NOT NULL;
CREATE INDEX api_keys_family ON api_keys (family);
