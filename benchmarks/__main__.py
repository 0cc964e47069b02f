"""`python -m benchmarks`"""

from __future__ import annotations

import sys

from actors.cli.show.streams import set_up_streams

try:
    from benchmarks.cli import main
except ModuleNotFoundError as error:
    missing = (error.name or "").partition(".")[0]
    if missing not in ("click", "rich"):
        raise
    sys.exit(f"The benchmarks require {missing}. Install it with: pip install 'virtual-actors[bench]'")

if __name__ == "__main__":
    set_up_streams()
    main(prog_name="python -m benchmarks")
