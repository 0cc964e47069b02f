"""Finds the app that `module:app` on a command line names."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
import warnings
from types import ModuleType

from actors import App
from actors.model.virtual_object import Served

# The errors of importing a module that runs the app: the import happens inside a running loop.
_STARTS_A_LOOP = (
    "one is running here already",  # `actors.run`
    "cannot be called from a running event loop",
    "event loop is already running",
    "another loop is running",
    "run() starts an event loop, and one is running",  # actors.run
)


class _StartsALoop(Exception):
    """Importing the module starts an event loop, which the running loop refuses."""


class BadTarget(Exception):
    """The app does not exist. The message says what to type instead."""


def load_app(target: str) -> App:
    """Import the module, from the current folder too, and return its App. Raises BadTarget."""
    module_name, _, name = target.partition(":")
    if not module_name or not name:
        raise BadTarget(f"{target!r} is not a valid target. Use module:app, for example shop:app or shop.main:app.")
    if module_name.endswith(".py") or "/" in module_name or os.sep in module_name:
        dotted = module_name.removesuffix(".py").replace(os.sep, "/").strip("./").replace("/", ".")
        raise BadTarget(f"{module_name!r} is a file, not the name of a module. Use {dotted}:{name}, without .py.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = _imported(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise BadTarget(f"There is no module {module_name!r}, neither in this folder nor installed.") from None
        raise BadTarget(_failed(module_name, error)) from None
    except _StartsALoop:
        raise BadTarget(
            f"Importing {module_name!r} starts the app. Put run(main()) under if __name__ == '__main__':"
        ) from None
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
    hint = f"It has {' and '.join(apps)}." if apps else "Define an App at module level: app = App(...)."
    if isinstance(found, type) and issubclass(found, Served):
        kind = {"object": "VirtualObject", "service": "Service", "workflow": "Workflow"}[found.__kind__]
        if len(apps) == 1:
            hint = f"name the App: {apps[0]}"
        else:
            hint = f"name the App. {hint}"
        raise BadTarget(f"{name!r} is a {kind} class; {hint}")
    if found is None:
        raise BadTarget(f"There is no {name!r} in the module {module_name!r}. {hint}")
    if isinstance(getattr(found, "app", None), App):
        hint = (
            "Name the App itself, and pass it the wrapper as middleware: "
            f"App(..., http=HttpOptions(middleware=[lambda app: {type(found).__name__}(app, ...)]))."
        )
    raise BadTarget(f"{name!r} in the module {module_name!r} is not an App: its type is {type(found).__name__}. {hint}")


def _imported(module_name: str) -> ModuleType:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        try:
            return importlib.import_module(module_name)
        except RuntimeError as error:
            if not any(said in str(error) for said in _STARTS_A_LOOP):
                raise
            # Clearing the frames drops the coroutine that was not started: here, where its warning is hidden.
            while_handled: BaseException | None = error
            while while_handled is not None:
                traceback.clear_frames(while_handled.__traceback__)
                while_handled = while_handled.__context__
            raise _StartsALoop from None


def _failed(module_name: str, error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith((__file__, "<frozen", importlib.__file__)):
        trace = trace.tb_next  # the first frames belong to the import machinery
    details = "".join(traceback.format_exception(type(error), error, trace))
    return f"The module {module_name!r} cannot be imported.\n{details}".rstrip()
