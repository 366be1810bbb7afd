"""Writes on users; each owns its transaction and leaves an audit row in it."""

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import structlog

from devyard.server.access.rules import OWNER, Actor, RequestInfo
from devyard.server.audit.actions import record
from devyard.server.db.pool import Connection, transaction
from devyard.server.names import check_name, check_text
from devyard.server.services import Services
from devyard.server.tokens.queries import delete_keys_of_user, delete_sessions_of_user
from devyard.server.users import queries, rules
from devyard.server.users.gitkeys import make_git_key
from devyard.server.users.passwords import Passwords
from devyard.server.users.queries import GitKeyRow, UserRow
from devyard.wire.enums import LoginType, UserStatus
from devyard.wire.errors import BadRequest, Conflict, Forbidden, Invalid, NotFound, ValidationError
from devyard.wire.identity import (
    CreateFirstUserRequest,
    CreateUserRequest,
    UpdatePasswordRequest,
    UpdateProfileRequest,
)

log = structlog.get_logger("users")

FIRST_USER_EXISTS = "The initial user has already been created!"


async def create_first_user(
    services: Services, passwords: Passwords, info: RequestInfo, request: CreateFirstUserRequest
) -> UserRow:
    """The first administrator; works once.

    Raises:
        BadRequest: there is a user. Invalid: names the fields.
    """
    rules.check_new_user(request, needs_password=True)
    if await queries.has_users(services.pool):
        raise BadRequest(FIRST_USER_EXISTS)
    password_hash = await passwords.hash(request.password)
    user_id = uuid4()
    actor = Actor(
        user_id=user_id, username=request.username, site_roles=(OWNER,), organization_ids=(), request=info
    )
    async with transaction(services.pool) as connection:
        await queries.lock_first_user(connection)
        if await queries.has_users(connection):
            raise BadRequest(FIRST_USER_EXISTS)
        return await _insert(
            connection,
            actor,
            services.organization_id,
            user_id=user_id,
            email=request.email,
            username=request.username,
            name=request.name,
            password_hash=password_hash,
            login_type="password",
            status="active",
            site_roles=[OWNER],
        )


async def make_first_user(services: Services, passwords: Passwords) -> None:
    """The administrator that the settings name, unless there is any user; replicas may do this at once."""
    settings = services.settings
    if not settings.first_user_email or not settings.first_user_password:
        return
    if await queries.has_users(services.pool):
        return
    request = CreateFirstUserRequest(
        email=settings.first_user_email,
        username=settings.first_user_username or decide_username(settings.first_user_email),
        password=settings.first_user_password,
    )
    try:
        user = await create_first_user(services, passwords, RequestInfo(request_id=uuid4()), request)
    except Invalid as error:
        raise ValueError(f"The first user of the settings was refused. {error}") from None
    except BadRequest:
        return
    log.info("made the first administrator", username=user.username)


def decide_username(email: str) -> str:
    """A user name from an e-mail address."""
    return "-".join(re.findall(r"[A-Za-z0-9]+", email.partition("@")[0]))[:32].strip("-") or "admin"


async def create_user(
    services: Services, passwords: Passwords, actor: Actor, request: CreateUserRequest
) -> UserRow:
    """A new user in the given organizations, or in the default one.

    Raises:
        Invalid: names the fields. Conflict: name or e-mail address is taken.
    """
    login_type: LoginType = request.login_type or "password"
    rules.check_new_user(request, needs_password=login_type == "password")
    if login_type not in ("password", *rules.NO_PASSWORD):
        detail = "Must be password, token or none; users of an identity provider come by signing in."
        raise Invalid("The user was refused.", validations=[ValidationError("login_type", detail)])
    if any(organization != services.organization_id for organization in request.organization_ids):
        detail = "Must be ids of existing organizations."
        raise Invalid("The user was refused.", validations=[ValidationError("organization_ids", detail)])
    password_hash = await passwords.hash(request.password) if login_type == "password" else ""
    async with transaction(services.pool) as connection:
        return await _insert(
            connection,
            actor,
            services.organization_id,
            user_id=uuid4(),
            email=request.email,
            username=request.username,
            name=request.name,
            password_hash=password_hash,
            login_type=login_type,
            status=request.user_status or "active",
            site_roles=[],
        )


async def update_profile(
    services: Services, actor: Actor, user: UserRow, request: UpdateProfileRequest
) -> UserRow:
    """A new user name and full name."""
    username = request.username or user.username
    problems = [
        *check_name("username", username),
        *check_text("name", request.name, max_chars=128),
    ]
    if problems:
        raise Invalid("The profile was refused.", validations=problems)
    async with transaction(services.pool) as connection:
        await queries.update_profile(connection, user.id, username, request.name)
        return await _changed(connection, actor, user, {"username": username, "name": request.name})


async def update_password(
    services: Services, passwords: Passwords, actor: Actor, user: UserRow, request: UpdatePasswordRequest
) -> None:
    """A new password; other sessions of the user end.

    Raises:
        Invalid: the new password is too weak, or the old one is wrong. BadRequest: the user has no password.
    """
    if user.login_type != "password":
        raise BadRequest(f'Users of login type "{user.login_type}" have no password.')
    detail = rules.check_password(request.password, user.username, user.email)
    if detail:
        raise Invalid("The password was refused.", validations=[ValidationError("password", detail)])
    stored = await queries.get_password_hash(services.pool, user.id)
    if user.id == actor.user_id and not await passwords.is_right(stored, request.old_password):
        detail = "Is not the present password."
        raise Invalid("The password was refused.", validations=[ValidationError("old_password", detail)])
    password_hash = await passwords.hash(request.password)
    async with transaction(services.pool) as connection:
        await queries.update_password(connection, user.id, password_hash)
        keep = actor.api_key_id if user.id == actor.user_id else ""
        await delete_sessions_of_user(connection, user.id, keep=keep)
        await _changed(connection, actor, user, {"password": "changed"}, {"password": ""})


async def update_roles(services: Services, actor: Actor, user: UserRow, roles: list[str]) -> UserRow:
    """The complete list of a user's roles.

    Raises:
        Invalid: an unknown role. Conflict: the last owner would be gone.
    """
    wanted = rules.decide_roles(roles)
    async with transaction(services.pool) as connection:
        if OWNER not in wanted:
            rules.check_owner_remains(await queries.lock_owners(connection), user.id)
        await queries.update_roles(connection, user.id, wanted)
        return await _changed(connection, actor, user, {"roles": wanted}, {"roles": list(user.site_roles)})


async def update_status(services: Services, actor: Actor, user: UserRow, status: UserStatus) -> UserRow:
    """Suspend or activate a user; a suspended user's sessions end.

    Raises:
        BadRequest: one's own suspension. Conflict: the last owner's.
    """
    if status == "suspended" and user.id == actor.user_id:
        raise BadRequest("You cannot suspend yourself.")
    async with transaction(services.pool) as connection:
        if status == "suspended":
            rules.check_owner_remains(await queries.lock_owners(connection), user.id)
            await delete_sessions_of_user(connection, user.id)
        await queries.update_status(connection, user.id, status)
        return await _changed(connection, actor, user, {"status": status}, {"status": user.status})


async def delete_user(services: Services, actor: Actor, user: UserRow) -> None:
    """Remove a user who owns no workspace.

    Raises:
        Forbidden: oneself. Conflict: there are workspaces, or it is the last owner.
    """
    if user.id == actor.user_id:
        raise Forbidden("You cannot delete yourself.")
    async with transaction(services.pool) as connection:
        rules.check_owner_remains(await queries.lock_owners(connection), user.id)
        if count := await queries.count_workspaces(connection, user.id):
            raise Conflict(f"{user.username} still owns {count} workspace(s). Delete or transfer them first.")
        await queries.delete_user(connection, user.id)
        await queries.delete_memberships(connection, user.id)
        await delete_keys_of_user(connection, user.id)
        await record(
            connection,
            actor,
            "delete",
            "user",
            user.id,
            target=user.username,
            before={"username": user.username, "email": user.email, "roles": list(user.site_roles)},
        )


async def regenerate_git_key(services: Services, actor: Actor, user: UserRow) -> GitKeyRow:
    """A new git key in place of the old one, which stops working where its public half was registered."""
    made = make_git_key()
    async with transaction(services.pool) as connection:
        await queries.update_git_key(connection, user.id, made.public, made.private)
        await record(
            connection,
            actor,
            "write",
            "git_ssh_key",
            user.id,
            target=user.username,
            before={"private_key": "old"},
            after={"public_key": made.public, "private_key": "new"},
        )
        row = await queries.get_git_key(connection, user.id)
    if row is None:
        raise NotFound
    return row


async def _insert(
    connection: Connection, actor: Actor, organization_id: UUID, *, user_id: UUID, username: str, **fields: Any
) -> UserRow:
    key = make_git_key()
    await queries.insert_user(
        connection,
        user_id=user_id,
        username=username,
        git_public_key=key.public,
        git_private_key=key.private,
        **fields,
    )
    await queries.insert_member(connection, organization_id, user_id)
    shown = {name: fields[name] for name in ("email", "name", "login_type", "status")}
    await record(
        connection,
        actor,
        "create",
        "user",
        user_id,
        target=username,
        after={"username": username, "roles": fields["site_roles"], **shown},
    )
    row = await queries.get_user(connection, user_id)
    assert row is not None
    return row


async def _changed(
    connection: Connection,
    actor: Actor,
    user: UserRow,
    after: Mapping[str, object],
    before: Mapping[str, object] | None = None,
) -> UserRow:
    """Audit a change and read the user again."""
    old = before if before is not None else {name: getattr(user, name) for name in after}
    await record(connection, actor, "write", "user", user.id, target=user.username, before=old, after=after)
    row = await queries.get_user(connection, user.id)
    if row is None:
        raise NotFound
    return row
