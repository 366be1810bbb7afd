"""One evaluation of a form: a plan in a warm worker, and what our provider saw meanwhile.

Called by the desk. Invariant: values, conditions and options are Terraform's own; nothing is taken from its output
but what it complains about.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from devyard.provisioner.engine.lane import Lane
from devyard.provisioner.engine.stopping import Stop
from devyard.provisioner.forms.prepared import Prepared
from devyard.provisioner.forms.pruning import PARAMETER_TYPES
from devyard.provisioner.jobs.progress import Diagnostic
from devyard.provisioner.jobs.workplace import make_context
from devyard.provisioner.provider.capture import Capture, CapturedParameter
from devyard.wire.provisionerforms import FormAnswer, FormParameter, FormProblem
from devyard.wire.provisionerlink import FormRequest

MAX_PARAMETERS = 500
MAX_PROBLEMS = 50
MAX_TEXT = 4096
_COMMON = ("plan", "-json", "-input=false", "-lock=false", "-refresh=false")
_EXPECTED_WARNINGS = ("Resource targeting is in effect", "Applied changes may be incomplete")


class _Line(msgspec.Struct):
    type: str = ""
    diagnostic: Diagnostic | None = None


_decode = msgspec.json.Decoder(_Line).decode


class _Complaints:
    """The diagnostics of a run of Terraform."""

    def __init__(self) -> None:
        self.found: list[FormProblem] = []
        self.last_words: list[str] = []

    def on_line(self, line: bytes) -> None:
        if b'"diagnostic"' not in line:
            return
        try:
            diagnostic = _decode(line).diagnostic
        except msgspec.MsgspecError:
            self.on_error_line(line)
            return
        if diagnostic and diagnostic.summary not in _EXPECTED_WARNINGS and len(self.found) < MAX_PROBLEMS:
            self.found.append(_problem(diagnostic))

    def on_error_line(self, line: bytes) -> None:
        if len(self.last_words) < MAX_PROBLEMS:
            self.last_words.append(line.decode("utf-8", "replace").strip())


async def evaluate(
    lane: Lane, directory: Path, prepared: Prepared, request: FormRequest, stop: Stop
) -> FormAnswer:
    """The form for the request's values. Raises WorkerLost, Stopped."""
    context = make_context(request.context, "start", dict(request.parameters), dict(request.previous_parameters))
    capture = lane.provider.use(msgspec.structs.replace(context, is_form=True))
    complaints = _Complaints()
    argv = [*_COMMON, *prepared.arguments]
    code = await lane.run(directory, argv, complaints.on_line, complaints.on_error_line, stop)
    problems = [*complaints.found, *_list_other_problems(capture)]
    if code and not any(problem.severity == "error" for problem in problems):
        detail = "\n".join(complaints.last_words)[:MAX_TEXT]
        problems.append(FormProblem(summary=f"Terraform ended with exit code {code}.", detail=detail))
    if len(capture.parameters) > MAX_PARAMETERS:
        problems.append(FormProblem(summary=f"The template asks for more than {MAX_PARAMETERS} parameters."))
        del capture.parameters[MAX_PARAMETERS:]
    parameters = sorted(capture.parameters, key=lambda found: (found.definition.order, found.definition.name))
    return FormAnswer(
        request_id=request.request_id,
        parameters=tuple(_form_parameter(parameter, capture) for parameter in parameters),
        workspace_tags={name: value for tags in capture.workspace_tags for name, value in tags.items()},
        problems=tuple(problems),
    )


def _form_parameter(parameter: CapturedParameter, capture: Capture) -> FormParameter:
    messages = dict.fromkeys(
        (
            *parameter.problems,
            *(
                problem.message
                for problem in capture.problems
                if problem.type in PARAMETER_TYPES and problem.name == parameter.definition.name
            ),
        )
    )
    return FormParameter(
        definition=parameter.definition, value=parameter.value, problems=tuple(_list_problems(messages))
    )


def _list_problems(messages: Iterable[str]) -> Iterable[FormProblem]:
    for message in messages:
        yield FormProblem(summary=message[:MAX_TEXT])


def _list_other_problems(capture: Capture) -> Iterable[FormProblem]:
    """Those of tags, presets and whatever else is no parameter."""
    for problem in capture.problems[:MAX_PROBLEMS]:
        if problem.type not in PARAMETER_TYPES:
            what = f"{problem.type} {problem.name}".strip()
            yield FormProblem(summary=f"{what}: {problem.message}"[:MAX_TEXT])


def _problem(diagnostic: Diagnostic) -> FormProblem:
    place = f"{diagnostic.range.filename}:{diagnostic.range.start.line}: " if diagnostic.range else ""
    is_error = diagnostic.severity == "error"
    return FormProblem(
        summary=diagnostic.summary[:MAX_TEXT],
        detail=f"{place}{diagnostic.detail}"[:MAX_TEXT],
        severity="error" if is_error else "warning",
    )
