"""The heap of this very process: `import cyclescope; cyclescope.snapshot()`.

There where the hook's folder is on PYTHONPATH; the hook takes the folder off
sys.path again and leaves this module in sys.modules. Imports nothing before it
is used, and must be readable by Python 2.
"""

import sys

_folder = __file__.rpartition("/")[0]
_has_started = False


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


def _start():
    """Arm when Python starts, if this is one that was meant.

    Whatever goes wrong, the program must start: one line on stderr at most.
    """
    global _has_started
    if _has_started:
        return  # Virtual environments run a .pth file twice.
    _has_started = True
    try:
        if _is_meant():
            arm()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # Site runs in sub-interpreters, too; the main one has its agent.
        if "subinterpreters" not in str(error):
            _complain(error)


def _complain(error):
    try:
        sys.stderr.write(
            "cyclescope: not loaded: %s\n" % " ".join(str(error).split())
        )
    except Exception:
        pass


def _is_meant():
    """The service and its workers, not every Python that inherits the variables.

    Those are programs that an armed process starts, and what `exec` starts in
    the container: health checks, shells.
    """
    import os

    children = os.environ.get("CYCLESCOPE_CHILDREN") or "workers"
    if children == "all":
        return True
    # The agent sets it where os.environ does not show it, so a copy of
    # os.environ does not have it.
    armed = os.environ.get("CYCLESCOPE_ARMED")
    if armed == str(os.getpid()):
        return True  # Became this program by exec.
    try:
        ancestors, was_entered = _ancestors(os)
        is_child = armed is not None or any(
            _has_agent(os, pid) for pid in ancestors
        )
    except (OSError, IOError, ValueError, IndexError):  # No /proc, or not ours to read.
        is_child, was_entered = armed is not None, False
    if is_child:
        return children == "workers" and _is_worker(os)
    return not was_entered


def _read(path):
    with open(path, "rb") as file:
        return file.read()


def _parent(pid):
    return int(_read("/proc/%d/stat" % pid).rpartition(b")")[2].split()[1])


def _ancestors(os):
    """Pids from the parent up, and whether `exec` brought the last one in.

    That one's parent is not in the container, as its first process's is not,
    which was there before.
    """
    pids = [os.getpid()]
    while pids[-1] > 1:
        parent = _parent(pids[-1])
        if parent == 0:
            return pids[1:], not _is_first(os, pids[-1])
        pids.append(parent)
    return pids[1:], False


def _is_first(os, pid):
    """Of those in the control group that have no parent here.

    Pid 1 may be another container's, where they share one pid namespace.
    """
    own = _read("/proc/self/cgroup")
    for earlier in os.listdir("/proc"):
        try:
            if (
                earlier.isdigit()
                and int(earlier) < pid
                and _parent(int(earlier)) == 0
                and _read("/proc/%s/cgroup" % earlier) == own
            ):
                return False
        except (OSError, IOError):
            pass  # It has ended.
    return True


def _has_agent(os, pid):
    """By its thread's name, which everybody may read.

    The collector's own threads have that name, too. Low numbers first: the
    agent's is among the first threads that a process makes.
    """
    name = b"cyclescope\n"
    if _read("/proc/%d/comm" % pid) == name:
        return False
    tasks = "/proc/%d/task/" % pid
    for thread in sorted(map(int, os.listdir(tasks)))[1:64]:
        try:
            if _read(tasks + "%d/comm" % thread) == name:
                return True
        except (OSError, IOError):
            pass  # It has ended.
    return False


def _is_worker(os):
    """Started by multiprocessing, or with its parent's own command line.

    The latter as servers do that reload themselves.
    """
    words = getattr(sys, "orig_argv", [])
    if "--multiprocessing-fork" in words or any(
        "multiprocessing.forkserver import" in word for word in words
    ):
        return True
    try:
        own = _read("/proc/self/cmdline").split(b"\0")
        parents = _read("/proc/%d/cmdline" % os.getppid()).split(b"\0")
    except (OSError, IOError):  # In a sandbox, or the parent is outside of it.
        return False
    return own[1:] == parents[1:]


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
