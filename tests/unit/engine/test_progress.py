import json

from devyard.provisioner.jobs.joblog import MAX_BYTES, JobLog
from devyard.provisioner.jobs.progress import Progress
from devyard.provisioner.jobs.secrets import MASK, Secrets
from devyard.provisioner.provider.capture import CapturedResource
from devyard.wire.provisionerlink import JobLogLine, Variable, WorkspaceContext
from devyard.wire.provisionerresults import TemplateVariableResult


class Log:
    def __init__(self, *, has_details: bool = False, **context: str) -> None:
        self.lines: list[JobLogLine] = []
        self.secrets = Secrets(WorkspaceContext(access_url="", **context))
        self.log = JobLog(self.lines.append, self.secrets, has_details=has_details)
        self.progress = Progress(self.log, "apply")

    def feed(self, **event: object) -> None:
        self.progress.on_line(json.dumps(event).encode())

    @property
    def texts(self) -> list[str]:
        return [line.output for line in self.lines]


def hook(type_: str, address: str, action: str = "create", **values: object) -> dict[str, object]:
    return {
        "type": type_,
        "@message": f"{address}: {type_}",
        "@level": "info",
        "@timestamp": "2026-11-24T06:00:00.000000Z",
        "hook": {"resource": {"addr": address}, "action": action, **values},
    }


def test_events_become_lines() -> None:
    log = Log()
    log.feed(**hook("apply_start", "a.b"))
    log.feed(**hook("refresh_start", "a.c"))
    log.feed(**hook("apply_start", "data.a.d", "read"))
    log.feed(**hook("apply_complete", "data.a.d", "read"))
    log.progress.on_line(b"not json at all\r")
    log.feed(**{"@level": "info", "@message": "Future kind", "type": "unheard_of"})
    assert log.texts == ["a.b: apply_start", "not json at all", "Future kind"]
    assert {line.source for line in log.lines} == {"provisioner"}


def test_details_on_request() -> None:
    log = Log(has_details=True)
    log.feed(**hook("refresh_start", "a.c"))
    assert [(line.level, line.output) for line in log.lines] == [("debug", "a.c: refresh_start")]


def test_diagnostics_with_their_place() -> None:
    log = Log()
    log.feed(
        type="diagnostic",
        **{"@level": "error", "@message": "Error: Bad"},
        diagnostic={
            "severity": "error",
            "summary": "Bad value",
            "detail": "It is too long. Use a shorter one.\n\nReally.",
            "range": {"filename": "main.tf", "start": {"line": 3, "column": 1, "byte": 9}},
            "snippet": {"context": 'resource "a" "b"', "code": "  x = 1", "start_line": 3},
        },
    )
    assert log.texts == [
        "Error: Bad value",
        '  on main.tf line 3, in resource "a" "b":',
        "     3:   x = 1",
        "It is too long. Use a shorter one.",
        "",
        "Really.",
    ]
    assert {line.level for line in log.lines} == {"error"}
    assert log.progress.errors[0].sentence() == "main.tf:3: Bad value: It is too long."


def test_secrets_are_masked() -> None:
    key = "-----BEGIN KEY-----\nAAAAB3NzaC1yc2EAAAADAQABAAAB\n-----END KEY-----\n"
    log = Log(owner_session_token="session-token", owner_ssh_private_key=key)
    definitions = [
        TemplateVariableResult("pw", "", "", "", required=True, sensitive=True),
        TemplateVariableResult("open", "", "", "", required=True, sensitive=False),
    ]
    log.secrets.add_variables(definitions, [Variable("pw", "a+b(c"), Variable("open", "visible")])
    created: list[CapturedResource] = []
    log.secrets.follow(created)
    created.append(CapturedResource("devyard_agent", "1", {"token": "agent-token"}))
    log.log.say("x session-token a+b(c AAAAB3NzaC1yc2EAAAADAQABAAAB agent-token visible")
    assert log.texts == [f"x {MASK} {MASK} {MASK} {MASK} visible"]


def test_empty_secrets_mask_nothing() -> None:
    log = Log()
    log.secrets.add(["", "a"])
    log.log.say("a banana")
    assert log.texts == ["a banana"]


def test_the_log_is_bounded() -> None:
    log = Log()
    for _ in range(2 * MAX_BYTES // 8000):
        log.log.pass_on("x" * 9000, "info")
    assert "the rest is left out" in log.texts[-1]
    assert sum(map(len, log.texts)) <= MAX_BYTES
