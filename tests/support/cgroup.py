"""A memory cgroup of version 1 to put a service into."""

import contextlib
import errno
import os
import pathlib
import time

import pytest

MOUNT = pathlib.Path("/sys/fs/cgroup/memory")


class MemoryGroup:
    def __init__(self, path):
        self.path = path

    def read(self, name):
        return (self.path / name).read_text()

    def set_limit(self, limit):
        """False where the group already has more that cannot be given back."""
        try:
            (self.path / "memory.limit_in_bytes").write_text(str(limit))
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            return False
        return True

    @property
    def usage(self):
        """Without page cache."""
        stat = dict(line.split() for line in self.read("memory.stat").splitlines())
        return int(self.read("memory.usage_in_bytes")) - int(stat["total_inactive_file"])

    @property
    def kills(self):
        figures = dict(
            line.split() for line in self.read("memory.oom_control").splitlines()
        )
        return int(figures["oom_kill"])

    @property
    def entering(self):
        """Python code that moves the process that runs it into the group."""
        return "open(%r, 'w').write('0')\n" % str(self.path / "cgroup.procs")


@contextlib.contextmanager
def memory_group():
    path = MOUNT / ("cyclescope-test-%d" % os.getpid())
    if not (MOUNT / "memory.limit_in_bytes").exists():
        pytest.skip("no memory controller of cgroup v1 is mounted here")
    try:
        path.mkdir()
    except OSError as error:
        pytest.skip("no memory cgroup can be made here: %s" % error)
    try:
        yield MemoryGroup(path)
    finally:
        for _ in range(500):  # The last of its processes may still be leaving.
            try:
                path.rmdir()
                break
            except OSError:
                time.sleep(0.01)
