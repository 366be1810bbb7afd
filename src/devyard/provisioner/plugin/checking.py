"""Checks a template as an import would, without a server: init, validate, plans for a start and for a stop.

Called by `devyard templates check`. Invariant: the author's directory is only read; what Terraform makes lies in a
directory of its own that is gone afterwards.
"""

import asyncio
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from devyard.provisioner.engine.backend import check_version
from devyard.provisioner.engine.lane import CommandFailed, Lane
from devyard.provisioner.engine.process import WorkerLost
from devyard.provisioner.engine.stopping import Stop
from devyard.provisioner.engine.terraform import Terraform, open_terraform
from devyard.provisioner.jobs.bounds import watch_bounds
from devyard.provisioner.jobs.joblog import JobLog
from devyard.provisioner.jobs.progress import Diagnostic, Progress
from devyard.provisioner.jobs.secrets import Secrets
from devyard.provisioner.jobs.workplace import JobFailed, Workplace, check_exit, make_context
from devyard.provisioner.plugin.findings import Configuration, find_problems
from devyard.provisioner.provider.capture import Capture, CapturedParameter, CapturedPreset
from devyard.provisioner.results.agents import TemplateError
from devyard.provisioner.results.graph import Graph, find_agent_resources, parse_graph
from devyard.provisioner.results.instances import read_plan
from devyard.provisioner.results.resources import collect_resources
from devyard.provisioner.templates.cache import Template
from devyard.provisioner.templates.needs import has_backend, needs_init
from devyard.provisioner.templates.variables import find_unknown, list_variables, render_values
from devyard.provisioner.templates.workdir import find_fast_directory, make_work_directory, remove_work_directory
from devyard.wire.enums import Transition
from devyard.wire.provisionerlink import JobLogLine, Limits, Variable, WorkspaceContext
from devyard.wire.provisionerresults import ResourceResult, TemplateVariableResult

_CONTEXT = WorkspaceContext(access_url="https://devyard.example.com")
_BACKEND_OVERRIDE = "devyard_override.tf"


class Report(msgspec.Struct, kw_only=True):
    """What was found. `errors` keep the template from working; `warnings` are worth a look."""

    terraform: str = ""
    errors: list[str] = []
    warnings: list[str] = []
    variables: tuple[TemplateVariableResult, ...] = ()
    parameters: list[CapturedParameter] = []
    presets: list[CapturedPreset] = []
    start_resources: tuple[ResourceResult, ...] = ()
    stop_resources: tuple[ResourceResult, ...] = ()


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What to check. `terraform`: auto, library, binary or a path."""

    directory: Path
    terraform: str = "auto"
    variables: tuple[Variable, ...] = ()
    parameters: dict[str, str] = {}


async def check_template(request: Request) -> Report:
    """The report. Raises NoTerraform when there is none to check with."""
    with tempfile.TemporaryDirectory(prefix="dyc-") as sockets:
        async with open_terraform(request.terraform, directory=Path(sockets)) as terraform:
            report = Report(terraform=f"{terraform.version} ({terraform.backend.kind})")
            if warning := check_version(terraform.version):
                report.warnings.append(warning)
            await _check(request, terraform, report)
    report.errors = list(dict.fromkeys(report.errors))
    report.warnings = list(dict.fromkeys(text for text in report.warnings if text not in report.errors))
    return report


async def _check(request: Request, terraform: Terraform, report: Report) -> None:
    configuration = await asyncio.to_thread(Configuration.read, request.directory)
    if configuration.is_empty:
        report.errors.append(f"{request.directory} has no .tf files: it is no template.")
        return
    report.variables = list_variables(configuration.blocks, configuration.documents)
    template = Template(request.directory, None, "check", report.variables)
    values = render_values(report.variables, request.variables)
    directory = await asyncio.to_thread(
        make_work_directory, find_fast_directory(Path(tempfile.gettempdir())), template, b"", values
    )
    try:
        if has_backend(configuration.blocks):
            (directory / _BACKEND_OVERRIDE).write_text('terraform {\n  backend "local" {}\n}\n')
        log, stop = _log(report)
        async with watch_bounds(Limits(), stop, log) as bounds, terraform.lane("check") as lane:
            bounds.lane, bounds.directory = lane, directory
            place = Workplace(lane, directory, template, log, stop, bounds)
            await _Run(request, report, configuration, lane, place).check()
    finally:
        await asyncio.to_thread(remove_work_directory, directory)


def _log(report: Report) -> tuple[JobLog, Stop]:
    """A log that keeps the diagnostics, each as one text."""

    def take(line: JobLogLine) -> None:
        found = {"error": report.errors, "warn": report.warnings}.get(line.level)
        if found is None:
            return
        if line.output.startswith(("Error: ", "Warning: ")) or not found:
            found.append(line.output.split(": ", 1)[-1])
        elif line.output.strip():
            found[-1] += f"\n{line.output}"

    return JobLog(take, Secrets(_CONTEXT)), Stop()


class _Run:
    """One check: the steps in their order, each only when those before it went well."""

    def __init__(
        self, request: Request, report: Report, configuration: Configuration, lane: Lane, place: Workplace
    ) -> None:
        self._request = request
        self._report = report
        self._configuration = configuration
        self._lane = lane
        self._place = place

    async def check(self) -> None:
        try:
            if needs_init(self._configuration.blocks, self._configuration.documents):
                await self._initialize()
            if await self._validate() and self._check_values():
                await self._plan()
        except JobFailed as error:
            if not self._report.errors:
                self._report.errors.append(str(error))
        except (CommandFailed, WorkerLost, TemplateError) as error:
            self._report.errors.append(str(error))

    async def _initialize(self) -> None:
        progress = Progress(self._place.log, "init")
        code = await self._lane.run(
            self._place.directory,
            ["init", "-input=false", "-json"],
            progress.on_line,
            progress.on_error_line,
            self._place.stop,
        )
        check_exit(code, progress, self._place.stop, "terraform init")

    async def _validate(self) -> bool:
        self._place.announce(make_context(_CONTEXT, "start"))
        lines: list[bytes] = []
        await self._lane.run(
            self._place.directory, ["validate", "-json"], lines.append, lines.append, self._place.stop
        )
        try:
            answer = msgspec.json.decode(b"\n".join(lines), type=_Validation)
        except msgspec.DecodeError:
            raise JobFailed(b"\n".join(lines).decode("utf-8", "replace")) from None
        for diagnostic in answer.diagnostics:
            found = self._report.errors if diagnostic.severity == "error" else self._report.warnings
            found.append("\n".join(diagnostic.lines()).split(": ", 1)[-1])
        return answer.valid

    def _check_values(self) -> bool:
        """Whether Terraform can be asked for a plan with what was given."""
        given = {value.name for value in self._request.variables} | self._configuration.values.keys()
        for name in find_unknown(self._report.variables, self._request.variables):
            self._report.errors.append(f'A value was given for the variable "{name}", which is not declared.')
        missing = [v.name for v in self._report.variables if v.required and v.name not in given]
        if missing:
            self._report.errors.append(
                f"These variables need values: {', '.join(missing)}. Give them with --var NAME=VALUE."
            )
        return not missing

    async def _plan(self) -> None:
        capture = await self._plan_for("start")
        self._report.parameters = sorted(
            capture.parameters, key=lambda found: (found.definition.order, found.definition.name)
        )
        self._report.presets = capture.presets
        graph = parse_graph((await self._lane.read(self._place.directory, ["graph"], self._place.stop)).decode())
        self._report.start_resources = await self._collect("start", graph)
        await self._plan_for("stop")
        self._report.stop_resources = await self._collect("stop", graph)
        errors, warnings = find_problems(self._configuration, capture, graph, self._request.parameters)
        self._report.errors += errors
        self._report.warnings += warnings

    async def _plan_for(self, transition: Transition) -> Capture:
        context = make_context(_CONTEXT, transition, self._request.parameters)
        self._planned, capture = await self._place.plan(context, f"{transition}.tfplan")
        return capture

    async def _collect(self, transition: Transition, graph: Graph) -> tuple[ResourceResult, ...]:
        collected = collect_resources(read_plan(self._planned), find_agent_resources(graph), graph)
        self._report.warnings += collected.warnings
        return collected.resources


class _Validation(msgspec.Struct):
    valid: bool
    diagnostics: Sequence[Diagnostic] = ()


def read_variables(pairs: Iterable[tuple[str, str]]) -> tuple[Variable, ...]:
    """Variables from names and values."""
    return tuple(Variable(name, value) for name, value in pairs)
