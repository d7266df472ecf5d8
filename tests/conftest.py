"""What every test may ask for: each CPython found, and the built tool."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from support import agent, containers, pythons  # noqa: E402


def pytest_generate_tests(metafunc):
    if "python" in metafunc.fixturenames:
        metafunc.parametrize(
            "python", pythons.supported(), ids=lambda found: found.name
        )
    if "unsupported_python" in metafunc.fixturenames:
        metafunc.parametrize(
            "unsupported_python",
            pythons.unsupported(),
            ids=lambda found: found.name,
        )


@pytest.fixture(scope="module")
def any_python():
    """Where one of them will do."""
    return pythons.supported()[0]


@pytest.fixture
def agent_directory(tmp_path):
    """A short path: a socket's may have 107 bytes."""
    import shutil
    import tempfile

    directory = tempfile.mkdtemp(prefix="cs-")
    yield pathlib.Path(directory)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def podman():
    """Containers can be started; CONTAINERS_CONF is set for them."""
    with containers.use():
        yield containers


@pytest.fixture(scope="session")
def rootless(podman):
    """podman of a user without rights, with the image."""
    with containers.rootless() as user:
        yield user


@pytest.fixture(scope="session")
def podman_socket(podman):
    """The path of a socket that podman's API answers on."""
    with containers.api_socket() as path:
        yield path


@pytest.fixture(scope="session")
def tool_for_all():
    """The tool where every user may start it."""
    import shutil
    import tempfile

    folder = pathlib.Path(tempfile.mkdtemp(prefix="cs-", dir="/tmp"))
    folder.chmod(0o755)
    shutil.copytree(agent.HOOK, folder / "lib" / "cyclescope")
    (folder / "bin").mkdir()
    shutil.copy(agent.TOOL, folder / "bin")
    yield folder / "bin" / agent.TOOL.name
    shutil.rmtree(folder)
