"""Which HTTP proxy a connection takes, by the environment variables that every tool reads.

Called by http.py. `NO_PROXY` names hosts, domain suffixes, or `*`; loopback addresses are never proxied.
"""

import os

from devyard.net.address import RelayAddress, parse_relay_url


def find_proxy(address: RelayAddress, environment: dict[str, str] | None = None) -> RelayAddress | None:
    """The proxy for `address`, or None. Raises ValueError for a proxy variable that is no http:// address."""
    variables = os.environ if environment is None else environment
    scheme = "https" if address.is_tls else "http"
    names = (f"{scheme}_proxy", f"{scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY")
    url = next((variables[name] for name in names if variables.get(name)), "")
    if not url or _is_exempt(address.host, variables.get("no_proxy") or variables.get("NO_PROXY") or ""):
        return None
    proxy = parse_relay_url(url if "://" in url else f"http://{url}")
    if proxy.is_tls:
        raise ValueError(f"The proxy {url!r} speaks https; only http:// proxies are supported.")
    return proxy


def _is_exempt(host: str, no_proxy: str) -> bool:
    if host in ("localhost", "::1") or host.startswith("127."):
        return True
    for entry in no_proxy.lower().split(","):
        name = entry.strip().partition(":")[0].lstrip(".")
        if name == "*" or (name and (host.lower() == name or host.lower().endswith(f".{name}"))):
            return True
    return False
