-- What keys are used for: when last, and how often.

-- +goose Up
CREATE TABLE key_last_use (
    organization_id TEXT   NOT NULL,
    environment     TEXT   NOT NULL,
    key_id          TEXT   NOT NULL,
    used_at         BIGINT NOT NULL, -- to the minute
    PRIMARY KEY (organization_id, environment, key_id)
);

CREATE TABLE key_use (
    organization_id TEXT   NOT NULL,
    environment     TEXT   NOT NULL,
    period          BIGINT NOT NULL, -- minutes: 10, 60 or 1440. Each request counts in one of them alone
    key_id          TEXT   NOT NULL,
    begins_at       BIGINT NOT NULL,
    replica         TEXT   NOT NULL, -- that has counted it; '' for hours and days, which are those of all
    used_at         BIGINT NOT NULL,
    requests        BIGINT NOT NULL,
    refused         BIGINT NOT NULL, -- of requests
    PRIMARY KEY (organization_id, environment, period, key_id, begins_at, replica)
);
CREATE INDEX key_use_by_age ON key_use (period, begins_at);

-- +goose Down
DROP TABLE key_use;
DROP TABLE key_last_use;
