-- +goose Up
ALTER TABLE processes ADD COLUMN vault_keys TEXT NOT NULL DEFAULT ''; -- that it knows: "PRIMARY OTHER …", '' for none

-- +goose Down
ALTER TABLE processes DROP COLUMN vault_keys;
