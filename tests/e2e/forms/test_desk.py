"""The provisioner's part alone, with each of the two backends: groups, whole templates, what goes wrong."""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from devyard.provisioner.daemon import open_work_root
from devyard.provisioner.engine.terraform import open_terraform
from devyard.provisioner.forms.desk import FormDesk
from devyard.provisioner.jobs.workplace import Tools
from devyard.provisioner.templates.cache import TemplateCache
from devyard.provisioner.templates.workdir import find_fast_directory
from devyard.wire.provisionerforms import FormAnswer
from devyard.wire.provisionerlink import Archive, FileChunk, FileRequest, FormRequest, Variable, WorkspaceContext
from devyard.wire.provisionerpackages import Package
from tests.db.provisioners.fake import make_tar
from tests.e2e.engine.conftest import BACKENDS

pytestmark = pytest.mark.slow

OWN_TOKEN = "token-of-the-owner-1234567890"

GROUPS = {
    "main.tf": """
variable "sizes" {
  type = map(list(string))
}
data "coder_workspace_owner" "me" {}
data "coder_parameter" "size" {
  name = "size"
  dynamic "option" {
    for_each = distinct(flatten([for group in data.coder_workspace_owner.me.groups : var.sizes[group]]))
    content {
      name  = option.value
      value = option.value
    }
  }
}
data "coder_parameter" "secret" {
  name    = "secret"
  default = tonumber("${data.coder_workspace_owner.me.session_token}")
}
data "coder_workspace_tags" "where" {
  tags = { size = data.coder_parameter.size.value }
}
"""
}

WHOLE = {
    "main.tf": """
data "terraform_remote_state" "other" {
  backend = "local"
  config  = { path = "${path.module}/other.tfstate" }
}
data "coder_parameter" "kept" {
  name    = "kept"
  default = data.terraform_remote_state.other.outputs.answer
}
resource "terraform_data" "broken" {
  lifecycle {
    precondition {
      condition     = path.module == "elsewhere"
      error_message = "This must not be planned."
    }
  }
}
""",
    "other.tfstate": '{"version": 4, "terraform_version": "1.11.0", "serial": 1, "lineage": "x", "outputs": '
    '{"answer": {"value": "42", "type": "string"}}, "resources": []}',
}


class Desk:
    """A desk, and the server's part of its conversation."""

    def __init__(self, tools: Tools) -> None:
        self.desk = FormDesk(tools, self._take, self._fetch_package)
        self._files: dict[object, bytes] = {}
        self._answers: asyncio.Queue[FormAnswer] = asyncio.Queue()
        self._sending: list[asyncio.Task[None]] = []

    async def ask(
        self,
        files: Mapping[str, str],
        parameters: Mapping[str, str],
        variables: tuple[Variable, ...] = (),
        **context: object,
    ) -> FormAnswer:
        data = make_tar(files)
        archive = Archive(uuid4(), hashlib.sha256(data).hexdigest(), len(data))
        self._files[archive.file_id] = data
        request = FormRequest(
            request_id=uuid4(),
            template_version_id=uuid4(),
            archive=archive,
            context=WorkspaceContext(access_url="http://test", owner_session_token=OWN_TOKEN, **context),  # type: ignore[arg-type]
            parameters=parameters,
            variables=variables,
        )
        self.desk.take(request)
        answer = await asyncio.wait_for(self._answers.get(), 30)
        assert answer.request_id == request.request_id
        return answer

    async def _fetch_package(self, package: Package, target: Path) -> None:
        raise AssertionError(f"{package.name} was not packed, so it is not to be fetched into {target}")

    def _take(self, message: msgspec.Struct) -> None:
        if isinstance(message, FileRequest):
            chunk = FileChunk(message.file_id, 0, self._files[message.file_id], last=True)
            self._sending.append(asyncio.create_task(self.desk.take_chunk(chunk)))
        elif isinstance(message, FormAnswer):
            self._answers.put_nowait(message)


@pytest.fixture(params=BACKENDS)
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    with open_work_root(find_fast_directory(Path(tempfile.gettempdir()))) as root:
        async with open_terraform(request.param, directory=root) as terraform:
            desk = Desk(Tools(terraform, TemplateCache(tmp_path / "cache"), root))
            yield desk
            await desk.desk.close()
            assert list(root.glob("devyard-form-*")) == []


async def test_groups_tags_problems_and_secrets(desk: Desk) -> None:
    sizes = (Variable("sizes", '{ dev = ["1", "2"], ops = ["2", "8"] }'),)
    answer = await desk.ask(GROUPS, {"size": "8"}, sizes, owner_groups=("dev", "ops"))
    assert answer.error == ""
    (size,) = answer.parameters
    assert [option.value for option in size.definition.options] == ["1", "2", "8"]
    assert (size.value, size.problems, answer.workspace_tags) == ("8", (), {"size": "8"})
    (problem,) = answer.problems
    assert problem.detail.startswith("main.tf:18: ")
    assert "number" in problem.detail
    assert OWN_TOKEN not in problem.summary + problem.detail
    less = await desk.ask(GROUPS, {"size": "8"}, sizes, owner_groups=("dev",))
    assert [option.value for option in less.parameters[0].definition.options] == ["1", "2"]
    assert "valid option" in less.parameters[0].problems[0].summary


async def test_a_form_that_can_not_be_cut_out_is_planned_in_the_whole_template(desk: Desk) -> None:
    answer = await desk.ask(WHOLE, {})
    assert [(found.definition.name, found.value) for found in answer.parameters] == [("kept", "42")]
    assert (answer.problems, answer.error) == ((), "")


async def test_a_missing_variable_is_said(desk: Desk) -> None:
    answer = await desk.ask(GROUPS, {}, owner_groups=("dev",))
    assert answer.parameters == ()
    assert "sizes" in "".join(p.summary + p.detail for p in answer.problems)
