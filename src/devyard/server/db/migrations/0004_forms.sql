-- Forms (server/forms): which versions' parameters depend on the user or on each other, and forms on their way to a
-- provisioner that is connected to another process. The rows live for seconds, so that a crash may lose them.

ALTER TABLE template_versions ADD COLUMN dynamic_parameters boolean NOT NULL DEFAULT false;

CREATE UNLOGGED TABLE form_requests (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    tags jsonb NOT NULL,
    template_version_id uuid NOT NULL,
    owner_id uuid NOT NULL,
    workspace_id uuid,
    inputs jsonb NOT NULL,
    previous jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    claimed_at timestamptz,
    answer bytea
);
CREATE INDEX form_requests_waiting ON form_requests (created_at) WHERE claimed_at IS NULL;
CREATE INDEX form_requests_expired ON form_requests (expires_at);
