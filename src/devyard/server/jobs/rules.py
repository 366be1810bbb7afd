"""Pure decisions about jobs: tags, and how a status reads."""

from collections.abc import Mapping

from devyard.wire.errors import Invalid, ValidationError

MAX_TAGS = 32
MAX_TAG_CHARS = 256


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
        if (key, value) in (("scope", "organization"), ("owner", "")):
            continue
        kept[key] = value
    return kept


def can_run(job_tags: Mapping[str, str], daemon_tags: Mapping[str, str]) -> bool:
    """Whether a provisioner may take a job: it has all the job's tags; an untagged job goes to untagged ones."""
    if not job_tags:
        return not daemon_tags
    return all(daemon_tags.get(key) == value for key, value in job_tags.items())
