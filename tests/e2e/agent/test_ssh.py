"""SSH into a workspace with OpenSSH's own client: commands, terminals, signals, many sessions."""

import asyncio
import hashlib
import os

import pytest

from tests.e2e.agent.conftest import Workspace


async def test_command_has_separate_outputs_and_exit_code(workspace: Workspace) -> None:
    result = await workspace.ssh("echo out; echo err >&2; exit 3")
    assert (result.code, result.out, result.err) == (3, b"out\n", b"err\n")


async def test_command_sees_the_workspace_environment(workspace: Workspace) -> None:
    result = await workspace.ssh(
        "echo $CODER $CODER_WORKSPACE_NAME $CODER_WORKSPACE_OWNER_NAME $FROM_TEMPLATE $GIT_AUTHOR_EMAIL; pwd"
    )
    assert result.out.decode().split() == ["true", "dev", "ada", "yes", "ada@example.com", str(workspace.home)]


async def test_death_by_signal_is_reported(workspace: Workspace) -> None:
    result = await workspace.ssh("kill -TERM $$")
    assert result.code == 255  # OpenSSH's code for an exit-signal


async def test_standard_input_reaches_the_command_and_ends(workspace: Workspace) -> None:
    result = await workspace.ssh("cat", stdin=b"\x00\xff\r\nbytes")
    assert result.out == b"\x00\xff\r\nbytes"


async def test_terminal_has_a_controlling_tty_and_a_size(workspace: Workspace) -> None:
    result = await workspace.ssh(
        ": </dev/tty && tty; test -t 0 -a -t 1 -a -t 2 && echo tty; exit 5", flags=("-tt",)
    )
    assert result.code == 5
    lines = result.out.replace(b"\r", b"").split()
    assert lines[0].startswith(b"/dev/pts/")
    assert lines[-1] == b"tty"


async def test_shell_on_a_terminal_reads_commands(workspace: Workspace) -> None:
    result = await workspace.ssh(flags=("-tt",), stdin=b"stty -echo; echo shell-$((40+2)); exit 7\n")
    assert result.code == 7
    assert b"shell-42" in result.out


async def test_window_change_reaches_the_program(workspace: Workspace) -> None:
    import asyncssh

    async with asyncssh.connect(
        "127.0.0.1", workspace.relay.ssh_port, known_hosts=None, username="u", client_keys=None, config=None
    ) as connection:
        process = await connection.create_process(
            "trap 'stty size; exit 0' WINCH; stty size; while :; do sleep 0.05; done",
            term_type="xterm",
            term_size=(80, 24),
        )
        assert (await process.stdout.readline()).strip() == "24 80"
        process.change_terminal_size(132, 43)
        assert (await process.stdout.readline()).strip() == "43 132"
        await process.wait_closed()
        assert process.exit_status == 0


async def test_client_signal_reaches_the_process_group(workspace: Workspace) -> None:
    import asyncssh

    async with asyncssh.connect(
        "127.0.0.1", workspace.relay.ssh_port, known_hosts=None, username="u", client_keys=None, config=None
    ) as connection:
        process = await connection.create_process("echo started; exec sleep 60")
        assert (await process.stdout.readline()).strip() == "started"
        process.send_signal("TERM")
        await process.wait_closed()
        assert process.exit_signal is not None
        assert process.exit_signal[0] == "TERM"


async def test_lost_client_hangs_up_its_command(workspace: Workspace) -> None:
    marker = workspace.home / "hup"
    ssh = asyncio.ensure_future(
        workspace.ssh(
            f"exec 2>/dev/null; trap 'echo hup > {marker}; exit' HUP; touch {marker}.up; "
            "while :; do sleep 0.05; done"
        )
    )
    while not (workspace.home / "hup.up").exists():
        await asyncio.sleep(0.02)
    ssh.cancel()
    async with asyncio.timeout(10):
        while not marker.exists():
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_bulk_is_exact_both_ways(workspace: Workspace) -> None:
    block = os.urandom(1 << 20)
    path = workspace.home / "bulk"
    with path.open("wb") as out:
        for index in range(200):
            out.write(block[index:] + block[:index])
    digest = hashlib.sha256(path.read_bytes()).hexdigest().encode()
    back = await workspace.run(
        "sh", "-c", 'ssh -F none "$@" u@127.0.0.1 cat $0 | sha256sum', str(path), *workspace.ssh_options()
    )
    assert back.out.split()[0] == digest
    up = await workspace.run(
        "sh", "-c", 'ssh -F none "$@" u@127.0.0.1 sha256sum < $0', str(path), *workspace.ssh_options()
    )
    assert up.out.split()[0] == digest


async def test_fifty_sessions_over_one_connection(workspace: Workspace) -> None:
    import asyncssh

    async with asyncssh.connect(
        "127.0.0.1", workspace.relay.ssh_port, known_hosts=None, username="u", client_keys=None, config=None
    ) as connection:
        results = await asyncio.gather(
            *(connection.run(f"read x; echo $x-{n}", input=f"{n}\n") for n in range(50))
        )
    assert [result.stdout for result in results] == [f"{n}-{n}\n" for n in range(50)]


async def test_background_job_does_not_hold_a_terminal(workspace: Workspace) -> None:
    async with asyncio.timeout(10):
        result = await workspace.ssh("sleep 30 & echo done", flags=("-tt",))
    assert result.code == 0
    assert b"done" in result.out


async def test_message_of_the_day(workspace: Workspace) -> None:
    (workspace.home / "motd.txt").write_text("Welcome to dev\n")
    import msgspec

    await workspace.control.send(msgspec.structs.replace(workspace.control.manifest, motd_file="~/motd.txt"))
    result = await workspace.ssh(flags=("-tt",), stdin=b"exit\n")
    assert b"Welcome to dev\r\n" in result.out
    (workspace.home / ".hushlogin").touch()
    result = await workspace.ssh(flags=("-tt",), stdin=b"exit\n")
    assert b"Welcome to dev" not in result.out
