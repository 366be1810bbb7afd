"""Terraform killed at random moments: everything that it made is in the state that remains, or named."""

import asyncio
import random
from pathlib import Path

import psutil
import pytest

from devyard.provisioner.link.session import Session
from devyard.provisioner.results.instances import list_addresses, read_state
from devyard.wire.provisionerlink import BuildDone, Failed

from .jobs import build_job
from .linkserver import LinkServer, pack

COUNT = 40
TEMPLATE = """
resource "terraform_data" "x" {
  count = COUNT
  input = "FILLER"
  provisioner "local-exec" {
    command = "touch DIRECTORY/${count.index}"
  }
}
"""


@pytest.mark.parametrize("seed", range(4))
async def test_what_was_made_is_never_unknown(
    session: Session, server: LinkServer, tmp_path: Path, seed: int, backend: str
) -> None:
    made = tmp_path / "made"
    made.mkdir()
    text = TEMPLATE.replace("COUNT", str(COUNT)).replace("FILLER", "x" * 2000).replace("DIRECTORY", str(made))
    archive = pack({"main.tf": text})
    ticket = await server.submit(archive, build_job())
    wanted = random.Random(seed).randrange(3, COUNT - 12)
    async with asyncio.timeout(30):
        while len(list(made.iterdir())) < wanted:
            await asyncio.sleep(0.001)
    kill_workers(backend)
    failed = await ticket.result()
    assert isinstance(failed, Failed), "the kill came too late"
    assert "crashed" in failed.error
    known = list_addresses(read_state(failed.state)) | {name.split(" (")[0] for name in failed.possible_orphans}
    existing = {f"terraform_data.x[{file.name}]" for file in made.iterdir()}
    assert len(existing) >= wanted
    assert existing <= known
    assert all(not state.state or read_state(state.state) for state in ticket.states)
    # The workspace can be built again, and be deleted.
    ticket = await server.submit(archive, build_job(state=failed.state))
    done = await ticket.result()
    assert isinstance(done, BuildDone), ticket.text
    assert len(done.resources) == COUNT
    ticket = await server.submit(archive, build_job("delete", done.state))
    assert isinstance(await ticket.result(), BuildDone)


def kill_workers(backend: str) -> None:
    """Kills Terraform itself, as the kernel does when memory runs out."""
    for process in psutil.Process().children():
        if "worker.py" in " ".join(process.cmdline()):
            targets = process.children() if backend == "binary" else [process]
            for target in targets:
                target.kill()
