-- What a job needs so that a crash of any part is told and repaired (docs/design/builds.md).

-- What its provisioner makes and removes right now, as it last said: the possible orphans if nothing more is heard.
ALTER TABLE provisioner_jobs ADD COLUMN in_flight jsonb NOT NULL DEFAULT '{}';
-- What may exist although no state knows it, once the job has ended without success.
ALTER TABLE provisioner_jobs ADD COLUMN possible_orphans jsonb NOT NULL DEFAULT '[]';
-- The newest message of log lines that is kept: one that is sent again after a cut is not kept twice.
ALTER TABLE provisioner_jobs ADD COLUMN logs_seq bigint NOT NULL DEFAULT 0;
-- The lease under which a job was given up: whoever held it may still bring the state that it left.
ALTER TABLE provisioner_jobs ADD COLUMN lost_lease_id uuid;
