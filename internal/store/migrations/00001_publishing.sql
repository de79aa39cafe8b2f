-- One text for SQLite and PostgreSQL. Ids are text; times are microseconds since 1970 in UTC, 0 for none; what has a
-- shape is JSON in text, '' for none. SQLite takes BYTEA for a type without conversions, which is what it should be.

-- +goose Up
CREATE TABLE deployment ( -- one row: whose database this is
    id          BIGINT NOT NULL PRIMARY KEY,
    environment TEXT   NOT NULL
);

CREATE TABLE processes (
    id      TEXT   NOT NULL PRIMARY KEY,
    seen_at BIGINT NOT NULL -- by the clock of the database
);

CREATE TABLE accounts (
    id                  TEXT   NOT NULL PRIMARY KEY,
    organization_id     TEXT   NOT NULL,
    environment         TEXT   NOT NULL,
    profile_id          TEXT   NOT NULL,
    platform            TEXT   NOT NULL,
    platform_account_id TEXT   NOT NULL,
    display_name        TEXT   NOT NULL,
    token_expires_at    BIGINT NOT NULL,
    created_at          BIGINT NOT NULL,
    updated_at          BIGINT NOT NULL,
    UNIQUE (organization_id, environment, profile_id, platform, platform_account_id)
);
CREATE INDEX accounts_listed ON accounts (organization_id, environment, created_at, id);
CREATE INDEX accounts_listed_by_profile ON accounts (organization_id, environment, profile_id, created_at, id);

CREATE TABLE media (
    id              TEXT   NOT NULL PRIMARY KEY,
    organization_id TEXT   NOT NULL,
    environment     TEXT   NOT NULL,
    profile_id      TEXT   NOT NULL,
    content_type    TEXT   NOT NULL,
    size_bytes      BIGINT NOT NULL,
    sha256          TEXT   NOT NULL,
    created_at      BIGINT NOT NULL
);
CREATE INDEX media_listed ON media (organization_id, environment, created_at, id);
CREATE INDEX media_listed_by_profile ON media (organization_id, environment, profile_id, created_at, id);

CREATE TABLE posts (
    id              TEXT   NOT NULL PRIMARY KEY,
    organization_id TEXT   NOT NULL,
    environment     TEXT   NOT NULL,
    profile_id      TEXT   NOT NULL,
    key_id          TEXT   NOT NULL,
    batch_id        TEXT   NOT NULL,
    batch_position  BIGINT NOT NULL,
    account_id      TEXT   REFERENCES accounts (id), -- null once the account is gone
    platform        TEXT   NOT NULL,
    status          TEXT   NOT NULL,
    text            TEXT   NOT NULL,
    media           TEXT   NOT NULL,
    first_comment   TEXT   NOT NULL,
    options         TEXT   NOT NULL,
    scheduled_at    BIGINT NOT NULL,
    due_at          BIGINT NOT NULL, -- scheduled_at, or when it was queued to go at once
    published_at    BIGINT NOT NULL,
    receipt         TEXT   NOT NULL,
    failure         TEXT   NOT NULL,
    error_code      TEXT   NOT NULL, -- that of failure
    attempts        BIGINT NOT NULL, -- how many there have been
    attempt_id      TEXT   NOT NULL, -- the last one
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL
);
CREATE INDEX posts_listed ON posts (organization_id, environment, created_at, id);
CREATE INDEX posts_listed_by_profile ON posts (organization_id, environment, profile_id, created_at, id);
CREATE INDEX posts_listed_by_status ON posts (organization_id, environment, status, created_at, id);
CREATE INDEX posts_by_batch ON posts (batch_id);
CREATE INDEX posts_by_account ON posts (account_id) WHERE account_id IS NOT NULL;
CREATE INDEX posts_due ON posts (due_at, id) WHERE status = 'queued';
CREATE INDEX posts_queued_by_key ON posts (key_id) WHERE status = 'queued';
CREATE INDEX posts_publishing ON posts (attempt_id) WHERE status = 'publishing';

CREATE TABLE post_media (
    post_id  TEXT   NOT NULL REFERENCES posts (id),
    position BIGINT NOT NULL,
    media_id TEXT   NOT NULL, -- which may be gone, once the post is settled
    PRIMARY KEY (post_id, position)
);
CREATE INDEX post_media_by_media ON post_media (media_id);

CREATE TABLE attempts (
    id          TEXT   NOT NULL PRIMARY KEY,
    post_id     TEXT   NOT NULL REFERENCES posts (id),
    number      BIGINT NOT NULL,
    process_id  TEXT   NOT NULL,
    started_at  BIGINT NOT NULL,
    begun_at    BIGINT NOT NULL, -- by the clock of the database
    finished_at BIGINT NOT NULL,
    failure     TEXT   NOT NULL,
    UNIQUE (post_id, number)
);

CREATE TABLE claims (
    id              TEXT   NOT NULL PRIMARY KEY, -- hash of key, method, path and idempotency key
    organization_id TEXT   NOT NULL,
    environment     TEXT   NOT NULL,
    key_id          TEXT   NOT NULL,
    owner           TEXT   NOT NULL, -- another one for each time that it is taken
    process_id      TEXT   NOT NULL, -- '': abandoned
    body_hash       TEXT   NOT NULL, -- '': not known yet
    batch_id        TEXT   NOT NULL, -- '': not begun
    claimed_at      BIGINT NOT NULL,
    begun_at        BIGINT NOT NULL, -- by the clock of the database
    settled_at      BIGINT NOT NULL, -- 0: pending
    status          BIGINT NOT NULL,
    body            BYTEA
);
CREATE INDEX claims_settled ON claims (settled_at, claimed_at);

-- +goose Down
DROP TABLE claims;
DROP TABLE attempts;
DROP TABLE post_media;
DROP TABLE posts;
DROP TABLE media;
DROP TABLE accounts;
DROP TABLE processes;
DROP TABLE deployment;
