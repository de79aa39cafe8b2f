-- Sessions of people who are signed in at the dashboard.

-- +goose Up
CREATE TABLE sessions (
    id                TEXT   NOT NULL PRIMARY KEY, -- SHA-256 of the token that the browser shows, in hexadecimal
    environment       TEXT   NOT NULL,
    person            TEXT   NOT NULL, -- reference of whoever is signed in
    organization_id   TEXT   NOT NULL DEFAULT '', -- the active one; '' until one is chosen
    organization_name TEXT   NOT NULL DEFAULT '',
    key_id            BIGINT NOT NULL, -- the vault's key that it is sealed with; 0: there is no vault
    sealed            BYTEA  NOT NULL, -- who they are, and the credential that they act with
    version           BIGINT NOT NULL DEFAULT 1, -- another one each time that the credential is renewed
    renewing_until    BIGINT NOT NULL DEFAULT 0,
    used_at           BIGINT NOT NULL,
    expires_at        BIGINT NOT NULL
);
CREATE INDEX sessions_by_person ON sessions (environment, person, used_at);
CREATE INDEX sessions_by_use ON sessions (environment, used_at);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- +goose Down
DROP TABLE sessions;
