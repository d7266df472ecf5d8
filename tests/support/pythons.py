"""Every CPython on this machine, found once."""

import dataclasses
import functools
import glob
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
SUPPORTED = [(3, 11), (3, 12), (3, 13), (3, 14)]
FIRST_WITH_GENERATIONS = (3, 14, 5)  # Of 3.14.


@dataclasses.dataclass(frozen=True)
class Python:
    path: str
    version: tuple
    flags: str  # sys.abiflags: "t" without the GIL, "d" a debug build.
    origin: str

    @property
    def name(self):
        return "%s%s-%s" % (".".join(map(str, self.version)), self.flags, self.origin)

    @property
    def is_supported(self):
        is_incremental = (3, 14) <= self.version < FIRST_WITH_GENERATIONS
        return self.version[:2] in SUPPORTED and not is_incremental and not self.flags

    @property
    def home(self):
        """PYTHONHOME for a copy of it elsewhere."""
        return str(pathlib.Path(self.path).parents[1])


def _version(path):
    """((major, minor, micro), abiflags), or None."""
    code = (
        "import sys; sys.stdout.write('%d.%d.%d ' % sys.version_info[:3] "
        "+ getattr(sys, 'abiflags', '').replace('m', ''))"
    )
    try:
        text = subprocess.run(
            [path, "-c", code],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    version, flags = text.split(" ")
    return tuple(int(part) for part in version.split(".")), flags


@functools.cache
def found():
    """Debian's, pyenv's, those of other suites that `make pythons` has fetched.

    A path that several names lead to counts once.
    """
    candidates = [(path, "debian") for path in sorted(glob.glob("/usr/bin/python3.*[0-9]"))]
    root = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    candidates += [
        (path, "pyenv") for path in sorted(glob.glob(root + "/versions/*/bin/python"))
    ]
    for path in sorted(ROOT.glob("build/pythons/*/usr/bin/python3.*[0-9]")):
        candidates.append((str(path), path.parents[2].name))
    pythons, seen = [], set()
    for path, origin in candidates:
        real = pathlib.Path(path).resolve()
        version = None if real in seen else _version(path)
        if version is not None:
            seen.add(real)
            pythons.append(Python(path, *version, origin))
    return pythons


def supported():
    return [python for python in found() if python.is_supported]


def of_other_suites():
    """Supported ones that are one program without libpython, as Debian has them."""
    return [python for python in supported() if str(ROOT) in python.path]


def unsupported():
    return [python for python in found() if not python.is_supported]
