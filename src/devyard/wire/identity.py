"""Users, organizations, sign-in and tokens as the API shows them."""

from datetime import datetime
from uuid import UUID

import msgspec

from devyard.wire.enums import APIKeyScope, LoginType, UserStatus


class SlimRole(msgspec.Struct, omit_defaults=True):
    """A role by name; `organization_id` only for an organization's role."""

    name: str
    display_name: str
    organization_id: UUID | msgspec.UnsetType = msgspec.UNSET


class MinimalUser(msgspec.Struct):
    """Who did something."""

    id: UUID
    username: str
    name: str = ""
    avatar_url: str = ""


class User(msgspec.Struct):
    """A user, as administrators and the user see it."""

    id: UUID
    username: str
    name: str
    avatar_url: str
    email: str
    created_at: datetime
    updated_at: datetime
    last_seen_at: datetime
    status: UserStatus
    login_type: LoginType
    organization_ids: list[UUID]
    roles: list[SlimRole]
    theme_preference: str = ""
    is_service_account: bool = False
    has_ai_seat: bool = False


class UsersPage(msgspec.Struct):
    """A page of users; `count` is over all pages."""

    users: list[User]
    count: int


class CreateFirstUserRequest(msgspec.Struct):
    """The first administrator; accepted once, while there is no user."""

    email: str
    username: str
    password: str
    name: str = ""
    trial: bool = False


class CreateFirstUserResponse(msgspec.Struct):
    """Ids of what was made."""

    user_id: UUID
    organization_id: UUID


class CreateUserRequest(msgspec.Struct):
    """A new user. With login type `none` or `token` there is no password."""

    email: str
    username: str
    name: str = ""
    password: str = ""
    login_type: LoginType = "password"
    user_status: UserStatus | None = None
    organization_ids: list[UUID] = []


class LoginRequest(msgspec.Struct):
    """E-mail and password; `/users/login`."""

    email: str
    password: str


class LoginResponse(msgspec.Struct):
    """A session token, shown once."""

    session_token: str


class AuthMethod(msgspec.Struct):
    """Whether one way of signing in is on."""

    enabled: bool


class GithubAuthMethod(msgspec.Struct):
    """GitHub sign-in."""

    enabled: bool = False
    default_provider_configured: bool = False


class OIDCAuthMethod(msgspec.Struct):
    """OpenID Connect sign-in. Field names as clients read them."""

    enabled: bool = False
    signInText: str = ""
    iconUrl: str = ""


class AuthMethods(msgspec.Struct):
    """All ways of signing in."""

    password: AuthMethod
    github: GithubAuthMethod
    oidc: OIDCAuthMethod
    terms_of_service_url: str = ""


class APIKey(msgspec.Struct, omit_defaults=True):
    """A session or named token; the secret is never shown again."""

    id: str
    user_id: UUID
    last_used: datetime
    expires_at: datetime
    created_at: datetime
    updated_at: datetime
    login_type: LoginType
    scope: APIKeyScope
    token_name: str
    lifetime_seconds: int
    username: str | msgspec.UnsetType = msgspec.UNSET


class CreateTokenRequest(msgspec.Struct):
    """A named token. `lifetime` in nanoseconds; 0 takes the default."""

    lifetime: int = 0
    scope: str = ""
    token_name: str = ""


class GenerateAPIKeyResponse(msgspec.Struct):
    """The token's text, shown once."""

    key: str


class TokenConfig(msgspec.Struct):
    """Longest lifetime that the caller may ask for, in nanoseconds."""

    max_token_lifetime: int


class Organization(msgspec.Struct):
    """A tenant of the deployment."""

    id: UUID
    name: str
    display_name: str
    icon: str
    description: str
    created_at: datetime
    updated_at: datetime
    is_default: bool


class OrganizationMember(msgspec.Struct):
    """A member with the fields of the user that lists show."""

    user_id: UUID
    organization_id: UUID
    created_at: datetime
    updated_at: datetime
    roles: list[SlimRole]
    username: str = ""
    name: str = ""
    avatar_url: str = ""
    email: str = ""
    global_roles: list[SlimRole] = []


class UpdatePasswordRequest(msgspec.Struct):
    """A new password; `old_password` only when one changes one's own."""

    password: str
    old_password: str = ""


class UpdateProfileRequest(msgspec.Struct):
    """User name and full name."""

    username: str
    name: str = ""


class UpdateRolesRequest(msgspec.Struct):
    """The complete list of a user's roles."""

    roles: list[str]


class GitSSHKey(msgspec.Struct):
    """The public half of a user's git key, in OpenSSH's format."""

    user_id: UUID
    created_at: datetime
    updated_at: datetime
    public_key: str


class BuildInfo(msgspec.Struct):
    """What runs here."""

    external_url: str
    version: str
    dashboard_url: str
    telemetry: bool
    workspace_proxy: bool
    agent_api_version: str
    provisioner_api_version: str
    upgrade_message: str
    deployment_id: UUID
    webpush_public_key: str = ""


class SSHConfigResponse(msgspec.Struct):
    """How `config-ssh` names hosts; the suffix is without its leading dot."""

    hostname_prefix: str
    hostname_suffix: str
    ssh_config_options: dict[str, str]


class AuditLog(msgspec.Struct):
    """One write: who, what, when, from where, and the fields that changed."""

    id: UUID
    request_id: UUID
    time: datetime
    ip: str
    user_agent: str
    resource_type: str
    resource_id: UUID
    resource_target: str
    resource_icon: str
    action: str
    diff: dict[str, dict[str, object]]
    status_code: int
    additional_fields: dict[str, object]
    description: str
    resource_link: str
    is_deleted: bool
    organization_id: UUID | None
    user: MinimalUser | None


class AuditLogPage(msgspec.Struct):
    """A page of audit rows, newest first; `count` is over all pages."""

    audit_logs: list[AuditLog]
    count: int


class UserRoles(msgspec.Struct):
    """A user's roles: of the deployment, and by organization id."""

    roles: list[str]
    organization_roles: dict[str, list[str]]


class AssignableRole(msgspec.Struct):
    """A role that exists, and whether the caller may give it."""

    name: str
    display_name: str
    assignable: bool
    built_in: bool
    site_permissions: list[dict[str, object]] = []
    organization_permissions: list[dict[str, object]] = []
    user_permissions: list[dict[str, object]] = []


class ValidatePasswordRequest(msgspec.Struct):
    """A password that somebody thinks of taking."""

    password: str


class ValidatePasswordResponse(msgspec.Struct):
    """Whether it would be taken, and why not."""

    valid: bool
    details: str = ""


class UserLoginType(msgspec.Struct):
    """How a user signs in."""

    login_type: LoginType


class MembersPage(msgspec.Struct):
    """A page of an organization's members; `count` is over all pages."""

    members: list[OrganizationMember]
    count: int


class AuthorizationObject(msgspec.Struct):
    """What is asked about. `owner_id` may be `me`."""

    resource_type: str
    owner_id: str = ""
    organization_id: str = ""
    resource_id: str = ""
    any_org: bool = False


class AuthorizationCheck(msgspec.Struct):
    """May the caller do `action` to `object`?"""

    object: AuthorizationObject
    action: str


class AuthorizationRequest(msgspec.Struct):
    """Questions by a name of the caller's choice."""

    checks: dict[str, AuthorizationCheck]
