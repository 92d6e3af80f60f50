-- Browsers from which a reviewer has signed in before count their wrong passwords apart. Somebody else's wrong passwords
-- then lock such a browser out no longer. A row exists only while its last sign-in was wrong.

CREATE TABLE reviewer_devices (
    reviewer_id  uuid NOT NULL REFERENCES reviewers,
    -- The id in the browser's cookie. It is no secret: the cookie's signature is.
    device       bytea NOT NULL CHECK (length(device) = 16),
    -- Wrong passwords since the last right one.
    failures     integer NOT NULL,
    locked_until timestamptz,
    PRIMARY KEY (reviewer_id, device)
);
