"""Loads the cyclescope agent when Python starts, then makes way.

Python imports the first `sitecustomize` on its path. This one starts the agent,
takes itself off the path and imports the next one, as if it had not been there.
What it leaves is `cyclescope` in sys.modules, so that a program that imports it
runs whether it is armed or not. Nothing that goes wrong here reaches the
program: one line on stderr at most. Python 2 must be able to read it.
"""

import sys


def _start():
    here = __file__.rpartition("/")[0]
    sys.path.insert(0, here)  # Another folder may have a `cyclescope`, too.
    try:
        import cyclescope

        cyclescope._start()
    except Exception as error:
        try:
            sys.stderr.write("cyclescope: not loaded: %s\n" % error)
        except Exception:
            pass
    # Off the path and out of the caches, so that the next one is found.
    sys.path[:] = [entry for entry in sys.path if entry != here]
    sys.path_importer_cache.pop(here, None)
    sys.modules.pop("sitecustomize", None)


_start()
del _start  # It refers to these globals: a cycle.
import sitecustomize  # noqa: E402,F401  ImportError: there is no other; site knows.
