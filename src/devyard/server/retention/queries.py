"""SQL of the retention: each statement deletes (or marks) at most `limit` rows and answers how many.

Rows that somebody holds a lock on are left for the next round, so that no purge waits for anybody.
"""

from datetime import datetime

from devyard.server.db.pool import Executor


async def delete_agent_logs(executor: Executor, before: datetime, limit: int) -> int:
    """Lines of agents' logs from before a time, but for agents of a workspace's latest build."""
    return await _count(
        executor,
        """-- retention.delete_agent_logs
        DELETE FROM workspace_agent_logs WHERE id = ANY (ARRAY(
            SELECT l.id FROM workspace_agents a
            JOIN workspaces w ON w.id = a.workspace_id
            JOIN workspace_agent_logs l ON l.agent_id = a.id
            WHERE a.logs_purged_at IS NULL AND a.created_at < $1 AND l.created_at < $1
                AND a.build_id IS DISTINCT FROM w.latest_build_id
            LIMIT $2
        ))
        """,
        before,
        limit,
    )


async def mark_agents_without_logs(executor: Executor, before: datetime, limit: int) -> int:
    """Agents of earlier builds that have no log any more; they are not looked at again."""
    return await _count(
        executor,
        """-- retention.mark_agents_without_logs
        UPDATE workspace_agents SET logs_purged_at = now() WHERE id = ANY (ARRAY(
            SELECT a.id FROM workspace_agents a
            JOIN workspaces w ON w.id = a.workspace_id
            WHERE a.logs_purged_at IS NULL AND a.created_at < $1 AND a.build_id IS DISTINCT FROM w.latest_build_id
                AND NOT EXISTS (SELECT FROM workspace_agent_logs l WHERE l.agent_id = a.id)
            LIMIT $2 FOR UPDATE OF a SKIP LOCKED
        ))
        """,
        before,
        limit,
    )


async def delete_job_logs(executor: Executor, before: datetime, limit: int) -> int:
    """Logs of builds and dry runs that ended before a time, but for a workspace's latest build.

    The log of an import stays as long as its template version.
    """
    return await _count(
        executor,
        """-- retention.delete_job_logs
        DELETE FROM provisioner_job_logs WHERE id = ANY (ARRAY(
            SELECT l.id FROM provisioner_jobs j
            JOIN provisioner_job_logs l ON l.job_id = j.id
            WHERE j.logs_purged_at IS NULL AND j.type <> 'template_version_import' AND j.completed_at < $1
                AND NOT EXISTS (
                    SELECT FROM workspace_builds b JOIN workspaces w ON w.id = b.workspace_id
                    WHERE b.id = j.workspace_build_id AND w.latest_build_id = b.id
                )
            LIMIT $2
        ))
        """,
        before,
        limit,
    )


async def mark_jobs_without_logs(executor: Executor, before: datetime, limit: int) -> int:
    """Jobs of earlier builds that have no log any more; they are not looked at again."""
    return await _count(
        executor,
        """-- retention.mark_jobs_without_logs
        UPDATE provisioner_jobs SET logs_purged_at = now() WHERE id = ANY (ARRAY(
            SELECT j.id FROM provisioner_jobs j
            WHERE j.logs_purged_at IS NULL AND j.type <> 'template_version_import' AND j.completed_at < $1
                AND NOT EXISTS (
                    SELECT FROM workspace_builds b JOIN workspaces w ON w.id = b.workspace_id
                    WHERE b.id = j.workspace_build_id AND w.latest_build_id = b.id
                )
                AND NOT EXISTS (SELECT FROM provisioner_job_logs l WHERE l.job_id = j.id)
            LIMIT $2 FOR UPDATE OF j SKIP LOCKED
        ))
        """,
        before,
        limit,
    )


async def delete_agent_stats(executor: Executor, before: datetime, limit: int) -> int:
    """Reports of agents from before a time, oldest first."""
    return await _count(
        executor,
        """-- retention.delete_agent_stats
        DELETE FROM workspace_agent_stats WHERE id = ANY (ARRAY(
            SELECT id FROM workspace_agent_stats WHERE created_at < $1 ORDER BY created_at LIMIT $2
        ))
        """,
        before,
        limit,
    )


async def delete_script_runs(executor: Executor, before: datetime, limit: int) -> int:
    """Runs of scripts that ended before a time, oldest first."""
    return await _count(
        executor,
        """-- retention.delete_script_runs
        DELETE FROM workspace_agent_script_runs WHERE id = ANY (ARRAY(
            SELECT id FROM workspace_agent_script_runs WHERE ended_at < $1 ORDER BY ended_at LIMIT $2
        ))
        """,
        before,
        limit,
    )


async def delete_ended_keys(executor: Executor, before: datetime, limit: int) -> int:
    """Sessions and tokens that ended before a time."""
    return await _count(
        executor,
        """-- retention.delete_ended_keys
        DELETE FROM api_keys WHERE id = ANY (ARRAY(
            SELECT id FROM api_keys WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED
        ))
        """,
        before,
        limit,
    )


async def delete_audit_logs(executor: Executor, before: datetime, limit: int) -> int:
    """Audit rows from before a time, oldest first."""
    return await _count(
        executor,
        """-- retention.delete_audit_logs
        DELETE FROM audit_logs WHERE id = ANY (ARRAY(
            SELECT id FROM audit_logs WHERE time < $1 ORDER BY time LIMIT $2
        ))
        """,
        before,
        limit,
    )


async def delete_old_daemons(executor: Executor, before: datetime, limit: int) -> int:
    """Provisioners that were last seen before a time."""
    return await _count(
        executor,
        """-- retention.delete_old_daemons
        DELETE FROM provisioner_daemons WHERE id = ANY (ARRAY(
            SELECT id FROM provisioner_daemons WHERE last_seen_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED
        ))
        """,
        before,
        limit,
    )


async def delete_unused_files(executor: Executor, before: datetime, limit: int) -> int:
    """Archives last uploaded before a time that no job names, so no version, build or dry run either.

    The lock keeps out a job that is being made of the file at this moment; one that was committed between the
    look and the lock meets the foreign key, which fails this statement and spares the file.
    """
    return await _count(
        executor,
        """-- retention.delete_unused_files
        DELETE FROM files WHERE id = ANY (ARRAY(
            SELECT f.id FROM files f
            WHERE f.last_uploaded_at < $1 AND NOT EXISTS (SELECT FROM provisioner_jobs j WHERE j.file_id = f.id)
            ORDER BY f.last_uploaded_at LIMIT $2 FOR UPDATE OF f SKIP LOCKED
        ))
        """,
        before,
        limit,
    )


async def delete_package_references(executor: Executor, before: datetime, limit: int) -> int:
    """What versions of templates deleted before a time were packed with; no workspace is left that needs it."""
    return await _count(
        executor,
        """-- retention.delete_package_references
        DELETE FROM template_version_packages WHERE (template_version_id, position) IN (
            SELECT r.template_version_id, r.position FROM template_version_packages r
            JOIN template_versions v ON v.id = r.template_version_id
            JOIN templates t ON t.id = v.template_id
            WHERE t.deleted_at < $1 LIMIT $2
        )
        """,
        before,
        limit,
    )


async def delete_unused_packages(executor: Executor, before: datetime, limit: int) -> int:
    """Packages, and uploads that came to nothing, last used before a time and named by no version.

    An import that offers one uses it; its version then has as long as this rule keeps it to name it.
    """
    return await _count(
        executor,
        """-- retention.delete_unused_packages
        DELETE FROM packages WHERE id = ANY (ARRAY(
            SELECT p.id FROM packages p
            WHERE p.last_used_at < $1
                AND NOT EXISTS (SELECT FROM template_version_packages r WHERE r.package_id = p.id)
            ORDER BY p.last_used_at LIMIT $2 FOR UPDATE OF p SKIP LOCKED
        ))
        """,
        before,
        limit,
    )


async def _count(executor: Executor, sql: str, before: datetime, limit: int) -> int:
    """How many rows a statement changed, from its tag (`DELETE 12`)."""
    tag: str = await executor.execute(sql, before, limit)
    return int(tag.rpartition(" ")[2])
