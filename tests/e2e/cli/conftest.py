"""One real server for the command line's tests, the CLI signed in to it, and small templates."""

from tests.e2e.main_job.conftest import devyard

__all__ = ["devyard"]
