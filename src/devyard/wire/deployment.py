"""What the deployment says about itself: features, appearance, relays, as clients read it at log-in."""

from datetime import datetime
from uuid import UUID

import msgspec


class Feature(msgspec.Struct):
    """One feature; here everything is enabled for everybody."""

    entitlement: str = "entitled"
    enabled: bool = True


class Entitlements(msgspec.Struct):
    """Features by name. There is no licence and nothing to pay for."""

    features: dict[str, Feature]
    warnings: list[str]
    errors: list[str]
    has_license: bool
    trial: bool
    require_telemetry: bool
    refreshed_at: datetime


class Banner(msgspec.Struct):
    """A message across the dashboard."""

    enabled: bool = False
    message: str = ""
    background_color: str = ""


class Appearance(msgspec.Struct):
    """How the deployment presents itself."""

    application_name: str
    logo_url: str
    docs_url: str
    service_banner: Banner
    announcement_banners: list[Banner]
    support_links: list[dict[str, str]]


class Region(msgspec.Struct):
    """A relay that users may choose."""

    id: UUID
    name: str
    display_name: str
    icon_url: str
    healthy: bool
    path_app_url: str
    wildcard_hostname: str


class Regions(msgspec.Struct):
    """All relays."""

    regions: list[Region]


class AppHost(msgspec.Struct):
    """The host under which apps get names of their own; empty where there is none."""

    host: str


class UpdateCheck(msgspec.Struct):
    """Whether a newer version is known."""

    current: bool
    version: str
    url: str


class AvailableExperiments(msgspec.Struct):
    """Experiments that may be turned on."""

    safe: list[str]


class ExternalScopes(msgspec.Struct):
    """Scopes that a token may be narrowed to."""

    external: list[str]
