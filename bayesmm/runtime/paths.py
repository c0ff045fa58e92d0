"""Names of files, checked before any work: text that can be one, of a regular file, links followed.

A device or a named pipe is no place for a fit: reading it may never end, and replacing it takes it away from others.
"""

import os
import re
import stat
from pathlib import Path

from bayesmm.errors import FitFileError

SHOWN = 60  # characters of a name that a message shows, from its end
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/+")  # of RFC 3986, section 3.1; a drive of Windows has one letter
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def as_path(value: object, what: str = "path", error: type[ValueError] = FitFileError) -> Path:
    """Return the name of a file or folder as a Path.

    Parameters
    ----------
    value : str or os.PathLike
    what : str
        The argument, for the sentence.
    error : type of ValueError
        What is raised.

    Raises
    ------
    FitFileError, or `error`
        It is no text, empty, the address of something on a network, or nothing that the file system takes as a name.
    """
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str):
        raise error(f"{what} should be the name of a file, a text or a pathlib.Path, not {_shown(value)}")
    if not text:
        raise error(f"{what} is empty; expected the name of a file")
    if "\0" in text:
        raise error(f"{what} {_shown(text)} has a NUL character in it, which no name of a file can have")
    if ADDRESS.match(text):
        raise error(f"{what} {_shown(text)} is an address; only files of this computer are supported, so copy it here")
    try:
        os.stat(text)
    except UnicodeEncodeError:
        raise error(f"{what} {_shown(text)} has characters that no name of a file can have") from None
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # it need not exist, and who needs it says so
    except OSError as trouble:  # too long, or a circle of links
        raise error(f"{what} {_shown(text)} cannot be the name of a file: {trouble.strerror}") from trouble
    return Path(text)


def _shown(value: object) -> str:
    """Return how a message shows what was given, its end where it is long."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"...{text[-SHOWN:]} ({len(text) - 2:,} characters)"


def followed(path: Path) -> Path:
    """Return what a link leads to, through all links, whether it exists or not; any other path as it is."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def special_kind(path: Path) -> str:
    """Return what something is that is no regular file, "a named pipe"; an empty text for a file and for nothing.

    Links are followed.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return ""
    return next((kind for holds, kind in KINDS if holds(mode)), "")


def read_file(path: Path) -> bytes:
    """Return what a regular file holds, and no more than its size says.

    Raises
    ------
    OSError
        It cannot be read.
    FitFileError
        It is a device, a named pipe, a socket or a folder, of which there may be no end.
    """
    kind = special_kind(path)
    if kind:
        raise FitFileError(f"{path} is {kind}; expected a file")
    with open(path, "rb") as file:
        return file.read(path.stat().st_size)
