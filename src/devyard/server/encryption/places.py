"""Every column that is sealed, and how a batch of its rows is found for another key.

Used by the queries that write and read these columns, by the re-sealing and by the status. Invariant: a column
that is sealed anywhere stands here; docs/design/encryption.md says of the others why they are not.
"""

from typing import Literal, NamedTuple

from devyard.server.encryption.keyring import Place

GIT_KEY = Place("users", "git_private_key")
STATE = Place("workspace_builds", "state")
VARIABLE_VALUES = Place("template_versions", "variable_values")
PLANNED = Place("template_versions", "resources")
JOB_VALUES = Place("provisioner_jobs", "given_values")
JOB_RESULT = Place("provisioner_jobs", "result")
AGENT_ENVIRONMENT = Place("workspace_agents", "environment")
SCRIPT = Place("workspace_agent_scripts", "script")
SIGNING_KEY = Place("signing_keys", "secret")


class Sealed(NamedTuple):
    """How a place's values are stored: raw bytes, text, or a JSON string in place of the JSON."""

    place: Place
    kind: Literal["bytes", "text", "json"]
    id_type: Literal["uuid", "text"] = "uuid"
    batch_rows: int = 200


SEALED = (
    Sealed(GIT_KEY, "text"),
    # A state may have 32 MiB: few at a time.
    Sealed(STATE, "bytes", batch_rows=5),
    Sealed(VARIABLE_VALUES, "json"),
    Sealed(PLANNED, "json", batch_rows=50),
    Sealed(JOB_VALUES, "json"),
    Sealed(JOB_RESULT, "json", batch_rows=50),
    Sealed(AGENT_ENVIRONMENT, "json"),
    Sealed(SCRIPT, "text"),
    Sealed(SIGNING_KEY, "bytes", id_type="text"),
)
