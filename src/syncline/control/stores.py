"""Store references, as users write them, made into stores."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Refused

if TYPE_CHECKING:
    from ..connector import Connector, Source, Target

GROUP = "syncline.connectors"
"""The entry points that connectors are found by; a name is a URL's scheme."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9.+-]*):")
_HARMLESS = re.compile(r"[\w./~-]+")  # cannot hold a password, so it may be shown
_USER_PASSWORD = re.compile(r"(://[^\s:/@]*):\S*@")
_PASSWORD_OPTION = re.compile(r"\b(\w*password)\s*=\s*('[^']*'|[^\s&]*)", re.IGNORECASE)


def redact(text: str) -> str:
    """The text without the passwords of the URLs and connection strings in it; rather too much is cut."""
    return _PASSWORD_OPTION.sub(r"\1=***", _USER_PASSWORD.sub(r"\1@", text))


def resolve(reference: str) -> str:
    """The URL that a reference means: itself, `env:NAME` or the first line of `file:PATH`.

    Raises Refused when the variable or the file is not there or empty. Messages name the variable or the
    file and never what is in it."""
    kind, _, name = reference.partition(":")
    if kind == "env":
        return _from_environment(reference, name)
    if kind == "file":
        return _from_file(reference, name)
    return reference.strip()


def find_connector(url: str) -> Connector:
    """The connector of a URL's scheme; `postgresql+psycopg` counts as `postgresql`. Raises Refused."""
    match = _SCHEME.match(url)
    if match is None:
        shown = url if _HARMLESS.fullmatch(url) else "this store"
        example = f"sqlite:///{url}" if _HARMLESS.fullmatch(url) else "postgresql://user@host/database"
        raise Refused("open", shown, "it is not a URL", f"write it with its scheme, such as {example}")
    scheme = match[1].lower().partition("+")[0]
    known = {entry.name: entry for entry in entry_points(group=GROUP)}
    if scheme not in known:
        raise Refused("open", f"{scheme}:…", f"no connector knows the scheme {scheme}", _hint(scheme, known))
    return _load(known[scheme])


def check_reference(reference: str) -> str:
    """The reference, if it has a form that can mean a store; opens, reads and loads nothing. ValueError
    with a sentence otherwise, which never shows what may hold a password."""
    kind, colon, name = reference.strip().partition(":")
    if not colon:
        shown = f'"{reference}" is' if _HARMLESS.fullmatch(reference) else "it is"
        raise ValueError(f"{shown} no store; write a URL, env:NAME or file:PATH")
    if kind in ("env", "file"):
        if not name:
            raise ValueError(f"{kind}: names nothing; write {'env:NAME' if kind == 'env' else 'file:PATH'}")
        return reference
    known = {entry.name: entry for entry in entry_points(group=GROUP)}
    scheme = kind.lower().partition("+")[0]
    if scheme not in known:
        what = f"the scheme {scheme}" if _HARMLESS.fullmatch(scheme) else "its scheme"
        raise ValueError(f"no connector knows {what}; {_hint(scheme, known)}")
    return reference


def source_opener(reference: str) -> Callable[[], Source]:
    """A function that opens the referenced store as a source. Raises Refused; connects to nothing. The
    reference is read again at each opening: a password that is rotated while a run goes on is found there."""
    connector = find_connector(resolve(reference))
    return lambda: connector.source(resolve(reference))


def target_opener(reference: str) -> Callable[[], Target]:
    """A function that opens the referenced store as a target, as `source_opener` does."""
    connector = find_connector(resolve(reference))
    return lambda: connector.target(resolve(reference))


def _from_environment(reference: str, name: str) -> str:
    url = os.environ.get(name, "").strip()
    if not url:
        state = "empty" if name in os.environ else "not set"
        raise Refused("read", reference, f"the environment variable {name} is {state}", "put the URL into it")
    return url


def _from_file(reference: str, name: str) -> str:
    try:
        with Path(name).expanduser().open(encoding="utf-8") as file:
            url = file.readline().strip()
    except UnicodeDecodeError:
        raise Refused("read", reference, "it is not a text file", "put the URL into its first line") from None
    except (OSError, RuntimeError, ValueError) as error:
        why = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise Refused(
            "read", reference, why.lower(), "put the URL into the first line of that file"
        ) from None
    if not url:
        raise Refused("read", reference, "its first line is empty", "put the URL into it")
    return url


def _hint(scheme: str, known: dict[str, EntryPoint]) -> str:
    near = get_close_matches(scheme, known, n=1)
    question = f"did you mean {near[0]}? " if near else ""
    return f"{question}known are: {', '.join(sorted(known))}"


def _load(entry: EntryPoint) -> Connector:
    try:
        connector: Connector = entry.load()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "syncline"):  # no library of the user's is missing: a bug
            raise
        raise Refused("load", f"the connector of {entry.name}", str(error), f"install {missing}") from error
    return connector
