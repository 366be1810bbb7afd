"""What an agent is told: its manifest and its relays, with tickets signed for it. Called by the hub."""

from typing import cast
from uuid import UUID

from devyard.server.agents.queries import ManifestRow
from devyard.server.services import Services
from devyard.wire import agentlink
from devyard.wire.enums import StartupBehavior
from devyard.wire.streams import RelayAccess, TicketClaims


def make_manifest(services: Services, row: ManifestRow, expires_at: int) -> agentlink.Manifest:
    """The manifest of an agent; `expires_at` of its tickets in Unix seconds."""
    return agentlink.Manifest(
        agent_id=row.agent_id,
        agent_name=row.agent_name,
        workspace_id=row.workspace_id,
        workspace_name=row.workspace_name,
        owner_id=row.owner_id,
        owner_name=row.owner_name,
        owner_full_name=row.owner_full_name,
        owner_email=row.owner_email,
        access_url=services.settings.access_url,
        directory=row.directory,
        environment=row.variables,
        motd_file=row.motd_file,
        startup_behavior=cast("StartupBehavior", row.startup_behavior),
        scripts=[
            agentlink.Script(
                id=script.id,
                log_source_id=script.log_source_id,
                display_name=script.display_name,
                script=script.script,
                log_path=script.log_path,
                cron=script.cron,
                run_on_start=script.run_on_start,
                run_on_stop=script.run_on_stop,
                start_blocks_login=script.start_blocks_login,
                timeout_s=script.timeout_s,
            )
            for script in row.scripts
        ],
        metadata=row.metadata,
        apps=row.apps,
        relays=make_relays(services, row.agent_id, row.workspace_id, expires_at),
        git_ssh_private_key=row.git_private_key,
    )


def make_relays(services: Services, agent_id: UUID, workspace_id: UUID, expires_at: int) -> list[RelayAccess]:
    """Where an agent keeps its spare connections, with the ticket for it."""
    claims = TicketClaims(kind="agent", agent_id=agent_id, workspace_id=workspace_id, expires_at=expires_at)
    return [_access(services, claims)]


def make_client_relays(
    services: Services, agent_id: UUID, workspace_id: UUID, user_id: UUID, expires_at: int
) -> list[RelayAccess]:
    """Where a user reaches an agent, with a ticket for that user and agent alone."""
    claims = TicketClaims(
        kind="client", agent_id=agent_id, workspace_id=workspace_id, expires_at=expires_at, user_id=user_id
    )
    return [_access(services, claims)]


def _access(services: Services, claims: TicketClaims) -> RelayAccess:
    url = services.settings.access_url.rstrip("/")
    return RelayAccess(url=url, ticket=services.signer.sign(claims), expires_at=claims.expires_at)
