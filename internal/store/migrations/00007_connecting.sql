-- Connections that have begun in a browser, and wait for it to come back.

-- +goose Up
CREATE TABLE connecting (
    id              TEXT   NOT NULL PRIMARY KEY, -- SHA-256 of the state that the browser comes back with, in hexadecimal
    organization_id TEXT   NOT NULL,
    environment     TEXT   NOT NULL,
    platform        TEXT   NOT NULL,
    key_id          BIGINT NOT NULL, -- the vault's key that it is sealed with
    sealed          BYTEA  NOT NULL, -- who began it, for which profile, and what goes on with it
    expires_at      BIGINT NOT NULL
);
CREATE INDEX connecting_by_organization ON connecting (organization_id, environment, expires_at);
CREATE INDEX connecting_by_expiry ON connecting (expires_at);

-- +goose Down
DROP TABLE connecting;
