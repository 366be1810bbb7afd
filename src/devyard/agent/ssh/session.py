"""One SSH session: a shell or command in a child process, on a terminal or on pipes; or the SFTP subsystem.

Made by server.py for each session channel. Life: requests (pty, env) → `session_started` → bytes and signals
→ the child's end, and the end of its output → exit status. Invariants: nothing here blocks the loop; when the
client leaves, the child's process group gets SIGHUP and every descriptor is closed.
"""

import asyncio
import os
import signal
from collections.abc import Mapping

import asyncssh

from devyard.agent import children
from devyard.agent.environment import is_variable_name
from devyard.agent.ssh import files, motd, terminal
from devyard.agent.ssh.blocking import is_file_transfer
from devyard.agent.ssh.context import SessionKind, SSHContext, Surroundings, session_kind
from devyard.agent.ssh.pumps import InPump, OutPump

BLOCKED_EXIT_CODE = 65
START_FAILED_EXIT_CODE = 127
TICK_S, QUIET_TICKS, MAX_TICKS = 0.05, 2, 40
"""How a terminal is drained after its program has ended while a background job still holds it."""
_SIGNAL_NAMES = {number.value: number.name.removeprefix("SIG") for number in signal.Signals}
_SSH_ADDRESS = "0.0.0.0 0 0.0.0.0 0"


class Session(asyncssh.SSHServerSession[bytes]):
    """The server's side of a session channel."""

    def __init__(self, context: SSHContext) -> None:
        self._context = context
        self._channel: asyncssh.SSHServerChannel[bytes]
        self._command: str | None = None
        self._is_sftp = False
        self._term = ""
        self._size: terminal.Size = (0, 0, 0, 0)
        self._modes: Mapping[int, int] = {}
        self._master = -1
        self._child: children.Child | None = None
        self._kind: SessionKind | None = None
        self._stdin: InPump | None = None
        self._outputs: list[OutPump] = []
        self._open_outputs = 0
        self._outputs_ended = asyncio.Event()
        self._sent_bytes = 0
        self._files: files.FileSession | None = None
        self._start: asyncio.Task[None] | None = None
        self._early = bytearray()
        self._is_input_ended = False
        self._is_ended = False

    # Requests of the client, before the start

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """The channel is open."""
        self._channel = chan

    def pty_requested(self, term_type: str, term_size: terminal.Size, term_modes: Mapping[int, int]) -> bool:
        """The client wants a terminal."""
        self._term, self._size, self._modes = term_type, term_size, term_modes
        return True

    def shell_requested(self) -> bool:
        """The login shell."""
        return True

    def exec_requested(self, command: str) -> bool:
        """A command, run by the user's shell."""
        self._command = command
        return True

    def subsystem_requested(self, subsystem: str) -> bool:
        """`sftp` is the only subsystem."""
        self._is_sftp = subsystem == "sftp" and not self._context.is_file_transfer_blocked
        return self._is_sftp

    def session_started(self) -> None:
        """Starts the child, or hands the channel to the file server."""
        surroundings = self._context.surroundings()
        environment = self._environment(surroundings)
        self._kind = session_kind(environment)
        self._context.counts.sessions[self._kind] += 1
        is_blocked = self._context.is_file_transfer_blocked
        if is_blocked and self._command is not None and is_file_transfer(self._command):
            self._fail("File transfer is blocked in this workspace.", BLOCKED_EXIT_CODE)
            return
        if self._is_sftp or files.needs_builtin_scp(self._command, environment):
            self._files = files.FileSession(self._channel, surroundings)
            self._files.start()
            return
        self._start = asyncio.ensure_future(self._start_child(surroundings, environment))

    # While it runs

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Bytes for the child's standard input."""
        self._context.counts.rx_bytes += len(data)
        if self._files is not None:
            self._files.data_received(data, datatype)
        elif self._stdin is not None:
            self._stdin.write(data)
        elif not self._is_ended:  # the child is being started: the window bounds what waits
            self._early += data
            self._channel.pause_reading()

    def eof_received(self) -> bool:
        """The client's standard input ended; the channel stays open for output."""
        if self._files is not None:
            self._files.eof_received()
        else:
            self._is_input_ended = True
            self._end_input()
        return True

    def pause_writing(self) -> None:
        """The client does not read fast enough."""
        if self._files is not None:
            self._files.pause_writing()
        for output in self._outputs:
            output.pause()

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._files is not None:
            self._files.resume_writing()
        for output in self._outputs:
            output.resume()

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        """The client's window has a new size."""
        self._size = (width, height, pixwidth, pixheight)
        if self._master >= 0:
            terminal.set_size(self._master, self._size)

    def signal_received(self, signal: str) -> None:
        """Passes a signal on: to the terminal's foreground group, or to the child's group."""
        number = next((value for value, name in _SIGNAL_NAMES.items() if name == signal), None)
        if number is not None:
            self._signal(number)

    def break_received(self, msec: int) -> bool:
        """A break interrupts, as on a serial line."""
        self._signal(signal.SIGINT)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is gone: hang up."""
        self._is_ended = True
        if self._kind is not None:
            self._context.counts.sessions[self._kind] -= 1
            self._kind = None
        if self._files is not None:
            self._files.connection_lost(exc)
        if self._child is not None and self._child.returncode is None:
            self._child.signal_group(signal.SIGHUP)
        self._close_descriptors()

    # The child

    def _environment(self, surroundings: Surroundings) -> dict[str, str]:
        environment = dict(surroundings.environment)
        environment["SSH_CONNECTION"] = _SSH_ADDRESS
        environment["SSH_CLIENT"] = _SSH_ADDRESS.rpartition(" ")[0]
        for name, value in self._channel.get_environment().items():
            if is_variable_name(name) and "\0" not in value:
                environment[name] = value
        agent_path = self._channel.get_agent_path()
        if agent_path:
            environment["SSH_AUTH_SOCK"] = agent_path
        if self._term:
            environment["TERM"] = self._term
        return environment

    async def _start_child(self, surroundings: Surroundings, environment: dict[str, str]) -> None:
        argv = [surroundings.shell, "-l"] if self._command is None else [surroundings.shell, "-c", self._command]
        try:
            if self._term:
                if self._command is None:
                    await self._show_motd(surroundings)
                if self._is_ended:
                    return
                self._start_on_terminal(argv, surroundings, environment)
            else:
                self._start_on_pipes(argv, surroundings, environment)
        except OSError as error:
            self._close_descriptors()
            text = children.describe_start_error(argv, surroundings.directory, error)
            self._fail(text, START_FAILED_EXIT_CODE)
            return
        assert self._child is not None
        self._pass_early_input()
        code = await self._child.wait()
        await self._end_of_output()
        self._finish(code)

    async def _show_motd(self, surroundings: Surroundings) -> None:
        text = await asyncio.to_thread(motd.read_motd, surroundings.home, surroundings.motd_file)
        if text and not self._is_ended:
            self._send(text)

    def _start_on_terminal(self, argv: list[str], surroundings: Surroundings, environment: dict[str, str]) -> None:
        self._master, slave = terminal.open_terminal(self._size, self._modes)
        try:
            environment["SSH_TTY"] = os.ttyname(slave)
            self._child = children.spawn_on_terminal(
                argv, cwd=surroundings.directory, environment=environment, terminal=slave
            )
        finally:
            os.close(slave)
        self._pump_in(os.dup(self._master))
        self._pump_out([(os.dup(self._master), False)])

    def _start_on_pipes(self, argv: list[str], surroundings: Surroundings, environment: dict[str, str]) -> None:
        child_in, our_in = os.pipe()
        our_out, child_out = os.pipe()
        our_error, child_error = os.pipe()
        try:
            self._child = children.spawn(
                argv,
                cwd=surroundings.directory,
                environment=environment,
                stdin=child_in,
                stdout=child_out,
                stderr=child_error,
            )
        except OSError:
            for descriptor in (our_in, our_out, our_error):
                os.close(descriptor)
            raise
        finally:
            for descriptor in (child_in, child_out, child_error):
                os.close(descriptor)
        self._pump_in(our_in)
        self._pump_out([(our_out, False), (our_error, True)])

    def _pump_in(self, descriptor: int) -> None:
        self._stdin = InPump(descriptor, self._channel.pause_reading, self._channel.resume_reading)

    def _pump_out(self, descriptors: list[tuple[int, bool]]) -> None:
        for descriptor, is_error in descriptors:
            on_data = self._send_error if is_error else self._send
            self._outputs.append(OutPump(descriptor, on_data, self._on_output_end))
        self._open_outputs = len(self._outputs)
        for output in self._outputs:
            output.start()

    def _pass_early_input(self) -> None:
        assert self._stdin is not None
        if self._early:
            self._stdin.write(bytes(self._early))
            self._early.clear()
            self._channel.resume_reading()
        self._end_input()

    def _end_input(self) -> None:
        """A terminal has no end of input: the program on it reads on, as with every SSH server."""
        if self._is_input_ended and self._stdin is not None and not self._term:
            self._stdin.end()

    def _send(self, data: bytes) -> None:
        self._context.counts.tx_bytes += len(data)
        self._sent_bytes += len(data)
        self._channel.write(data)

    def _send_error(self, data: bytes) -> None:
        self._context.counts.tx_bytes += len(data)
        self._channel.write_stderr(data)

    def _on_output_end(self) -> None:
        self._open_outputs -= 1
        if self._open_outputs == 0:
            self._outputs_ended.set()

    async def _end_of_output(self) -> None:
        """Waits until all output of the ended child is passed on.

        Pipes: until nobody holds them any more, as every SSH server does. A terminal: what a background job
        holds open is not waited for, only what is still on its way through the kernel.
        """
        if not self._term:
            await self._outputs_ended.wait()
            return
        quiet_ticks, ticks, seen = 0, 0, -1
        while quiet_ticks < QUIET_TICKS and ticks < MAX_TICKS:
            try:
                async with asyncio.timeout(TICK_S):
                    await self._outputs_ended.wait()
                return
            except TimeoutError:
                pass
            if any(output.is_paused for output in self._outputs):
                continue
            ticks += 1
            quiet_ticks = quiet_ticks + 1 if seen == self._sent_bytes else 0
            seen = self._sent_bytes

    def _finish(self, code: int) -> None:
        if self._is_ended:
            return
        self._is_ended = True
        self._close_descriptors()
        if code < 0:
            self._channel.exit_with_signal(_SIGNAL_NAMES.get(-code, "KILL"))
        else:
            self._channel.exit(code)

    def _fail(self, text: str, code: int) -> None:
        if not self._is_ended:
            self._is_ended = True
            self._send_error(f"{text}\r\n".encode() if self._term else f"{text}\n".encode())
            self._channel.exit(code)

    def _signal(self, number: int) -> None:
        if self._child is None:
            return
        group = terminal.foreground_group(self._master) if self._master >= 0 else None
        if group is None or group == self._child.pid:
            self._child.signal_group(number)
            return
        try:
            os.killpg(group, number)
        except OSError:
            pass

    def _close_descriptors(self) -> None:
        if self._stdin is not None:
            self._stdin.close()
        for output in self._outputs:
            output.close()
        self._outputs = []
        self._outputs_ended.set()
        if self._master >= 0:
            os.close(self._master)
            self._master = -1
