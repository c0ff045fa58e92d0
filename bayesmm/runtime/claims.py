"""Claims of one process among those of a user, and a second process that helps with what has to be compiled.

What is compiled once on a machine is claimed while it is: who comes second waits, and finds it on disk. So two
processes compile different things at the same time, and a first fit is given a second one (`bayesmm.cli.ahead`), which
begins with what it will need last.
"""

import contextlib
import functools
import multiprocessing
import os
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: each process compiles for itself
    fcntl = None

LONGEST, PAUSE = 120.0, 0.02  # seconds: longer than any function takes to compile, and between two looks
FOLDER = Path(__file__).parents[2]  # where the package is found


@contextlib.contextmanager
def claimed(name: str, longest: float = LONGEST) -> Iterator[bool]:
    """Keep other processes of this user from the same name while the block runs; give whether it could be had.

    Whoever waits for `longest` seconds, or has no file to lock, goes on without: it is work done twice, no error. A
    process that ends loses its claims.
    """
    place = zlib.crc32(name.encode())  # of a byte of the common file
    have = _lock(place, longest)
    try:
        yield have
    finally:
        if have:
            fcntl.lockf(_file(), fcntl.LOCK_UN, 1, place)


def _lock(place: int, longest: float) -> bool:
    """Wait for a byte of the common file; return whether it could be had."""
    end = time.monotonic() + longest
    while _file() is not None:
        try:
            fcntl.lockf(_file(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            return True
        except (BlockingIOError, PermissionError):  # it is another's
            if time.monotonic() >= end:
                return False
            time.sleep(PAUSE)
        except OSError:  # a disk without locks
            return False
    return False


@functools.cache
def _file() -> int | None:
    """Return the descriptor of the file whose bytes are the claims; it stays open, since closing it would end them."""
    if fcntl is None:
        return None
    path = Path(tempfile.gettempdir()) / f"bayesmm-{os.getuid()}.claims"
    with contextlib.suppress(OSError):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    return None


@functools.cache
def ask_for_help(plan: str) -> int | None:
    """Start the process that compiles by a plan of `bayesmm.cli.ahead`, once; return its number, None without one."""
    if _file() is None or not _has_helpers():
        return None
    known = os.environ.get("PYTHONPATH")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(FOLDER), *([known] if known else [])])}
    quiet = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_RDWR, 0) for stream in range(3)]
    with contextlib.suppress(OSError):
        command = [sys.executable, "-m", "bayesmm.cli.ahead", plan]
        return os.posix_spawn(sys.executable, command, environment, file_actions=quiet)
    return None


def _has_helpers() -> bool:
    """Return whether this is a process of a user, run by Python itself, on a machine with a second processor."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    by_python = Path(sys.executable or "").name.startswith("python") and not getattr(sys, "frozen", False)
    return by_python and processors > 1 and multiprocessing.parent_process() is None
