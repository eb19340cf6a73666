-- Content, stored once. A piece may stand twice after a restart (no unique index: it costs nine tenths of the inserts).
CREATE TABLE IF NOT EXISTS contents (
    tenant VARCHAR NOT NULL,
    content_id VARCHAR NOT NULL,
    media_type VARCHAR NOT NULL,
    text VARCHAR USING COMPRESSION zstd NOT NULL
);
