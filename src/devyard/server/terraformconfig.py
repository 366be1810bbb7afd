"""What the administrator has set for every run of Terraform: its CLI configuration, and bounds of what is packed.

Read once at start, given out with every job. Invariant: what a provisioner gets is small, is text, and holds only
the blocks that make sense on every provisioner; its credentials are in no log and no message.
"""

import os
import re
from urllib.parse import urlsplit

from devyard.server.options import OptionError
from devyard.server.settings import ServerSettings
from devyard.wire.provisionerpackages import TerraformSettings

MAX_CONFIG_BYTES = 64 << 10
BLOCKS = ("provider_installation", "host", "credentials")
_TOKEN = re.compile(
    r'\s+|#[^\n]*|//[^\n]*|/\*.*?\*/|(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<word>[\w.-]+)|(?P<mark>[{}\[\]=,:])',
    re.DOTALL,
)
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::\d{1,5})?")


def make_terraform_settings(settings: ServerSettings) -> TerraformSettings:
    """What goes with every job. Reads the file of `terraform_cli_config`. Raises OptionError."""
    return TerraformSettings(
        cli_config="".join([_read_config(settings), *map(_render_host, _list_hosts(settings))]),
        max_package_bytes=settings.max_package_bytes,
        max_version_bytes=settings.max_version_packages_bytes,
    )


def _read_config(settings: ServerSettings) -> str:
    path = settings.terraform_cli_config
    if path is None:
        return ""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise OptionError(f"terraform_cli_config: {path} cannot be read: {why}.") from None
    if len(data) > MAX_CONFIG_BYTES:
        raise OptionError(f"terraform_cli_config: {path} is larger than {MAX_CONFIG_BYTES} bytes.")
    try:
        text = data.decode()
        check_cli_config(text)
    except ValueError as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise OptionError(f"terraform_cli_config: {path} cannot be used: {why}.") from None
    return text.rstrip("\n") + "\n"


def check_cli_config(text: str) -> None:
    """Raises ValueError for what is no sequence of the allowed blocks; its message shows nothing of them."""
    at, depth = 0, 0
    expects_block, labels = True, 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        line = text.count("\n", 0, at) + 1
        if token is None:
            raise ValueError(f"line {line} is not understood")
        at = token.end()
        kind, value = token.lastgroup, token[0]
        if kind is None:
            continue
        if value in ("{", "}") and kind == "mark":
            depth += 1 if value == "{" else -1
            if depth < 0 or (depth == 1 and value == "{" and expects_block):
                raise ValueError(f"line {line} has a brace too many")
            expects_block, labels = depth == 0, 0
        elif depth == 0:
            if expects_block and (kind != "word" or value not in BLOCKS):
                raise ValueError(f"line {line} begins something else than {', '.join(BLOCKS)}")
            labels += 0 if expects_block else 1
            if labels > 1 or (not expects_block and kind != "string"):
                raise ValueError(f"line {line}: a block with braces is expected")
            expects_block = False
    if depth or not expects_block:
        raise ValueError("a block is not closed")


def _list_hosts(settings: ServerSettings) -> list[tuple[str, str]]:
    hosts = []
    for entry in re.split(r"[\s,]+", settings.terraform_hosts or ""):
        if not entry:
            continue
        host, _, url = entry.partition("=")
        parts = urlsplit(url)
        if not _HOST.fullmatch(host) or parts.scheme not in ("http", "https") or not parts.hostname or '"' in url:
            raise OptionError(
                f'terraform_hosts: "{entry[:80]}" cannot be used: HOST=URL is allowed, as in '
                "registry.example.com=http://127.0.0.1:8080/"
            )
        hosts.append((host, url.rstrip("/")))
    return hosts


def _render_host(mapping: tuple[str, str]) -> str:
    host, url = mapping
    safe = url.replace("\\", "\\\\").replace("${", "$${")
    return (
        f'host "{host}" {{\n  services = {{\n    "modules.v1" = "{safe}/v1/modules/"\n'
        f'    "providers.v1" = "{safe}/v1/providers/"\n  }}\n}}\n'
    )
