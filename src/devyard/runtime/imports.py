"""Makes the imports of long-lived processes quick: no garbage collection meanwhile, nothing only terminals need.

Called once by each program of the server where it loads its code. Both together halve the time: modules make many
objects that stay, which the collector would walk again and again, and structlog loads rich wherever it finds it.
"""

import contextlib
import gc
import sys
from collections.abc import Iterator
from typing import Any, cast


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Inside, `import rich` fails and nothing is collected; what was made inside is never walked again."""
    modules = cast(dict[str, Any], sys.modules)
    hides_rich = "rich" not in modules
    if hides_rich:
        modules["rich"] = None  # the import system's own way to say: there is none
    try:
        with uncollected():
            yield
    finally:
        if hides_rich:
            del modules["rich"]


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Makes many objects that live as long as the process, without the collector. May be nested."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
