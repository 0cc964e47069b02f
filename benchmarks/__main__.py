"""`python -m benchmarks`"""

from __future__ import annotations

import sys

try:
    from benchmarks.cli import main
except ModuleNotFoundError as error:
    missing = (error.name or "").partition(".")[0]
    if missing not in ("click", "rich"):
        raise
    sys.exit(f"The benchmarks need {missing}. Install what they use with: pip install 'virtual-actors[bench]'")

if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
