-- The queue: what people ask for goes before what nobody waits for (`priority` 0 before 1), oldest first. A version's
-- `workspace_tags` are the tags of its builds' jobs, worked out by its import from the parameters' defaults.

ALTER TABLE provisioner_jobs ADD COLUMN priority smallint NOT NULL DEFAULT 0;
DROP INDEX provisioner_jobs_pending;
CREATE INDEX provisioner_jobs_pending ON provisioner_jobs (organization_id, priority, created_at, id)
    WHERE status = 'pending';
CREATE INDEX provisioner_jobs_listed ON provisioner_jobs (organization_id, created_at DESC, id);

ALTER TABLE template_versions ADD COLUMN workspace_tags jsonb NOT NULL DEFAULT '{}';
