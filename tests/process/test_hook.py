"""What a program can see of the hook, and which Pythons it arms."""

import json
import os
import shutil
import subprocess
import zipapp

import pytest
from support import pythons
from support.agent import HOOK, TOOL, environment, started_by, wait_until

# Written so that Python 2 runs it, too.
OBSERVES = """
import sys
modules = list(sys.modules)
here = [entry for entry in sys.path_importer_cache]
import gc, json, os, signal, threading
hook = sys.modules.get("sitecustomize")
spec = getattr(hook, "__spec__", None)
seen = {
    "modules": [name for name in modules if name not in ("cyclescope", "_cyclescope", "atexit", "gc")],
    "path": sys.path,
    "path_importer_cache": sorted(here),
    "meta_path": [repr(finder).split(" object at")[0] for finder in sys.meta_path],
    "path_hooks": len(sys.path_hooks),
    "sitecustomize": hook and [hook.__name__, hook.__file__, sorted(vars(hook))],
    "spec": spec and [spec.name, spec.origin, type(spec.loader).__name__],
    "main_thread": threading.main_thread().name,
    "is_main": threading.current_thread() is threading.main_thread(),
    "ident": threading.main_thread().native_id == os.getpid(),
    "threads": [thread.name for thread in threading.enumerate()],
    "frames": len(sys._current_frames()),
    "signals": {str(number): str(signal.getsignal(number)) for number in signal.valid_signals()},
    "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "wakeup": signal.set_wakeup_fd(-1),
    "environ": {name: value for name, value in os.environ.items()
                if name != "PYTHONPATH" and not name.startswith("CYCLESCOPE")},
    "gc": [gc.isenabled(), gc.get_threshold(), len(gc.garbage), gc.callbacks, gc.get_freeze_count()],
    "flags": str(sys.flags),
    "argv": sys.argv[1:],
    "warnings": [str(sys.warnoptions), len(__import__("warnings").filters)],
    "hooks": [sys.excepthook is sys.__excepthook__, sys.gettrace(), sys.getprofile()],
    "umask": os.umask(18),
    "name": __name__,
}
print(json.dumps(seen, default=str))
"""
ARMED = "import sys; print('_cyclescope' in sys.modules)"


def run(python, options, env, stdin=None, **more):
    done = subprocess.run(
        [getattr(python, "path", python), *map(str, options)],
        env=env,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        **more,
    )
    return done.returncode, done.stdout, done.stderr


def ways(folder):
    """How a program can be started: arguments after the options, and its input."""
    (folder / "program").mkdir()
    (folder / "program" / "__main__.py").write_text(OBSERVES)
    zipapp.create_archive(folder / "program", folder / "program.pyz")
    return {
        "-c": (["-c", OBSERVES], None),
        "script": ([folder / "program" / "__main__.py"], None),
        "-m": (["-m", "program"], None),
        "folder": ([folder / "program"], None),
        "zipapp": ([folder / "program.pyz"], None),
        "stdin": (["-"], OBSERVES),
    }


def differing(seen, without):
    """Of two programs that have observed."""
    seen, without = json.loads(seen), json.loads(without)
    for one in (seen, without):  # -X dev looks up what is decoded from /proc.
        one["modules"] = [name for name in one["modules"] if name != "encodings.ascii"]
    return {key: (seen[key], without[key]) for key in without if seen[key] != without[key]}


@pytest.mark.parametrize("next_one", ["no next", "next", "next fails"])
def test_a_program_sees_what_it_sees_without_us(python, agent_directory, tmp_path, next_one):
    """sys, threading, signal, os.environ, gc: six ways to start, eight options."""
    chained = tmp_path / "chained"
    chained.mkdir()
    if next_one != "no next":
        code = "mine = 1\n" if next_one == "next" else "mine = 1 / 0\n"
        (chained / "sitecustomize.py").write_text(code)
    # Bytecode that one run writes the next one would find.
    plain = {**environment(agent_directory), "PYTHONPATH": str(chained), "PYTHONDONTWRITEBYTECODE": "1"}
    armed = {**plain, "PYTHONPATH": "%s:%s" % (HOOK, chained)}
    programs = ways(tmp_path)
    cases = [((), way) for way in (programs if next_one == "no next" else ["-c"])]
    options = [] if next_one == "next fails" else [["-I"], ["-E"], ["-s"], ["-P"], ["-W", "error"], ["-X", "dev"], ["-O"]]
    cases += [(option, "-c") for option in options]
    for option, way in cases:
        arguments, stdin = programs[way]
        command = [*option, *arguments, "an argument"]
        without = run(python, command, plain, stdin, cwd=tmp_path)
        seen = run(python, command, armed, stdin, cwd=tmp_path)
        assert (seen[0], seen[2]) == (without[0], without[2]), (option, way)
        assert differing(seen[1], without[1]) == {}, (option, way)
    assert not list(agent_directory.iterdir())


def test_the_options_that_keep_it_out_are_these(python, agent_directory):
    env = environment(agent_directory)
    armed = {option: run(python, [option, "-c", ARMED], env)[1:] for option in
             ["-I", "-E", "-S", "-s", "-P", "-B", "-u"]}
    assert armed == {
        "-I": ("False\n", ""), "-E": ("False\n", ""), "-S": ("False\n", ""),
        "-s": ("True\n", ""), "-P": ("True\n", ""), "-B": ("True\n", ""), "-u": ("True\n", ""),
    }


def test_what_is_left_behind_is_named_in_the_readme(python, agent_directory):
    code = "import sys; print(*sorted(sys.modules)); import os, time; time.sleep(0.3); print(len(os.listdir('/proc/self/fd')))"
    env = environment(agent_directory)
    plain = {**env, "PYTHONPATH": ""}
    (modules, descriptors), (plain_modules, plain_descriptors) = (
        run(python, ["-c", code], variables)[1].splitlines() for variables in (env, plain)
    )
    more = set(modules.split()) - set(plain_modules.split())
    assert {"cyclescope", "_cyclescope"} <= more <= {"cyclescope", "_cyclescope", "atexit", "gc"}
    assert int(descriptors) - int(plain_descriptors) == 3


# Programs that a service starts, and what `exec` starts in its container.

STARTS = """
import os, subprocess, sys
code = "import sys; print('_cyclescope' in sys.modules)"
env = {**os.environ, "MORE": "1"} if sys.argv[1] == "copy" else None
subprocess.run([sys.executable, "-c", code], env=env, check=True)
subprocess.run(["/bin/sh", "-c", '"$0" -c "$1"; exit', sys.executable, code], env=env, check=True)
os.environ["AGAIN"] = os.environ.get("AGAIN", "") + "+"
sys.stdout.flush()
if len(os.environ["AGAIN"]) < 2:
    import _cyclescope
    os.execv(sys.executable, sys.orig_argv)
"""


@pytest.mark.parametrize("env", ["as it is", "copy"])
@pytest.mark.parametrize("children", [None, "none", "workers", "all"])
def test_programs_that_a_service_starts_are_armed_if_it_says_all(
    python, agent_directory, children, env
):
    """Also those that get a copy of os.environ. The service itself, when it
    becomes another program, is armed again."""
    more = {} if children is None else {"CYCLESCOPE_CHILDREN": children}
    status, said, errors = run(
        python, ["-c", STARTS, env.split()[0]], environment(agent_directory, **more))
    assert (status, errors) == (0, "")
    assert said == ("%s\n" % (children == "all")) * 4
    assert not list(agent_directory.iterdir())


RELOADS = """
import os, subprocess, sys
print('_cyclescope' in sys.modules, flush=True)
if "CHILD" not in os.environ:
    subprocess.run([sys.executable] + sys.argv, env={**os.environ, "CHILD": "1"}, check=True)
"""


def test_a_server_that_starts_itself_again_is_a_worker(python, agent_directory, tmp_path):
    program = tmp_path / "server.py"
    program.write_text(RELOADS)
    for children, armed in [("none", "False"), ("workers", "True"), ("all", "True")]:
        env = environment(agent_directory, CYCLESCOPE_CHILDREN=children)
        assert run(python, [program, "serve"], env) == (0, "True\n%s\n" % armed, "")


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a pid namespace")


@needs_root
def test_a_python_that_exec_starts_in_the_container_is_not_armed(python, agent_directory):
    """Entered as `podman exec` does: pid namespace and control group, no parent."""
    env = environment(agent_directory)
    container = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child",
         python.path, "-c", "print('ready', flush=True); import sys; sys.stdin.read()"],
        env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert container.stdout.readline() == "ready\n"
        [first] = open("/proc/%d/task/%d/children" % ((container.pid,) * 2)).read().split()
        wait_until((agent_directory / "cyclescope-1.sock").exists)
        enter = ["-t", first, "--pid", "--mount", "--"]

        def entered(*command, **more):
            return run("nsenter", [*enter, *command], {**env, **more})

        assert entered(python.path, "-c", ARMED) == (0, "False\n", "")
        shell = ["/bin/sh", "-c", '"$0" -c "$1"; exit', python.path, ARMED]
        assert entered(*shell) == (0, "False\n", "")
        assert entered(python.path, "-c", ARMED, CYCLESCOPE_CHILDREN="all")[1] == "True\n"
        arms = "import cyclescope; print(cyclescope.arm())"
        assert entered(python.path, "-c", arms) == (0, "True\n", "")
    finally:
        container.stdin.close()
        assert container.wait(20) == 0
    assert not list(agent_directory.iterdir())


@needs_root
def test_a_service_below_the_first_process_is_armed(python, agent_directory):
    """A shell or an init as pid 1."""
    done = run("unshare", ["--pid", "--fork", "--mount-proc",
               *started_by("true"), "/bin/sh", "-c", '"$0" -c "$1"; exit', python.path, ARMED],
               environment(agent_directory))
    assert done == (0, "True\n", "")


SERVES = "import sys, time; print('_cyclescope' in sys.modules, flush=True); time.sleep(60)"


@pytest.mark.parametrize("kind", ["its own", "shared"])
def test_in_a_container_the_service_is_armed_and_what_exec_starts_is_not(podman, kind):
    """Also where containers share one pid namespace, as in a pod that asks for it."""
    options = {"mounts": [(HOOK, "/opt/cyclescope")], "variables": {"PYTHONPATH": "/opt/cyclescope"}}
    with podman.started("sleep", "60") as other:
        if kind == "shared":
            options["pid"] = "container:" + other.id
        with podman.started("python3", "-c", SERVES, **options) as container:
            assert wait_until(container.logs) == "True\n"
            for command in (["python3", "-c", ARMED],
                            ["/bin/sh", "-c", 'python3 -c "$0"; exit', ARMED]):
                done = container.exec(*command)
                assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")
            done = container.exec("env", "CYCLESCOPE_CHILDREN=all", "python3", "-c", ARMED)
            assert done.stdout == "True\n"


# Virtual environments and the .pth file.


def virtual_environment(python, folder):
    """Without pip: seconds on each CPython."""
    subprocess.run([python.path, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    [packages] = folder.glob("lib/python3.*/site-packages")
    return folder / "bin" / "python", packages


@pytest.fixture
def venv(python, tmp_path):
    try:
        return virtual_environment(python, tmp_path / "venv")
    except subprocess.CalledProcessError:
        pytest.skip("%s has no venv" % python.name)


def test_the_hook_works_in_a_virtual_environment(venv, agent_directory):
    assert run(venv[0], ["-c", ARMED], environment(agent_directory)) == (0, "True\n", "")


@pytest.mark.parametrize("how", ["link", "copy"])
def test_a_pth_file_arms_where_pythonpath_does_not(venv, agent_directory, how):
    interpreter, packages = venv
    if how == "link":
        (packages / "cyclescope.pth").symlink_to(HOOK / "cyclescope.pth")
    else:
        if os.path.exists("/opt/cyclescope"):
            pytest.skip("/opt/cyclescope is there")
        shutil.copy(HOOK / "cyclescope.pth", packages)
    here = str(how == "link") + "\n"
    off = {**environment(agent_directory), "PYTHONPATH": ""}
    on = {**off, "CYCLESCOPE": "1"}
    for options in ([], ["-I"], ["-E"], ["-s"], ["-P"]):
        assert run(interpreter, [*options, "-c", ARMED], on) == (0, here, "")
    assert run(interpreter, ["-S", "-c", ARMED], on) == (0, "False\n", "")
    for other in (off, {**off, "CYCLESCOPE": "0"}):
        assert run(interpreter, ["-c", ARMED], other) == (0, "False\n", "")
    # Nothing else is to be seen of it.
    without, seen = (run(interpreter, ["-I", "-c", OBSERVES], env) for env in (off, on))
    assert seen[2] == without[2] and differing(seen[1], without[1]) == {}
    both = environment(agent_directory, CYCLESCOPE="1")
    assert run(interpreter, ["-c", ARMED], both) == (0, "True\n", "")
    assert not list(agent_directory.iterdir())


def test_a_pth_file_says_once_what_it_cannot_do(venv, agent_directory):
    interpreter, packages = venv
    link = packages / "cyclescope.pth"
    link.symlink_to(HOOK / "cyclescope.pth")
    env = {**environment(agent_directory, CYCLESCOPE="1", CYCLESCOPE_DIR="/no/such"), "PYTHONPATH": ""}
    status, said, errors = run(interpreter, ["-c", ARMED], env)
    [line] = errors.splitlines()
    assert line.startswith("cyclescope: not loaded: CYCLESCOPE_DIR=/no/such cannot")
    link.unlink()
    link.symlink_to("/no/such/cyclescope.pth")  # The inspector is not mounted.
    assert run(interpreter, ["-c", ARMED], env) == (0, "False\n", "")


def test_the_pth_file_is_one_line_that_python_executes():
    [line] = (HOOK / "cyclescope.pth").read_text().splitlines()
    assert line.startswith("import ")


# By accident.


def test_other_pythons_get_one_line_and_their_children_none(unsupported_python, agent_directory):
    """Python 2 and 3.8 among them, where pyenv has them."""
    env = environment(agent_directory)
    code = (
        "import subprocess, sys; sys.stdout.write('started\\n'); sys.stdout.flush(); "
        "subprocess.check_call([sys.executable, '-c', 'pass'])"
    )
    status, said, errors = run(unsupported_python, ["-c", code], {**env, "CYCLESCOPE": "1"})
    assert (status, said) == (0, "started\n")
    lines = errors.splitlines()
    assert 1 <= len(lines) <= 2 and all("is not supported" in line for line in lines)
    # A service's own script in another Python.
    service = pythons.supported()[0]
    code = "import subprocess; subprocess.run([%r, '-c', 'print(1)'])" % unsupported_python.path
    assert run(service, ["-c", code], env) == (0, "1\n", "")


def test_the_hook_is_readable_by_python_2():
    found = [python for python in pythons.found() if python.version < (3,)]
    if not found:
        pytest.skip("there is no Python 2 here")
    for name in ("sitecustomize.py", "cyclescope.py"):
        code = "compile(open(%r).read(), 'hook', 'exec')" % str(HOOK / name)
        assert run(found[0], ["-c", code], {})[0] == 0


def test_an_interrupt_while_the_hook_runs_ends_the_program(python, agent_directory, tmp_path):
    hook = shutil.copytree(HOOK, tmp_path / "hook")
    with open(hook / "cyclescope.py", "a") as file:
        file.write("\n_is_meant = lambda: (_ for _ in ()).throw(KeyboardInterrupt)\n")
    status, said, _ = run(
        python, ["-c", "print('started')"], environment(agent_directory, PYTHONPATH=hook))
    assert status != 0 and said == ""


def test_a_hook_that_cannot_be_read_is_one_line_at_most(python, agent_directory, tmp_path):
    hook = shutil.copytree(HOOK, tmp_path / "hook")
    (hook / "cyclescope.py").unlink()
    env = environment(agent_directory, PYTHONPATH=hook)
    status, said, errors = run(python, ["-c", "print('started')"], env)
    assert (status, said) == (0, "started\n")
    assert len(errors.splitlines()) == 1 and errors.startswith("cyclescope: not loaded")


def test_the_tool_loads_large_libraries_only_where_they_are_used():
    """With what they need they are most of what `run` would add to a start."""
    needed = subprocess.run(
        ["readelf", "-d", str(TOOL)], capture_output=True, text=True, check=True
    ).stdout
    assert "libsqlite3" in needed
    assert "libcurl" not in needed and "libarchive" not in needed
