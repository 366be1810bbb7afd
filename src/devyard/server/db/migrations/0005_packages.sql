-- What versions are packed with at import (server/packages): content by SHA-256, shared by all versions that name it.
-- An upload has a row of its own until all of it is there; the retention removes what no version names.

CREATE TABLE packages (
    id uuid PRIMARY KEY,
    sha256 text NOT NULL,
    size_bytes bigint NOT NULL,
    is_complete boolean NOT NULL DEFAULT false,
    last_used_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX packages_sha256_key ON packages (sha256) WHERE is_complete;
CREATE INDEX packages_used ON packages (last_used_at);

CREATE TABLE package_parts (
    package_id uuid NOT NULL REFERENCES packages ON DELETE CASCADE,
    number int NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (package_id, number)
);
-- The content is compressed already.
ALTER TABLE package_parts ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE TABLE template_version_packages (
    template_version_id uuid NOT NULL REFERENCES template_versions ON DELETE CASCADE,
    position int NOT NULL,
    package_id uuid NOT NULL REFERENCES packages,
    kind text NOT NULL CHECK (kind IN ('modules', 'provider')),
    name text NOT NULL,
    version text NOT NULL,
    platform text NOT NULL,
    PRIMARY KEY (template_version_id, position)
);
CREATE INDEX template_version_packages_package ON template_version_packages (package_id);

ALTER TABLE template_versions ADD COLUMN lock_file bytea NOT NULL DEFAULT '';

CREATE INDEX templates_deleted ON templates (deleted_at) WHERE deleted_at IS NOT NULL;
