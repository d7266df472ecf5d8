"""The heap of this very process: `import cyclescope; cyclescope.snapshot()`.

There where the hook's folder is on PYTHONPATH; the hook takes the folder off
sys.path again and leaves this module in sys.modules. Imports nothing before it
is used.
"""

import sys

_folder = __file__.rpartition("/")[0]


def arm():
    """Start the agent, if it does not run yet: the socket and the triggers.

    The hook does this when Python starts. Returns whether the agent runs: not
    where CYCLESCOPE=0 switches it off. Raises RuntimeError with one sentence
    where it cannot run.
    """
    import os

    if os.environ.get("CYCLESCOPE") == "0":
        return False
    _inspector().start()
    return True


def snapshot(watch=None, path=None):
    """Take a snapshot of this process: a report, as a dict.

    watch: a type's name or several, `module.Type` or `Type`; by default those
    of CYCLESCOPE_WATCH. With a `path` the report is written there as JSON, whole
    or not at all, and the path is returned. Arms first if need be. The agent's
    thread does the work; other threads run on meanwhile. Raises RuntimeError
    with one sentence.
    """
    import json

    if not arm():
        raise RuntimeError("cyclescope is switched off by CYCLESCOPE=0")
    if isinstance(watch, str):
        watch = [watch]
    text = _inspector().snapshot(None if watch is None else list(watch))
    if text.startswith('{"error":'):
        raise RuntimeError(json.loads(text)["error"])
    if path is None:
        return json.loads(text)
    _write(path, text)
    return path


def _write(path, text):
    import os
    import tempfile

    path = os.fspath(path)
    folder = os.path.dirname(path) or "."
    descriptor, temporary = tempfile.mkstemp(".tmp", "cyclescope-", folder)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _inspector():
    """The compiled part, from our folder, which need not be on sys.path."""
    found = sys.modules.get("_cyclescope")
    if found is not None:
        return found
    # Those that cannot load the compiled part; it refuses others in the same
    # words (runtime.cc, FindRuntime).
    # (In words that Python 2 reads, too.)
    name = getattr(sys, "implementation", None)
    name = "CPython" if name is None else name.name.replace("cpython", "CPython")
    free_threaded = "t" in getattr(sys, "abiflags", "")
    if name != "CPython" or sys.version_info < (3, 11) or free_threaded:
        raise RuntimeError(
            "%s %d.%d.%d%s is not supported; release builds of CPython 3.11, "
            "3.12, 3.13 and 3.14 (3.14.5 and later) with the GIL are"
            % ((name,) + sys.version_info[:3] + (" without the GIL" * free_threaded,))
        )
    try:
        return _load()
    except ImportError as error:
        if "subinterpreters" in str(error):
            raise
        raise RuntimeError(
            "the inspector cannot be loaded (%s); it needs x86-64 Linux with "
            "glibc 2.34 or later" % error
        )


def _load():
    if _folder in sys.path:
        import _cyclescope

        return _cyclescope
    import importlib.util

    spec = importlib.util.spec_from_file_location(
        "_cyclescope", _folder + "/_cyclescope.abi3.so"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules["_cyclescope"] = module
    return module
