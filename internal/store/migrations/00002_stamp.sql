-- +goose Up
CREATE TABLE stamp ( -- one row: which database this is, and how far, for its media library to be compared with
    id          BIGINT NOT NULL PRIMARY KEY,
    database_id TEXT   NOT NULL,
    sweep       BIGINT NOT NULL
);

-- +goose Down
DROP TABLE stamp;
