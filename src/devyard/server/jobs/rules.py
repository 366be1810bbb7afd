"""Pure decisions about jobs: tags, and how a status reads."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from devyard.wire.errors import Invalid, ValidationError

MAX_TAGS = 32
MAX_TAG_CHARS = 256
MAX_SHOWN = 5
IMPLIED = frozenset({("scope", "organization"), ("owner", "")})


class Candidate(NamedTuple):
    """A provisioner as far as it matters for who could take a job."""

    id: UUID
    name: str
    tags: Mapping[str, str]
    last_seen_at: datetime
    is_online: bool


def normalize_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags as they are compared: what every job of an organization carries anyway is left out.

    Raises:
        Invalid: too many tags, or one that is too long.
    """
    if len(tags) > MAX_TAGS:
        raise Invalid(
            "There are too many tags.", validations=[ValidationError("tags", f"At most {MAX_TAGS} are allowed.")]
        )
    kept: dict[str, str] = {}
    for key, value in tags.items():
        if not key or len(key) > MAX_TAG_CHARS or len(value) > MAX_TAG_CHARS:
            detail = f"Keys have 1 to {MAX_TAG_CHARS} characters, values at most {MAX_TAG_CHARS}."
            raise Invalid("A tag was refused.", validations=[ValidationError("tags", detail)])
        kept[key] = value
    return without_implied(kept)


def without_implied(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags without the two that everything of an organization carries."""
    return {key: value for key, value in tags.items() if (key, value) not in IMPLIED}


def can_run(job_tags: Mapping[str, str], daemon_tags: Mapping[str, str]) -> bool:
    """Whether a provisioner may take a job: it has all the job's tags; an untagged job goes to untagged ones."""
    if not job_tags:
        return not daemon_tags
    return all(daemon_tags.get(key) == value for key, value in job_tags.items())


def explain_waiting(job_tags: Mapping[str, str], candidates: Sequence[Candidate]) -> str:
    """Why no connected provisioner can take a job and what to do, or nothing where one can.

    `candidates` are the provisioners of the job's organization, last seen first.
    """
    matching = [candidate for candidate in candidates if can_run(job_tags, candidate.tags)]
    if any(candidate.is_online for candidate in matching):
        return ""
    wanted = f"a provisioner with the tags {show_tags(job_tags)}" if job_tags else "a provisioner without tags"
    if matching:
        last = matching[0]
        return (
            f"The job needs {wanted}. {len(matching)} of this organization fit, but none is connected: "
            f'"{last.name}" was last seen at {last.last_seen_at:%Y-%m-%d %H:%M:%S} UTC. Start it again.'
        )
    if not candidates:
        return (
            f"The job needs {wanted}, and this organization has no provisioner at all. "
            "Start one with `devyard provisioner start`."
        )
    online = [candidate for candidate in candidates if candidate.is_online]
    shown = (online or candidates)[:MAX_SHOWN]
    reasons = "; ".join(f'"{candidate.name}" {_explain_mismatch(job_tags, candidate.tags)}' for candidate in shown)
    rest = len(online or candidates) - len(shown)
    more = f"; and {rest} more" if rest else ""
    state = "connected" if online else "known, all of them offline"
    return (
        f"The job needs {wanted}, and none of this organization fits. "
        f"Those {state}: {reasons}{more}. Start one that fits, or change the tags of the template."
    )


def show_tags(tags: Mapping[str, str]) -> str:
    """Tags as people read them: `zone=eu, arch=arm64`."""
    return ", ".join(f"{key}={value}" for key, value in sorted(tags.items()))


def _explain_mismatch(job_tags: Mapping[str, str], daemon_tags: Mapping[str, str]) -> str:
    if not job_tags:
        return f"takes only jobs with tags, since it has {show_tags(daemon_tags)}"
    problems = [
        f"has no tag {key}" if key not in daemon_tags else f"has {key}={daemon_tags[key]}, not {value}"
        for key, value in sorted(job_tags.items())
        if daemon_tags.get(key) != value
    ]
    return " and ".join(problems[:3])
