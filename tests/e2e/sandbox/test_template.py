"""The starter template on real Terraform, our provider and real sandboxes: a workspace's whole life."""

import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from devyard.provisioner.context import BuildContext
from devyard.provisioner.provider.server import ProviderServer
from devyard.provisioner.sandbox.runtime import Sandboxes
from tests.e2e.provider.conftest import BACKENDS, Terraform
from tests.e2e.sandbox.conftest import READY, clean_up, wait_until

pytestmark = [pytest.mark.root, pytest.mark.slow]

STARTER = Path(__file__).parents[3] / "templates" / "local"
# Stands for the agent: notes what it was given, and runs the agent's scripts that the test hands it.
AGENT = (
    f'{{ echo "${{ACCESS_URL}}"; whoami; env; }} >~/agent.part; mv ~/agent.part ~/agent\n{READY}exec sleep 300\n'
)


class Workspace:
    """One workspace of the template, built as a provisioner does."""

    def __init__(self, terraform: Terraform) -> None:
        self.terraform = terraform
        self.builds = 0

    async def build(self, transition: str = "start", *words: str, **parameters: str) -> dict[str, Any]:
        self.builds += 1
        context = BuildContext(
            access_url="http://127.0.0.1:7080",
            transition=transition,  # type: ignore[arg-type]
            build_id=f"build-{self.builds}",
            workspace_id="11111111-2222-3333-4444-555555555555",
            workspace_name="Dev-1",
            template_id="t1",
            template_name="local",
            template_version="one",
            owner_id="o1",
            owner_name="ada",
            owner_email="ada@example.com",
            parameters=parameters,
            agent_init_scripts={"linux/amd64": AGENT, "linux/arm64": AGENT, "linux/armv7": AGENT},
        )
        result = await self.terraform.run(
            "apply", "-input=false", "-no-color", "-auto-approve", *words, context=context
        )
        assert result.code == 0, result.output
        return self.terraform.state()


@pytest.fixture(params=sorted(BACKENDS))
async def workspace(request: pytest.FixtureRequest, sandboxes: Sandboxes) -> AsyncIterator[Workspace]:
    folder = Path(tempfile.mkdtemp(prefix="dy-"))
    for name in ("main.tf", "README.md"):
        shutil.copy(STARTER / name, folder / name)
    provider = await ProviderServer.start(folder / "p.sock", sandboxes=sandboxes)
    terraform = Terraform(BACKENDS[request.param], folder, provider, None)  # type: ignore[arg-type]
    try:
        initialised = await terraform.run("init", "-input=false", "-no-color")
        assert initialised.code == 0, initialised.output
        yield Workspace(terraform)
    finally:
        await provider.close()
        shutil.rmtree(folder)


async def test_a_workspace_is_built_stopped_started_and_deleted(
    workspace: Workspace, sandboxes: Sandboxes, root: Path
) -> None:
    state = await workspace.build(cpus="1", memory_mb="1024", shell="/bin/sh")
    sandbox = state["devyard_sandbox.workspace[0]"]
    home = Path(state["devyard_sandbox_home.home"]["path"])
    (status,) = await sandboxes.list()
    assert (sandbox["id"], sandbox["pid"]) == (status.id, status.pid)
    assert sandbox["hostname"] == "dev-1"
    assert sandbox["memory_mb"] == 1024
    await wait_until((home / "agent").exists)
    told = (home / "agent").read_text()
    assert told.startswith("http://127.0.0.1:7080\ndev\n")
    assert f"CODER_AGENT_TOKEN={state['devyard_agent.main']['token']}\n" in told
    assert "SHELL=/bin/sh\n" in told
    (home / "kept").touch()

    state = await workspace.build("stop")
    assert "devyard_sandbox.workspace[0]" not in state
    assert await sandboxes.list() == []
    assert (home / "kept").exists()

    state = await workspace.build()
    (again,) = await sandboxes.list()
    assert state["devyard_sandbox.workspace[0]"]["pid"] == again.pid != status.pid
    assert state["devyard_sandbox_home.home"]["path"] == str(home)
    assert (home / "kept").exists()

    state = await workspace.build("delete", "-destroy")
    assert state == {}
    assert await sandboxes.list() == []
    assert not home.exists()
    assert [str(path) for path in root.rglob("*") if path.is_file()] == []


async def test_parameters_say_what_they_allow(workspace: Workspace) -> None:
    for parameters, named in (
        ({"cpus": "1000000"}, "cpus"),
        ({"memory_mb": "1"}, "memory_mb"),
        ({"dotfiles_uri": "--upload-pack=touch"}, "dotfiles_uri"),
    ):
        with pytest.raises(AssertionError, match=named):
            await workspace.build(**parameters)
    for good in ("https://example.com/me/dotfiles.git", "git@example.com:me/dotfiles", "ssh://git@example.com/x"):
        state = await workspace.build(dotfiles_uri=good)
        assert state["devyard_env.dotfiles_uri"]["value"] == good


async def test_its_scripts_work_in_a_workspace(workspace: Workspace, sandboxes: Sandboxes, root: Path) -> None:
    """The scripts of the agent, taken from the state and run inside of a sandbox by the shell that runs them."""
    agent = (await workspace.build())["devyard_agent.main"]
    scripts = {each["key"]: each["script"] for each in agent["metadata"]}
    await clean_up(sandboxes, root)
    files = await sandboxes.create_home("home", name="home")
    (files / "scripts.json").write_text(json.dumps({**scripts, "startup": agent["startup_script"]}))
    (files / "scripts.json").chmod(0o644)
    from tests.e2e.sandbox.conftest import look

    seen = await look(
        sandboxes,
        """
        git init -q dots && cd dots && git config user.email a@b && git config user.name a
        printf '#!/bin/sh\\ntouch ~/installed\\n' >install.sh && chmod +x install.sh
        git add . && git commit -qm x && cd
        (while :; do :; done) & burner=$!
        for key in cpu memory home startup startup; do
            python3 -c 'import json,sys; print(json.load(open("scripts.json"))[sys.argv[1]])' $key >script
            echo "$key: $(sh script 2>&1)"
        done
        kill $burner
        ls
        """,
        env={"DOTFILES_URI": "file:///home/dev/dots"},
    )
    lines = seen.splitlines()
    cpu = int(lines[0].removeprefix("cpu: ").removesuffix("% of a core"))
    assert 2 <= cpu <= 120, "one process burns what it gets of a core"
    memory = int(lines[1].removeprefix("memory: ").removesuffix(" MiB"))
    assert 3 <= memory <= 200
    assert lines[2].startswith("home: ")
    assert lines[2][-1] in "KM"
    assert lines[3] == "startup: Cloning your dotfiles"
    assert seen.count("The workspace is ready.") == 2
    assert seen.count("Cloning your dotfiles") == 1
    assert "installed" in lines
    assert os.path.isdir(files / ".dotfiles" / ".git")
