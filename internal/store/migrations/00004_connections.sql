-- What opens accounts, sealed; how far a connection is from its end; and posts whose platform wants them later, or has
-- to be asked about them.

-- +goose Up
ALTER TABLE accounts ADD COLUMN reconnect       TEXT   NOT NULL DEFAULT ''; -- why it has to be connected again, or ''
ALTER TABLE accounts ADD COLUMN refresh_at      BIGINT NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN refresh_tries   BIGINT NOT NULL DEFAULT 0;  -- since the last success
ALTER TABLE accounts ADD COLUMN secrets_version BIGINT NOT NULL DEFAULT 0;  -- another one each time that they change
ALTER TABLE accounts ADD COLUMN renewing_until  BIGINT NOT NULL DEFAULT 0;  -- by the clock of the database
CREATE INDEX accounts_to_refresh ON accounts (refresh_at) WHERE refresh_at > 0;

CREATE TABLE account_secrets (
    account_id      TEXT   NOT NULL REFERENCES accounts (id),
    organization_id TEXT   NOT NULL,
    environment     TEXT   NOT NULL,
    name            TEXT   NOT NULL,
    key_id          BIGINT NOT NULL, -- the vault's key that it is sealed with
    sealed          BYTEA  NOT NULL,
    PRIMARY KEY (account_id, name)
);
CREATE INDEX account_secrets_by_key ON account_secrets (key_id, account_id, name);

ALTER TABLE posts ADD COLUMN first_sent_at BIGINT NOT NULL DEFAULT 0; -- of the attempt that the platform may have taken
ALTER TABLE posts ADD COLUMN not_before    BIGINT NOT NULL DEFAULT 0; -- when the platform wants it, the earliest
ALTER TABLE posts ADD COLUMN unsettled     BIGINT NOT NULL DEFAULT 0; -- 1: the platform may have it, and is to be asked
ALTER TABLE posts ADD COLUMN ask_token     BYTEA;
CREATE INDEX posts_pending_by_account ON posts (account_id, due_at, id) WHERE status IN ('queued', 'publishing');

-- +goose Down
DROP INDEX posts_pending_by_account;
ALTER TABLE posts DROP COLUMN ask_token;
ALTER TABLE posts DROP COLUMN unsettled;
ALTER TABLE posts DROP COLUMN not_before;
ALTER TABLE posts DROP COLUMN first_sent_at;
DROP TABLE account_secrets;
DROP INDEX accounts_to_refresh;
ALTER TABLE accounts DROP COLUMN renewing_until;
ALTER TABLE accounts DROP COLUMN secrets_version;
ALTER TABLE accounts DROP COLUMN refresh_tries;
ALTER TABLE accounts DROP COLUMN refresh_at;
ALTER TABLE accounts DROP COLUMN reconnect;
