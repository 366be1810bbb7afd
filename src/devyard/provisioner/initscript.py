"""The script by which a template starts the agent in a workspace: `devyard_agent.NAME.init_script`.

The provisioner passes it to the provider, which puts the access URL and the kind of sign-in in place of the two
placeholders. Invariant: plain POSIX sh under 4 KiB, with no other `${…}` and the URL literally in it, because
templates rewrite it by `replace()`, encode it in base64 and hand it to `sh -c`.
"""

ARCHITECTURES = ("amd64", "arm64", "armv7")

_LINUX = """\
#!/bin/sh
# Starts the Devyard agent of a workspace. Needs DEVYARD_AGENT_TOKEN (or CODER_AGENT_TOKEN) in the environment.
set -e

DEVYARD_AGENT_URL='${ACCESS_URL}'
DEVYARD_AGENT_AUTH='${AUTH_TYPE}'
CODER_AGENT_URL=$DEVYARD_AGENT_URL
CODER_AGENT_AUTH=$DEVYARD_AGENT_AUTH
export DEVYARD_AGENT_URL DEVYARD_AGENT_AUTH CODER_AGENT_URL CODER_AGENT_AUTH

fail() {
    echo "devyard: $*" >&2
    exit 1
}

if [ "$DEVYARD_AGENT_AUTH" = token ]; then
    if [ -z "$DEVYARD_AGENT_TOKEN" ]; then
        DEVYARD_AGENT_TOKEN=$CODER_AGENT_TOKEN
    fi
    if [ -z "$DEVYARD_AGENT_TOKEN" ]; then
        fail "there is no agent token. Set CODER_AGENT_TOKEN to the agent's token in the template's resource."
    fi
    CODER_AGENT_TOKEN=$DEVYARD_AGENT_TOKEN
    export DEVYARD_AGENT_TOKEN CODER_AGENT_TOKEN
fi

if [ -n "$DEVYARD_AGENT_COMMAND" ]; then
    # A command with arguments is allowed: its words are split here.
    # shellcheck disable=SC2086
    exec $DEVYARD_AGENT_COMMAND agent
fi
if command -v devyard >/dev/null 2>&1; then
    exec devyard agent
fi
if [ -x "$HOME/.local/bin/devyard" ]; then
    exec "$HOME/.local/bin/devyard" agent
fi
if command -v python3 >/dev/null 2>&1 && python3 -c 'import devyard' >/dev/null 2>&1; then
    exec python3 -m devyard agent
fi

fail "the agent is not installed in this workspace. Add it to the image: pip install devyard \\
(Python 3.11 or newer). Where it lies outside of PATH, set DEVYARD_AGENT_COMMAND to it."
"""

_DARWIN = """\
#!/bin/sh
echo "devyard: there is no agent for macOS yet. Use a workspace with os = linux." >&2
exit 1
"""

_WINDOWS = """\
Write-Error "devyard: there is no agent for Windows yet. Use a workspace with os = linux."
exit 1
"""

_BY_OS = {"linux": _LINUX, "darwin": _DARWIN, "windows": _WINDOWS}


def init_script(os: str, arch: str) -> str:
    """Return the script for an operating system and architecture by their Go names.

    Its placeholders are `${ACCESS_URL}` and `${AUTH_TYPE}`. On systems that have no agent the script says so and
    fails. Raises ValueError for names that are no platform of an agent.
    """
    if os not in _BY_OS or arch not in ARCHITECTURES:
        raise ValueError(f"no agent platform {os}/{arch}: use {', '.join(_BY_OS)} with {', '.join(ARCHITECTURES)}")
    return _BY_OS[os]


def list_init_scripts() -> dict[str, str]:
    """Return the script of each platform, by `os/arch`."""
    return {f"{os}/{arch}": init_script(os, arch) for os in _BY_OS for arch in ARCHITECTURES}
