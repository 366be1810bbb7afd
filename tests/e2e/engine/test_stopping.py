"""Builds that are cancelled, crash, or lose their provisioner: what was made is never forgotten."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from devyard.provisioner.engine.terraform import Terraform
from devyard.provisioner.link.session import Session
from devyard.provisioner.results.instances import list_addresses, read_state
from devyard.wire.provisionerlink import BuildDone, Failed

from .jobs import build_job, slow_template
from .linkserver import KEY, LinkServer

QUICK = {"coder_agent.main", "terraform_data.quick"}


def seconds(test: int, backend: str) -> str:
    """A time to sleep that names this run's processes."""
    return f"{1000 + test}.{os.getpid()}{len(backend)}"


def find_processes(part: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if process.info["status"] != psutil.STATUS_ZOMBIE and part in " ".join(process.info["cmdline"] or ()):
            found.append(process)
    return found


async def wait_gone(part: str, timeout_s: float = 5) -> None:
    end = time.monotonic() + timeout_s
    while left := find_processes(part):
        assert time.monotonic() < end, left
        await asyncio.sleep(0.05)


async def test_cancel_keeps_what_is_finished(session: Session, server: LinkServer, backend: str) -> None:
    archive = slow_template(seconds(1, backend))
    ticket = await server.submit(archive, build_job())
    await ticket.wait_line("slow-begins")
    await server.cancel(ticket)
    failed = await ticket.result(20)
    assert isinstance(failed, Failed)
    assert failed.outcome == "canceled"
    assert list_addresses(read_state(failed.state)) >= QUICK
    await wait_gone(seconds(1, backend))
    # The next build goes on from there, on a fresh worker.
    ticket = await server.submit(archive, build_job("delete", failed.state))
    assert isinstance(await ticket.result(), BuildDone), ticket.text


async def test_forced_cancel_ends_at_once(session: Session, server: LinkServer, backend: str) -> None:
    ticket = await server.submit(slow_template(seconds(2, backend)), build_job())
    await ticket.wait_line("slow-begins")
    started = time.monotonic()
    await server.cancel(ticket, force=True)
    failed = await ticket.result(20)
    assert time.monotonic() - started < 5
    assert isinstance(failed, Failed)
    assert failed.outcome == "canceled"
    assert list_addresses(read_state(failed.state)) >= QUICK
    await wait_gone(seconds(2, backend))


async def test_state_is_sent_while_terraform_applies(session: Session, server: LinkServer, backend: str) -> None:
    ticket = await server.submit(slow_template(seconds(3, backend)), build_job())
    await ticket.wait_state(b'"quick"')
    assert not ticket.ended.is_set()
    serials = [msgspec.json.decode(message.state)["serial"] for message in ticket.states]
    assert serials == sorted(set(serials))
    await server.cancel(ticket, force=True)
    await ticket.result(20)


async def test_killed_worker(session: Session, server: LinkServer, backend: str, terraform: Terraform) -> None:
    ticket = await server.submit(slow_template(seconds(4, backend)), build_job())
    await ticket.wait_line("slow-begins")
    (worker,) = [
        process
        for process in psutil.Process().children()
        if any(seconds(4, backend) in " ".join(child.cmdline()) for child in process.children(recursive=True))
    ]
    worker.kill()
    failed = await ticket.result(20)
    assert isinstance(failed, Failed)
    assert failed.outcome == "failed"
    assert "crashed" in failed.error
    assert failed.possible_orphans == ("terraform_data.slow[0] (being created)",)
    assert list_addresses(read_state(failed.state)) >= QUICK
    await wait_gone(seconds(4, backend))
    ticket = await server.submit(slow_template("0"), build_job("stop", failed.state))
    assert isinstance(await ticket.result(), BuildDone), ticket.text


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_end_of_the_provisioner(
    server: LinkServer, backend: str, tmp_path: Path, how: signal.Signals
) -> None:
    mark = seconds(5 + how, backend)
    wait = "1.5" if how == signal.SIGTERM else mark
    process = await start_provisioner(server, backend, tmp_path)
    try:
        ticket = await server.submit(slow_template(wait), build_job())
        await ticket.wait_line("slow-begins")
        if how == signal.SIGKILL:
            await ticket.wait_state(b'"quick"')
            started = psutil.Process(process.pid).children(recursive=True)
            assert len(started) >= 2, "the worker and what the template started"
        process.send_signal(how)
        if how == signal.SIGKILL:
            await process.wait()
            _, alive = await asyncio.to_thread(psutil.wait_procs, started, 5)
            assert alive == []
            return
        result = await ticket.result(20)
        assert isinstance(result, BuildDone if how == signal.SIGTERM else Failed), result
        assert await asyncio.wait_for(process.wait(), 10) == 0
        await wait_gone(mark)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


WITHOUT_GROUPS = "from devyard.provisioner.sandbox import cgroups; cgroups.find_hierarchies = lambda: []; "


async def start_provisioner(
    server: LinkServer, backend: str, directory: Path, *, has_groups: bool = True
) -> asyncio.subprocess.Process:
    program = "from devyard.cli.provisioners.start import provisioner; provisioner()"
    key_file = directory / "key"
    key_file.write_text(KEY + "\n")
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program if has_groups else WITHOUT_GROUPS + program, "start"),
        *("--url", server.url, "--key-file", str(key_file), "--cache-dir", str(directory / "cache")),
        *("--terraform", backend, "--name", "mine", "--tag", "scope=organization"),
    )
