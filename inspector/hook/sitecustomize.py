"""Loads the cyclescope agent when Python starts, then makes way.

Python imports the first `sitecustomize` on its path. This one starts the agent,
takes itself off the path and imports the next one, as if it had not been there.
What it leaves is `cyclescope` in sys.modules, so that a program that imports it
runs whether it is armed or not. Nothing that goes wrong here reaches the
program: one line on stderr at most.
"""

import sys


def _is_wanted(environ):
    """Not in programs that an armed service starts, if it has not asked."""
    import os

    armed = environ.get("CYCLESCOPE_ARMED")
    return armed in (None, str(os.getpid())) or (
        environ.get("CYCLESCOPE_CHILDREN") == "all"
    )


def _start():
    import os

    import cyclescope

    if not _is_wanted(os.environ):
        return
    try:
        cyclescope.arm()
    except ImportError as error:
        # Site runs in sub-interpreters, too; the main one has its agent.
        if "subinterpreters" not in str(error):
            raise


def _leave():
    """Off the path and out of the caches, so that the next one is found."""
    here = __file__.rpartition("/")[0]
    sys.path[:] = [entry for entry in sys.path if entry != here]
    sys.path_importer_cache.pop(here, None)
    sys.modules.pop("sitecustomize", None)


try:
    _start()
except BaseException as error:  # Whatever it is, the service must start.
    try:
        sys.stderr.write(
            "cyclescope: not loaded: %s\n" % " ".join(str(error).split())
        )
    except Exception:
        pass

_leave()
del _is_wanted, _start, _leave  # Each refers to these globals: a cycle.
import sitecustomize  # noqa: E402,F401  ImportError: there is no other; site knows.
