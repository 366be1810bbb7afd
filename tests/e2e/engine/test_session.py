"""The link under bad conditions: cut connections, lost leases, a server that drains, jobs one after the other."""

import asyncio
from pathlib import Path

from devyard.provisioner.link.session import Session
from devyard.provisioner.results.instances import read_head
from devyard.wire.provisionerlink import CHUNK_BYTES, BuildDone, Failed, ImportDone

from .jobs import FULL, build_job, import_job, slow_template
from .linkserver import LinkServer, pack

ARCHIVE = pack({"main.tf": FULL})


async def wait_registered(server: LinkServer, count: int) -> None:
    async with asyncio.timeout(20):
        while len(server.registrations) < count:
            await asyncio.sleep(0.02)


async def test_registration_says_who_it_is(session: Session, server: LinkServer) -> None:
    (first,) = server.registrations
    assert (first.name, first.tags, first.resume) == ("test", {"scope": "organization"}, None)
    assert first.terraform_version.startswith("1.")


async def test_job_survives_a_cut_connection(session: Session, server: LinkServer) -> None:
    ticket = await server.submit(slow_template("2"), build_job())
    await ticket.wait_line("slow-begins")
    await server.cut()
    await wait_registered(server, 2)
    assert server.registrations[1].daemon_id == server.registrations[0].daemon_id
    assert server.registrations[1].resume == (ticket.job.job_id, ticket.job.lease_id)
    assert isinstance(await ticket.result(), BuildDone)
    assert len(ticket.results) == 1
    await asyncio.wait_for(server.ready.wait(), 10)


async def test_result_is_sent_again_until_it_is_stored(session: Session, server: LinkServer) -> None:
    server.is_acknowledging = False
    ticket = await server.submit(ARCHIVE, build_job())
    done = await ticket.result()
    await asyncio.sleep(0.1)
    assert not server.ready.is_set(), "not free before the result is stored"
    server.is_acknowledging = True
    await server.cut()
    await asyncio.wait_for(server.ready.wait(), 10)
    assert ticket.results == [done, done]


async def test_state_is_sent_again_after_a_cut(session: Session, server: LinkServer) -> None:
    server.is_acknowledging = False
    ticket = await server.submit(slow_template("60"), build_job())
    await ticket.wait_state(b'"')
    before = len(ticket.states)
    server.is_acknowledging = True
    await server.cut()
    await wait_registered(server, 2)
    await ticket.wait_state(b'"quick"')
    assert len(ticket.states) > before
    heads = [read_head(message.state) for message in ticket.states]
    assert all(heads)
    assert len({message.seq for message in ticket.states}) == len(ticket.states)
    await server.cancel(ticket, force=True)
    assert isinstance(await ticket.result(), Failed)


async def test_lost_lease_stops_terraform_and_keeps_the_state_in_a_file(
    session: Session, server: LinkServer, tmp_path: Path
) -> None:
    server.refusal = "the lease is gone"  # for states and results
    ticket = await server.submit(slow_template("60"), build_job())
    await asyncio.wait_for(server.ready.wait(), 30)
    (kept,) = (tmp_path / "lost").glob("*.tfstate")
    assert ticket.job.work.context.workspace_id in kept.name
    assert kept.stat().st_mode & 0o777 == 0o600
    assert b'"quick"' in kept.read_bytes()


async def test_drained_server_is_left_and_found_again(session: Session, server: LinkServer) -> None:
    server.ready.clear()
    await server.drain()
    await wait_registered(server, 2)
    ticket = await server.submit(ARCHIVE, import_job())
    assert isinstance(await ticket.result(), ImportDone)


async def test_draining_provisioner_ends_when_its_job_has(session: Session, server: LinkServer) -> None:
    ticket = await server.submit(slow_template("1"), build_job())
    await ticket.wait_line("slow-begins")
    session.drain()
    assert isinstance(await ticket.result(), BuildDone)
    await asyncio.wait_for(server.connection.wait_closed(), 10)
    assert not server.ready.is_set()


async def test_large_archive_comes_in_chunks(session: Session, server: LinkServer) -> None:
    noise = "".join(f"# {number}\n" for number in range(150_000))
    archive = pack({"main.tf": FULL, "notes.txt": noise})
    assert len(archive) > 2 * CHUNK_BYTES
    ticket = await server.submit(archive, import_job())
    assert isinstance(await ticket.result(), ImportDone), ticket.text


async def test_chatty_template_does_not_flood_the_log(session: Session, server: LinkServer) -> None:
    template = """
resource "terraform_data" "x" {
  provisioner "local-exec" {
    command = "yes 'a line of no use at all to anybody who may read it' | head -c 2500000"
  }
}
"""
    ticket = await server.submit(pack({"main.tf": template}), build_job())
    assert isinstance(await ticket.result(), BuildDone)
    assert len(ticket.text) < 5 << 20
    assert "the rest is left out" in ticket.lines[-1].output
