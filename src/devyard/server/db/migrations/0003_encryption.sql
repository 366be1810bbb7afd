-- Encryption at rest (server/encryption, docs/design/encryption.md). Columns keep their types: a sealed value is
-- marked, and rows that earlier versions wrote in plain text are sealed by a loop after the start.

-- Keys that rows may be sealed with; the keys themselves are never in the database.
CREATE TABLE encryption_keys (
    id text PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    written_at timestamptz NOT NULL DEFAULT now(),
    sealed_at timestamptz
);

-- What a dry run was given, apart from what says how a job is to be run.
ALTER TABLE provisioner_jobs ADD COLUMN given_values jsonb NOT NULL DEFAULT '{}';
UPDATE provisioner_jobs
SET given_values = jsonb_strip_nulls(
        jsonb_build_object('parameters', input->'parameters', 'variables', input->'variables')),
    input = input - 'parameters' - 'variables'
WHERE input ?| ARRAY['parameters', 'variables'];

-- Values that nobody is ever shown are not kept at all.
UPDATE template_versions v
SET variables = (
    SELECT jsonb_agg(CASE WHEN x.item->'sensitive' = 'true' THEN x.item || '{"default_value": ""}' ELSE x.item END
                     ORDER BY x.place)
    FROM jsonb_array_elements(v.variables) WITH ORDINALITY AS x (item, place))
WHERE v.variables @> '[{"sensitive": true}]';
UPDATE workspace_resources r
SET metadata = (
    SELECT jsonb_agg(CASE WHEN x.item->'sensitive' = 'true' THEN x.item || '{"value": ""}' ELSE x.item END
                     ORDER BY x.place)
    FROM jsonb_array_elements(r.metadata) WITH ORDINALITY AS x (item, place))
WHERE r.metadata @> '[{"sensitive": true}]';
