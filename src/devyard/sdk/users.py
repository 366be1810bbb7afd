"""Users, sign-in and tokens over a `Client`. `user` is an id, a name or `me` throughout."""

from devyard.sdk.client import Client, segment
from devyard.wire.errors import NotFound
from devyard.wire.identity import (
    APIKey,
    BuildInfo,
    CreateFirstUserRequest,
    CreateFirstUserResponse,
    CreateTokenRequest,
    CreateUserRequest,
    GenerateAPIKeyResponse,
    GitSSHKey,
    LoginRequest,
    LoginResponse,
    UpdateRolesRequest,
    User,
    UsersPage,
)


def get_build_info(client: Client) -> BuildInfo:
    """What runs there; needs no sign-in."""
    return client.get("/buildinfo", BuildInfo)


def has_first_user(client: Client) -> bool:
    """Whether anybody can sign in yet."""
    try:
        client.get_bytes("/users/first")
    except NotFound:
        return False
    return True


def create_first_user(client: Client, request: CreateFirstUserRequest) -> CreateFirstUserResponse:
    """The first administrator. Raises Conflict when there is one."""
    return client.send("POST", "/users/first", request, CreateFirstUserResponse)


def log_in(client: Client, email: str, password: str) -> str:
    """A session token. Raises Unauthenticated."""
    return client.send("POST", "/users/login", LoginRequest(email, password), LoginResponse).session_token


def log_out(client: Client) -> None:
    """Ends the session that the client's token is of."""
    client.do("POST", "/users/logout")


def get_user(client: Client, user: str = "me") -> User:
    """One user. Raises NotFound."""
    return client.get(f"/users/{segment(user)}", User)


def list_users(client: Client, query: str = "", limit: int = 100, offset: int = 0) -> UsersPage:
    """A page of users by a `q` filter."""
    return client.get("/users", UsersPage, q=query, limit=limit, offset=offset)


def create_user(client: Client, request: CreateUserRequest) -> User:
    """A new user."""
    return client.send("POST", "/users", request, User)


def delete_user(client: Client, user: str) -> None:
    """Removes a user who owns no workspace."""
    client.do("DELETE", f"/users/{segment(user)}")


def set_suspended(client: Client, user: str, *, is_suspended: bool) -> User:
    """Locks a user out, or lets them in again."""
    action = "suspend" if is_suspended else "activate"
    return client.send("PUT", f"/users/{segment(user)}/status/{action}", None, User)


def update_roles(client: Client, user: str, roles: list[str]) -> User:
    """Replaces a user's roles."""
    return client.send("PUT", f"/users/{segment(user)}/roles", UpdateRolesRequest(roles), User)


def create_session_key(client: Client) -> str:
    """A new session token for the caller."""
    return client.send("POST", "/users/me/keys", None, GenerateAPIKeyResponse).key


def create_token(client: Client, request: CreateTokenRequest, user: str = "me") -> str:
    """A named token's text, shown once."""
    return client.send("POST", f"/users/{segment(user)}/keys/tokens", request, GenerateAPIKeyResponse).key


def list_tokens(client: Client, user: str = "me", *, include_all: bool = False) -> list[APIKey]:
    """Named tokens, without their secrets; `include_all` for those of every user."""
    path = f"/users/{segment(user)}/keys/tokens"
    return client.get(path, list[APIKey], include_all=include_all or None)


def delete_key(client: Client, key_id: str, user: str = "me") -> None:
    """Revokes a token or session."""
    client.do("DELETE", f"/users/{segment(user)}/keys/{segment(key_id)}")


def get_git_key(client: Client, user: str = "me") -> GitSSHKey:
    """The public half of the user's git key."""
    return client.get(f"/users/{segment(user)}/gitsshkey", GitSSHKey)


def replace_git_key(client: Client, user: str = "me") -> GitSSHKey:
    """Makes a new git key; the old one stops working."""
    return client.send("PUT", f"/users/{segment(user)}/gitsshkey", None, GitSSHKey)
