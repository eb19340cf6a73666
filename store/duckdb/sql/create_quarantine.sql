-- Frames that could not be projected, and why. `spanledger rebuild` tries them again.
CREATE TABLE IF NOT EXISTS quarantine (
    sequence BIGINT NOT NULL,
    signal VARCHAR NOT NULL,
    tenant VARCHAR NOT NULL,
    error VARCHAR NOT NULL
);
