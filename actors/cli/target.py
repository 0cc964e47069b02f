"""The app that `module:app` on a command line means."""

from __future__ import annotations

import importlib
import os
import sys
import traceback

from actors import App


class BadTarget(Exception):
    """There is no such app. The message says what to type instead."""


def load_app(target: str) -> App:
    """Import the module, also from the current folder, and return its App. Raises BadTarget."""
    module_name, _, name = target.partition(":")
    if not module_name or not name:
        raise BadTarget(f"{target!r} names no app. Write module:app, for example shop:app or shop.main:app.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise BadTarget(f"There is no module {module_name!r}, here or installed.") from None
        raise BadTarget(_failed(module_name, error)) from None
    except Exception as error:
        raise BadTarget(_failed(module_name, error)) from None
    except SystemExit as error:
        raise BadTarget(f"The module {module_name!r} ends the process when it is imported ({error!r}).") from None
    found: object = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, App):
        return found
    apps = sorted(f"{module_name}:{known}" for known, value in vars(module).items() if isinstance(value, App))
    hint = f"It has {' and '.join(apps)}." if apps else "Write there: app = App(...), outside of any function."
    what = "There is no" if found is None else f"A {type(found).__name__}, and no App, is"
    raise BadTarget(f"{what} {name!r} in the module {module_name!r}. {hint}")


def _failed(module_name: str, error: Exception) -> str:
    told = "".join(traceback.format_exception(error))
    return f"The module {module_name!r} cannot be imported.\n{told}".rstrip()
