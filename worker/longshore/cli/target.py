"""Finds the application a command names: MODULE:APP."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from types import ModuleType

from longshore.app import App
from longshore.errors import InvalidOption

_FIELD = "application"


def load_app(target: str) -> App:
    """Import ``module:attribute`` and return its App. Raises InvalidOption with one clear line.

    The current directory is importable, whatever way the command was started.
    """
    module_name, colon, attribute = target.partition(":")
    if not colon or not module_name or not attribute:
        raise InvalidOption(_FIELD, f"{target!r} does not name one; write MODULE:APP, such as shop.tasks:app")
    found: object = _import(module_name)
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            apps = ", ".join(sorted(key for key, value in _content(found).items() if isinstance(value, App)))
            hint = f"; it has: {apps}" if apps else ""
            raise InvalidOption(_FIELD, f"module {module_name!r} has no {attribute!r}{hint}") from error
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            raise InvalidOption(_FIELD, f"{target}: cannot get {name!r}: {text}{_place(error)}") from error
    if not isinstance(found, App):
        raise InvalidOption(_FIELD, f"{target} is of type {type(found).__name__}, not a longshore.App")
    if found.is_empty:
        raise InvalidOption(_FIELD, f"{target} has no handlers; register some with @app.task(…)")
    return found


def scope_of(target: str) -> str:
    """The name of an application's periodic entries, when none is given: the same for whatever command runs them."""
    return target.replace(":", ".")


def _content(found: object) -> dict[str, object]:
    return found.__dict__ if hasattr(found, "__dict__") else {}


def _import(name: str) -> ModuleType:
    directory = os.getcwd()
    if directory not in sys.path:
        sys.path.insert(0, directory)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            where = f"no module named {error.name!r} in {directory} or the installed packages"
            raise InvalidOption(_FIELD, f"cannot import {name!r}: {where}") from error
        raise InvalidOption(_FIELD, f"cannot import {name!r}: {error}{_place(error)}") from error
    except SyntaxError as error:
        problem = f"SyntaxError: {error.msg} ({error.filename}, line {error.lineno})"
        raise InvalidOption(_FIELD, f"cannot import {name!r}: {problem}") from error
    except InvalidOption as error:
        raise InvalidOption(_FIELD, f"cannot import {name!r}: {error}{_place(error)}") from error
    except (Exception, SystemExit) as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise InvalidOption(_FIELD, f"cannot import {name!r}: {text}{_place(error)}") from error


def _place(error: BaseException) -> str:
    """Where in the application's own code it was raised."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and os.sep + "longshore" + os.sep not in frame.filename
    ]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
