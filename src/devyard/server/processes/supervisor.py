"""`devyard server`: starts PostgreSQL, relay, API processes and provisioners, keeps them up, ends them in order.

Serves nothing itself. It binds the public port and lends it to the relay, so that a relay that crashes comes back
on the same port while connections wait in the kernel. Start-up is parallel: the API imports its code while the
database starts. docs/design/processes.md has the order and the reasons.
"""

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import structlog

from devyard.net.relayconfig import RelayConfig
from devyard.runtime.logs import set_up_logs
from devyard.server.options import ENVIRONMENT_PREFIXES, OptionError, split_address
from devyard.server.processes.child import Child, ChildSpec
from devyard.server.processes.datadir import DataDir, DataDirError, ServerInfo
from devyard.server.processes.postgres import EmbeddedPostgres
from devyard.server.processes.postgresuser import PostgresError
from devyard.server.processes.serverapp import DEFAULT_APP, Start, encode_start
from devyard.server.settings import LoadedSettings, ServerSettings, with_access_url
from devyard.server.terraformconfig import make_terraform_settings

BIND_PATIENCE_S = 3.0
POSTGRES_PATIENCE_S = 60.0
MAX_FIRST_FAILURES = 3
API_STOP_S = 12.0
SECOND_SIGNAL_S = 1.0
"""A second signal counts as impatience from this long after the first."""
PROVISIONER_FINISH_S = 8.0
PROVISIONER_CANCEL_S = 10.0

_log = structlog.get_logger("supervisor")


class StartError(Exception):
    """The server cannot start; the message says why and what to do."""


def run_supervisor(loaded: LoadedSettings, *, app: str = DEFAULT_APP) -> int:
    """Runs the server until told to end; the exit status. Prints one line once the first answer is possible."""
    settings = loaded.settings
    set_up_logs(settings.log_format, settings.log_level, process="server")
    try:
        make_terraform_settings(settings)  # refuses what can't be used before anything is started
        data_dir = DataDir(settings.data_dir)
    except (DataDirError, OptionError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    with contextlib.closing(data_dir):
        try:
            asyncio.run(_Supervisor(settings, data_dir, app).run())
        except (StartError, PostgresError, DataDirError) as error:
            print(error, file=sys.stderr)  # noqa: T201
            return 1
    return 0


class _Supervisor:
    """All children of one server."""

    def __init__(self, settings: ServerSettings, data_dir: DataDir, app: str) -> None:
        self._began_at = time.monotonic()
        self._data_dir = data_dir
        self._app = app
        self._listener = _bind(settings.http_address)
        host, port = self._listener.getsockname()[:2]
        self._settings = with_access_url(settings, port)
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._internal_key = data_dir.load_internal_key()
        self._postgres_files: EmbeddedPostgres | None = None
        self._postgres: Child | None = None
        self._relay: Child | None = None
        self._apis: list[Child] = []
        self._provisioners: list[Child] = []
        self._ended = asyncio.Event()
        self._told_at = 0.0
        self._failure = ""
        self._is_ready = False

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for signal_number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(signal_number, self._on_signal, signal_number)
        try:
            await self._start()
            await self._ended.wait()
        finally:
            await self._stop()
        if self._failure:
            raise StartError(self._failure)

    async def _start(self) -> None:
        path = self._data_dir.path
        self._data_dir.write_info(ServerInfo(os.getpid(), self._address, self._settings.access_url))
        # The API first: its imports are the longest part, and everything else is over before they are.
        self._apis = [
            self._start_child(self._api_spec(f"api-{number}", path / "relay.sock"))
            for number in range(1, self._settings.api_processes + 1)
        ]
        self._relay = self._start_child(self._relay_spec(path / "relay.sock"))
        self._relay.send_first_line()
        if self._settings.postgres_url is None:
            await self._start_postgres(path / "postgres")
        for child in self._apis:
            child.send_first_line()

    def _start_child(self, spec: ChildSpec) -> Child:
        child = Child(spec)
        child.start()
        return child

    async def _start_postgres(self, root: Path) -> None:
        files = self._postgres_files = EmbeddedPostgres(root)
        await asyncio.to_thread(files.prepare)
        if self._ended.is_set():
            return
        self._postgres = self._start_child(
            ChildSpec(
                name="postgres",
                command=files.command,
                death_signal=signal.SIGINT,
                stop_signals=[(signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0)],
                environment=files.environment(),
                on_error_line=_log_postgres_line,
            )
        )
        deadline = time.monotonic() + POSTGRES_PATIENCE_S
        while not files.is_ready(self._postgres.pid):
            if self._postgres.failures >= MAX_FIRST_FAILURES or time.monotonic() > deadline:
                raise StartError("The embedded PostgreSQL does not start; its messages are in the log above.")
            if self._ended.is_set():
                return
            await asyncio.sleep(0.01)
        self._settings = msgspec.structs.replace(self._settings, postgres_url=files.url)

    def _relay_spec(self, handover_path: Path) -> ChildSpec:
        settings = self._settings
        config = RelayConfig(
            listen_fd=self._listener.fileno(),
            handover_path=str(handover_path),
            spares_per_agent=settings.spares_per_agent,
            spares_total=settings.spares_total,
            streams_per_user=settings.streams_per_user,
            streams_per_workspace=settings.streams_per_workspace,
            log_format=settings.log_format,
            log_level=settings.log_level,
        )
        return ChildSpec(
            name="relay",
            command=lambda: _own_command("proxy", "start", "--embedded"),
            death_signal=signal.SIGKILL,
            stop_signals=[(signal.SIGTERM, 5.0)],
            first_line=lambda: msgspec.json.encode(config) + b"\n",
            environment=_without_settings(os.environ),
            pass_fds=(self._listener.fileno(),),
            on_exit=self._on_vital_exit("the relay", lambda: self._relay),
        )

    def _api_spec(self, name: str, handover_path: Path) -> ChildSpec:
        return ChildSpec(
            name=name,
            command=lambda: _own_command("server", "api", "--app", self._app),
            death_signal=signal.SIGKILL,
            stop_signals=[(signal.SIGTERM, API_STOP_S)],
            first_line=lambda: encode_start(Start(self._settings, self._internal_key, str(handover_path))),
            environment=_without_settings(os.environ),
            on_output=self._on_api_output,
            on_exit=self._on_vital_exit("the API", lambda: self._apis[0] if self._apis else None),
        )

    def _provisioner_spec(self, number: int) -> ChildSpec:
        path = self._data_dir.path
        arguments = [
            "--url", self._loopback_url(),
            "--key-file", str(path / "internal.key"),
            "--name", f"built-in-{number}",
            "--cache-dir", str(path / f"provisioner-{number}"),
            "--sandbox-root", str(path / "sandboxes"),
            "--sandbox-isolation", self._settings.sandbox_isolation,
            "--terraform", self._settings.terraform,
            "--cache-bytes", str(self._settings.provisioner_cache_bytes),
            "--log-format", self._settings.log_format,
        ]  # fmt: skip
        return ChildSpec(
            name=f"provisioner-{number}",
            command=lambda: _own_command("provisioner", "start", *arguments),
            # SIGTERM lets the job that runs finish, SIGINT cancels it; without its server it must end soon.
            death_signal=signal.SIGINT,
            stop_signals=[(signal.SIGTERM, PROVISIONER_FINISH_S), (signal.SIGINT, PROVISIONER_CANCEL_S)],
            environment=_without_settings(os.environ),
        )

    def _loopback_url(self) -> str:
        host, port = self._listener.getsockname()[:2]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def _on_api_output(self, line: bytes) -> None:
        if b'"refused"' in line:
            self._on_refusal(line)
            return
        if self._is_ready or self._ended.is_set() or b'"ready"' not in line:
            return
        self._is_ready = True
        took_s = round(time.monotonic() - self._began_at, 2)
        with contextlib.suppress(OSError):  # nobody need listen
            print(f"Devyard is ready at {self._settings.access_url}", flush=True)  # noqa: T201
        _log.info("ready", access_url=self._settings.access_url, address=self._address, took_s=took_s)
        self._provisioners = [
            self._start_child(self._provisioner_spec(number))
            for number in range(1, self._settings.provisioners + 1)
        ]

    def _on_refusal(self, line: bytes) -> None:
        """An API process can't serve as things are: at the first start that ends the server, with its reason."""
        with contextlib.suppress(msgspec.MsgspecError):
            reason = msgspec.json.decode(line, type=dict[str, str]).get("refused", "")
            _log.error("api_refuses", reason=reason)
            if not self._is_ready and not self._ended.is_set():
                self._failure = f"The server cannot start. {reason}"
                self._ended.set()

    def _on_vital_exit(self, name: str, child: Callable[[], Child | None]) -> Callable[[str], None]:
        """A child without which the server never became ready ends it after a few attempts."""

        def on_exit(reason: str) -> None:
            process = child()
            if not self._is_ready and process is not None and process.failures >= MAX_FIRST_FAILURES:
                self._failure = f"The server cannot start: {name} ended {process.failures} times ({reason})."
                self._ended.set()

        return on_exit

    def _on_signal(self, signal_number: signal.Signals) -> None:
        now = time.monotonic()
        if self._ended.is_set():
            # Wrappers such as timeout(1) send the same order twice, to the process and to its group.
            if now - self._told_at >= SECOND_SIGNAL_S:
                _log.warning("ending_at_once", signal=signal_number.name)
                for child in (*self._provisioners, *self._apis):
                    child.kill()
            return
        self._told_at = now
        _log.info("ending", signal=signal_number.name)
        self._ended.set()

    async def _stop(self) -> None:
        """Provisioners first, while the API still takes their results; PostgreSQL last."""
        await _stop_all(self._provisioners)
        self._listener.close()
        if self._relay is not None and self._is_ready:
            self._relay.send_signal(signal.SIGUSR1)
        await _stop_all(self._apis)
        await _stop_all([child for child in (self._relay,) if child is not None])
        if self._postgres is not None:
            await self._postgres.stop()
        if self._postgres_files is not None:
            self._postgres_files.remove_run_dir()


async def _stop_all(children: Sequence[Child]) -> None:
    await asyncio.gather(*(child.stop() for child in children))


def _own_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "devyard", *arguments]


def _without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for children: settings reach them by their control pipe, secrets among them."""
    return {name: value for name, value in environ.items() if not name.startswith(ENVIRONMENT_PREFIXES)}


def _bind(address: str) -> socket.socket:
    """The public listening socket. Waits a moment where the port is still held by a server that was killed."""
    host, port = split_address(address)
    deadline = time.monotonic() + BIND_PATIENCE_S
    while True:
        try:
            return _bind_once(host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or port == 0 or time.monotonic() > deadline:
                raise StartError(
                    f"Cannot listen on {address}: {error.strerror or error}. "
                    "Stop what uses it, or choose another --http-address."
                ) from None
        time.sleep(0.05)


def _bind_once(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, where = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(where)
        sock.listen(2048)
    except BaseException:
        sock.close()
        raise
    return sock


def _log_postgres_line(line: bytes) -> None:
    text = line.decode("utf-8", "replace").strip()
    if text:
        serious = any(word in text for word in ("ERROR:", "FATAL:", "PANIC:", "cannot", "failed"))
        _log.log(logging.WARNING if serious else logging.DEBUG, "postgres", line=text)
