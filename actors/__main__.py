"""`python -m actors` and the console script `actors`: the command line, if its extra is installed."""

from __future__ import annotations

import sys

from actors.cli.show.streams import set_up_streams


def main() -> None:
    """Run the command line. Exits with 2, and says what to install, if click, httpx or rich is missing."""
    try:
        from actors.cli.commands import cli

        set_up_streams()
        cli(prog_name="actors")  # imports what the command needs
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("click", "httpx", "rich"):
            raise
        extra = "restate" if sys.argv[1:2] in (["restate"], ["deploy"]) else "cli"
        print(
            f"The command line requires {missing}. Install it: pip install 'virtual-actors[{extra}]'", file=sys.stderr
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
