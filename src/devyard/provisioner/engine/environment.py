"""The environment in which Terraform runs: a list of what may pass, everything else stays outside.

The server's and the provisioner's own variables (`DEVYARD_*`, `CODER_*`) never pass, not even by the
administrator's setting; secrets of a job reach Terraform only through our provider. The environment is complete
before the worker starts, because the library copies it when it is loaded.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

ALLOWED = (
    *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ", "LANG", "LC_*"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
)
FORBIDDEN = ("DEVYARD_*", "CODER_*", "TF_REATTACH_PROVIDERS", "TF_CLI_CONFIG_FILE")
FIXED = {
    "CHECKPOINT_DISABLE": "1",
    "TF_IN_AUTOMATION": "1",
    "TF_INPUT": "0",
    # Fewer collections for short runs; measured in docs/design/terraform.md.
    "GOGC": "400",
}


def build_environment(
    own: Mapping[str, str], passed: Sequence[str], reattach: str, cli_config: str = ""
) -> dict[str, str]:
    """Terraform's environment from the provisioner's `own`.

    `passed`: names or patterns (`AWS_*`) that the administrator lets through beside the usual ones.
    `reattach`: the JSON for TF_REATTACH_PROVIDERS, or empty. `cli_config`: a file that counts instead of `own`'s.
    """
    patterns = (*ALLOWED, *passed)
    kept = {
        name: value
        for name, value in own.items()
        if _matches(name, patterns) and not _matches(name, FORBIDDEN) and name not in FIXED
    }
    config = cli_config or own.get("TF_CLI_CONFIG_FILE", "")
    if config and Path(config).is_file():
        kept["TF_CLI_CONFIG_FILE"] = config
    if reattach:
        kept["TF_REATTACH_PROVIDERS"] = reattach
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/", **kept, **FIXED}


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
