"""Routes of users: the first one, signing in and out, the list, and one user's profile, roles and status."""

from typing import Any

from litestar import Request, delete, get, post, put
from litestar import Response as HttpResponse

from devyard.server.access.rules import Actor, decide_reach, is_allowed
from devyard.server.http.edge import make_session_cookies
from devyard.server.http.errors import INFO
from devyard.server.http.guard import Gate, needs
from devyard.server.http.paging import read_page
from devyard.server.services import Services
from devyard.server.users import actions, listing, queries, rules, sessions
from devyard.server.users.lookup import load_user
from devyard.server.users.queries import GitKeyRow
from devyard.server.users.views import user_view
from devyard.wire.errors import NotFound, Response
from devyard.wire.identity import (
    AssignableRole,
    AuthMethod,
    AuthMethods,
    CreateFirstUserRequest,
    CreateFirstUserResponse,
    CreateUserRequest,
    GithubAuthMethod,
    GitSSHKey,
    LoginRequest,
    LoginResponse,
    OIDCAuthMethod,
    UpdatePasswordRequest,
    UpdateProfileRequest,
    UpdateRolesRequest,
    User,
    UserLoginType,
    UserRoles,
    UsersPage,
    ValidatePasswordRequest,
    ValidatePasswordResponse,
)

AnyRequest = Request[Any, Any, Any]


@get("/users/first", opt=needs("public"))
async def get_first_user(services: Services) -> Response:
    """Whether the first administrator has been made; 404 while not."""
    if not await queries.has_users(services.pool):
        raise NotFound("The initial user has not been created!")
    return Response(message=actions.FIRST_USER_EXISTS)


@post("/users/first", opt=needs("public"))
async def create_first_user(
    request: AnyRequest, services: Services, gate: Gate, data: CreateFirstUserRequest
) -> CreateFirstUserResponse:
    """Make the first administrator; works once."""
    gate.login_limit.check(f"ip:{request.scope[INFO].ip}", gate.monotonic())  # type: ignore[literal-required]
    info = request.scope[INFO]  # type: ignore[literal-required]
    user = await actions.create_first_user(services, gate.passwords, info, data)
    return CreateFirstUserResponse(user_id=user.id, organization_id=services.organization_id)


@post("/users/login", opt=needs("public"))
async def log_in(
    request: AnyRequest, services: Services, gate: Gate, data: LoginRequest
) -> HttpResponse[LoginResponse]:
    """A session for e-mail address and password; also set as a cookie for browsers."""
    info = request.scope[INFO]  # type: ignore[literal-required]
    token = str(await sessions.log_in(gate, info, data))
    cookies = make_session_cookies(token, services.settings)
    return HttpResponse(LoginResponse(token), status_code=201, cookies=cookies)


@post("/users/logout", opt=needs("signed_in"), status_code=200)
async def log_out(actor: Actor, services: Services) -> HttpResponse[Response]:
    """End the session that the request came with."""
    await sessions.log_out(services, actor)
    cookies = make_session_cookies("", services.settings)
    return HttpResponse(Response(message="Logged out!"), cookies=cookies)


@get("/users/authmethods", opt=needs("public"))
async def get_auth_methods() -> AuthMethods:
    """The ways of signing in that are on."""
    return AuthMethods(password=AuthMethod(True), github=GithubAuthMethod(), oidc=OIDCAuthMethod())


@post("/users/validate-password", opt=needs("public"), status_code=200)
async def validate_password(data: ValidatePasswordRequest) -> ValidatePasswordResponse:
    """Whether a password would be taken."""
    details = rules.check_password(data.password)
    return ValidatePasswordResponse(valid=not details, details=details)


@get("/users/roles", opt=needs("signed_in"))
async def list_roles(actor: Actor) -> list[AssignableRole]:
    """The roles that can be given to users."""
    can_assign = is_allowed(actor, "user:update")
    return [AssignableRole(name, shown, can_assign, built_in=True) for name, shown in rules.SITE_ROLES.items()]


@get("/users", opt=needs("user:read"))
async def list_users(
    actor: Actor, services: Services, q: str = "", limit: int = 0, offset: int = 0, after_id: str = ""
) -> UsersPage:
    """The users whom the caller may see, by name."""
    only_id = None if decide_reach(actor, "user:read") == "site" else actor.user_id
    narrowed = listing.read_filter(q, only_id=only_id)
    page = read_page(limit, offset, after_id)
    users = await listing.list_users(services.pool, narrowed, page)
    return UsersPage([user_view(row) for row in users], await listing.count_users(services.pool, narrowed))


@post("/users", opt=needs("user:create"))
async def create_user(actor: Actor, services: Services, gate: Gate, data: CreateUserRequest) -> User:
    """Make a user."""
    return user_view(await actions.create_user(services, gate.passwords, actor, data))


@get("/users/{user:str}", opt=needs("user:read"))
async def get_user(actor: Actor, services: Services, user: str) -> User:
    """One user by id, name or `me`."""
    return user_view(await load_user(services.pool, actor, user))


@delete("/users/{user:str}", opt=needs("user:delete"), status_code=200)
async def delete_user(actor: Actor, services: Services, user: str) -> Response:
    """Remove a user who owns no workspace."""
    row = await load_user(services.pool, actor, user, "user:delete")
    await actions.delete_user(services, actor, row)
    return Response(message="User has been deleted!")


@put("/users/{user:str}/profile", opt=needs("user:update_personal"))
async def update_profile(actor: Actor, services: Services, user: str, data: UpdateProfileRequest) -> User:
    """Change user name and full name."""
    row = await load_user(services.pool, actor, user, "user:update_personal")
    return user_view(await actions.update_profile(services, actor, row, data))


@put("/users/{user:str}/password", opt=needs("user:update_personal"), status_code=204)
async def update_password(
    actor: Actor, services: Services, gate: Gate, user: str, data: UpdatePasswordRequest
) -> None:
    """Change a password."""
    gate.login_limit.check(f"password:{actor.user_id}", gate.monotonic())
    row = await load_user(services.pool, actor, user, "user:update_personal")
    await actions.update_password(services, gate.passwords, actor, row, data)


@get("/users/{user:str}/roles", opt=needs("user:read"))
async def get_roles(actor: Actor, services: Services, user: str) -> UserRoles:
    """A user's roles."""
    row = await load_user(services.pool, actor, user)
    return UserRoles(list(row.site_roles), {str(organization): [] for organization in row.organization_ids})


@put("/users/{user:str}/roles", opt=needs("user:update"))
async def update_roles(actor: Actor, services: Services, user: str, data: UpdateRolesRequest) -> User:
    """Set the complete list of a user's roles."""
    row = await load_user(services.pool, actor, user, "user:update")
    return user_view(await actions.update_roles(services, actor, row, data.roles))


@put("/users/{user:str}/status/suspend", opt=needs("user:update"))
async def suspend(actor: Actor, services: Services, user: str) -> User:
    """Keep a user from signing in."""
    row = await load_user(services.pool, actor, user, "user:update")
    return user_view(await actions.update_status(services, actor, row, "suspended"))


@put("/users/{user:str}/status/activate", opt=needs("user:update"))
async def activate(actor: Actor, services: Services, user: str) -> User:
    """Let a suspended user sign in again."""
    row = await load_user(services.pool, actor, user, "user:update")
    return user_view(await actions.update_status(services, actor, row, "active"))


@get("/users/{user:str}/login-type", opt=needs("user:read"))
async def get_login_type(actor: Actor, services: Services, user: str) -> UserLoginType:
    """How a user signs in."""
    return UserLoginType((await load_user(services.pool, actor, user)).login_type)


@get("/users/{user:str}/gitsshkey", opt=needs("user:update_personal"))
async def get_git_key(actor: Actor, services: Services, user: str) -> GitSSHKey:
    """The public half of a user's git key."""
    row = await load_user(services.pool, actor, user, "user:update_personal")
    key = await queries.get_git_key(services.pool, row.id)
    if key is None:
        raise NotFound
    return _git_key_view(key)


@put("/users/{user:str}/gitsshkey", opt=needs("user:update_personal"))
async def regenerate_git_key(actor: Actor, services: Services, user: str) -> GitSSHKey:
    """Replace a user's git key."""
    row = await load_user(services.pool, actor, user, "user:update_personal")
    return _git_key_view(await actions.regenerate_git_key(services, actor, row))


def _git_key_view(row: GitKeyRow) -> GitSSHKey:
    return GitSSHKey(row.user_id, row.created_at, row.updated_at, row.public_key)


routes: list[Any] = [
    get_first_user,
    create_first_user,
    log_in,
    log_out,
    get_auth_methods,
    validate_password,
    list_roles,
    list_users,
    create_user,
    get_user,
    delete_user,
    update_profile,
    update_password,
    get_roles,
    update_roles,
    suspend,
    activate,
    get_login_type,
    get_git_key,
    regenerate_git_key,
]
