-- What the retention needs (server/retention): indexes that find old rows, and marks on those whose logs are gone, so
-- that each round looks only at what may still have something to delete. The marks stand in no index of a hot column.

ALTER TABLE files ADD COLUMN last_uploaded_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX files_uploaded ON files (last_uploaded_at);
CREATE INDEX provisioner_jobs_file ON provisioner_jobs (file_id);

ALTER TABLE provisioner_jobs ADD COLUMN logs_purged_at timestamptz;
CREATE INDEX provisioner_jobs_with_logs ON provisioner_jobs (completed_at)
    WHERE logs_purged_at IS NULL AND type <> 'template_version_import';

ALTER TABLE workspace_agents ADD COLUMN logs_purged_at timestamptz;
CREATE INDEX workspace_agents_with_logs ON workspace_agents (created_at) WHERE logs_purged_at IS NULL;

CREATE INDEX workspace_agent_script_runs_ended ON workspace_agent_script_runs (ended_at);
