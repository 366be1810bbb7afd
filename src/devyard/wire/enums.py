"""Enumerations of the API, as string literals: what a client sends and reads, word for word."""

from typing import Literal

LoginType = Literal["password", "github", "oidc", "token", "none", ""]
UserStatus = Literal["active", "dormant", "suspended"]
APIKeyScope = Literal["all", "application_connect"]

JobStatus = Literal["pending", "running", "succeeded", "canceling", "canceled", "failed", "unknown"]
JobType = Literal["template_version_import", "workspace_build", "template_version_dry_run"]
ProvisionerType = Literal["terraform", "echo"]
StorageMethod = Literal["file"]
JobErrorCode = Literal["REQUIRED_TEMPLATE_VARIABLES", "INSUFFICIENT_QUOTA", ""]
LogLevel = Literal["trace", "debug", "info", "warn", "error"]
LogSource = Literal["provisioner_daemon", "provisioner"]
DaemonStatus = Literal["offline", "idle", "busy"]

Transition = Literal["start", "stop", "delete"]
WorkspaceStatus = Literal[
    "pending",
    "starting",
    "running",
    "stopping",
    "stopped",
    "failed",
    "canceling",
    "canceled",
    "deleting",
    "deleted",
]
BuildReason = Literal[
    "initiator",
    "autostart",
    "autostop",
    "dormancy",
    "failedstop",
    "autodelete",
    "dashboard",
    "cli",
    "ssh_connection",
    "vscode_connection",
    "jetbrains_connection",
    "task_auto_pause",
    "task_manual_pause",
    "task_resume",
]
AutomaticUpdates = Literal["always", "never"]

AgentStatus = Literal["connecting", "connected", "disconnected", "timeout"]
AgentLifecycle = Literal[
    "created",
    "starting",
    "start_timeout",
    "start_error",
    "ready",
    "shutting_down",
    "shutdown_timeout",
    "shutdown_error",
    "off",
]
StartupBehavior = Literal["blocking", "non-blocking"]
DisplayApp = Literal["vscode", "vscode_insiders", "web_terminal", "ssh_helper", "port_forwarding_helper"]
AppHealth = Literal["disabled", "initializing", "healthy", "unhealthy"]
SharingLevel = Literal["owner", "authenticated", "organization", "public"]
OpenIn = Literal["slim-window", "tab", "window"]

AuditAction = Literal[
    "create",
    "write",
    "delete",
    "start",
    "stop",
    "login",
    "logout",
    "register",
    "request_password_reset",
    "connect",
    "disconnect",
    "open",
    "close",
]
