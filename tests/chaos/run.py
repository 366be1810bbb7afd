"""`python -m tests.chaos.run [KILLS [SEED]]`: many kills, with a tally at the end. Called by scripts/chaos."""

import asyncio
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.place import Place
from tests.chaos.rounds import make_plan, run_rounds


async def run(count: int, seed: int) -> int:
    """Runs it; the exit status."""
    print(f"seed {seed}", flush=True)
    root = Path(tempfile.mkdtemp(prefix="devyard-chaos-"))
    chance = random.Random(seed)
    place = Place(root)
    began = time.monotonic()
    try:
        await place.open()
        tally = await run_rounds(place, make_plan(chance, count), chance)
    except BaseException:
        print(f"seed {seed}; what the server said is in {root / 'log'}", file=sys.stderr)
        raise
    finally:
        await place.close()
    print(tally.report())
    print(f"{time.monotonic() - began:.0f} s, seed {seed}")
    shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    sys.exit(
        asyncio.run(
            run(wanted, int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 30))
        )
    )
