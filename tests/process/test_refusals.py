"""Which interpreters are not looked into, and the sentence that says so."""

import dataclasses
import shutil
import struct
import subprocess

import pytest
from support import pythons
from support.agent import HOOK, INSPECTOR, environment, running

SUPPORTED = (
    " is not supported; release builds of CPython 3.11, 3.12, 3.13 and 3.14 "
    "(3.14.5 and later) with the GIL are"
)


def refusal_of(path, env):
    """What the program says on stderr of the inspector; it must run all the same."""
    done = subprocess.run(
        [path, "-c", "print('started')"],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "started\n"), done.stderr
    [line] = done.stderr.splitlines()
    return line.removeprefix("cyclescope: not loaded: ")


def test_other_pythons_are_refused_by_name(unsupported_python, agent_directory):
    version = ".".join(map(str, unsupported_python.version))
    said = refusal_of(unsupported_python.path, environment(agent_directory))
    build = {"": "", "t": " without the GIL", "d": ", a debug build,"}
    assert said == "CPython " + version + build[unsupported_python.flags] + SUPPORTED


@dataclasses.dataclass(frozen=True)
class Change:
    """One word of an interpreter, and where that makes it differ."""

    minor: int
    symbol: str
    word: int
    value: bytes
    refusal: str


LAST_INCREMENTAL = 0x030E04F0  # 3.14.4
CHANGES = [
    Change(14, "Py_Version", 0, struct.pack("<Q", LAST_INCREMENTAL), "3.14.4"),
    Change(13, "_PyRuntime", 0, b"xdebugpX", "at '_Py_DebugOffsets', so it"),
    Change(14, "_PyRuntime", 0, b"xdebugpX", "at '_Py_DebugOffsets', so it"),
    # localsplus of a frame, one further than it is.
    Change(13, "_PyRuntime", 32, struct.pack("<Q", 80), "at '_PyInterpreterFrame', so it"),
    Change(14, "_PyRuntime", 35, struct.pack("<Q", 88), "at '_PyInterpreterFrame', so it"),
]


def file_offset(path, symbol):
    """Where the file of a program has the data of an exported symbol."""
    table = subprocess.run(
        ["objdump", "-T", path], capture_output=True, text=True, check=True
    ).stdout
    [address] = [
        int(line.split()[0], 16) for line in table.splitlines() if line.endswith(symbol)
    ]
    with open(path, "rb") as file:
        header = file.read(64)
        first, size, count = struct.unpack_from("<Q", header, 32) + struct.unpack_from(
            "<HH", header, 54
        )
        for number in range(count):
            file.seek(first + number * size)
            kind, _, offset, begin, _, length = struct.unpack("<IIQQQQ", file.read(40))
            if kind == 1 and begin <= address < begin + length:
                return offset + address - begin
    raise ValueError("%s: no segment holds %s" % (path, symbol))


@pytest.mark.parametrize(
    "original, change",
    [
        pytest.param(python, change, id="%s-%s" % (python.name, change.refusal))
        for python in pythons.of_other_suites()
        for change in CHANGES
        if change.minor == python.version[1]
    ],
)
def test_an_interpreter_that_is_not_as_known_is_refused(
    original, change, agent_directory, tmp_path
):
    """Copies of real ones: the number of an older one, other published offsets."""
    copy = shutil.copy(original.path, tmp_path)
    with open(copy, "r+b") as file:
        file.seek(file_offset(copy, change.symbol) + 8 * change.word)
        file.write(change.value)
    said = refusal_of(copy, environment(agent_directory, PYTHONHOME=original.home))
    version = ".".join(map(str, original.version))
    if change.refusal.startswith("at "):
        differs = " differs from other builds of 3.%d " % change.minor
        assert said == "CPython " + version + differs + change.refusal + SUPPORTED
    else:
        assert said == "CPython " + change.refusal + SUPPORTED


def test_where_the_inspector_cannot_be_loaded_a_sentence_says_why(
    python, agent_directory, tmp_path
):
    """As where the C library is another one: it needs a file that is not there."""
    if shutil.which("patchelf") is None:
        pytest.skip("patchelf is not installed")
    hook = shutil.copytree(HOOK, tmp_path / "hook")
    needed = "libc.musl-x86_64.so.1"
    subprocess.run(
        ["patchelf", "--add-needed", needed, hook / INSPECTOR.name], check=True
    )
    said = refusal_of(python.path, environment(agent_directory, PYTHONPATH=hook))
    assert said == (
        "the inspector cannot be loaded (%s: cannot open shared object file: No such "
        "file or directory); it needs x86-64 Linux with glibc 2.34 or later" % needed
    )


def test_a_process_with_interpreters_that_have_their_own_gil_is_refused(
    python, agent_directory
):
    """Until they are gone. Those of 3.11 share the one GIL that there is."""
    code = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
made = interpreters.create()
"""
    with running("executes_lines.py", python, agent_directory, (code,)) as target:
        answer = target.request("snapshot")
        target.tell("interpreters.destroy(made)")
        assert target.snapshot()["heap"]["objects"] > 1000
    if python.version < (3, 12):
        assert answer["heap"]["objects"] > 1000
    else:
        assert answer["error"] == (
            "the process runs sub-interpreters, which may have a GIL of their own; "
            "only processes with one interpreter can be inspected"
        )
