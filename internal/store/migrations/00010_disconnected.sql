-- Accounts that were disconnected: who they were, for a while. What opened them is gone.

-- +goose Up
CREATE TABLE disconnected_accounts (
    id                  TEXT   NOT NULL,
    organization_id     TEXT   NOT NULL,
    environment         TEXT   NOT NULL,
    profile_id          TEXT   NOT NULL,
    platform            TEXT   NOT NULL,
    platform_account_id TEXT   NOT NULL,
    display_name        TEXT   NOT NULL,
    secrets_version     BIGINT NOT NULL, -- if it is connected again, it counts on from there
    created_at          BIGINT NOT NULL,
    disconnected_at     BIGINT NOT NULL,
    PRIMARY KEY (organization_id, environment, profile_id, platform, platform_account_id)
);
CREATE INDEX disconnected_listed ON disconnected_accounts (organization_id, environment, disconnected_at, id);
CREATE INDEX disconnected_listed_by_profile ON disconnected_accounts
    (organization_id, environment, profile_id, disconnected_at, id);
CREATE INDEX disconnected_by_age ON disconnected_accounts (disconnected_at);

-- +goose Down
DROP TABLE disconnected_accounts;
