"""Fixtures: the command line as a user runs it, the demo's home, a simulated endpoint, small models."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from persona_assets.leaving import leave
from persona_assets_tests.endpoint import Endpoint

PROJECT = Path(__file__).parents[1]
SHARED = PROJECT.parent / "shared" / "data"
TINY_GLOTLID = Path(__file__).parent / "models" / "tiny_glotlid.ftz"

ended_with = 0


def pytest_sessionfinish(exitstatus: int) -> None:
    global ended_with  # noqa: PLW0603
    ended_with = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    leave(ended_with)


Finished = subprocess.CompletedProcess[str]
Cli = Callable[..., Finished]


def command_line(*arguments: str | Path, cwd: Path, **environment: str) -> Finished:
    """Run `persona-assets` in its own process, with no variable of the developer's own."""
    inherited = {
        name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME", "LANG", "TMPDIR") if name in os.environ
    }
    return subprocess.run(
        [sys.executable, "-m", "persona_assets", *map(str, arguments)],
        cwd=cwd,
        env={**inherited, "HF_HUB_OFFLINE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    def run(*arguments: str | Path, **environment: str) -> Finished:
        return command_line(*arguments, cwd=tmp_path, **environment)

    return run


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """A home in which the demo has run, and what it printed. Tests only read it."""
    folder = tmp_path_factory.mktemp("demo")
    finished = command_line("demo", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    return folder / "data", finished


@pytest.fixture(scope="session")
def demo_home(demo: tuple[Path, Finished]) -> Path:
    return demo[0]


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as running:
        yield running


@pytest.fixture(scope="session")
def tiny_labse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers model of LaBSE's architecture with random weights, saved to a folder."""
    from persona_assets_tests.models.tiny_labse import build

    return build(tmp_path_factory.mktemp("labse"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the shared corpora are not beside this checkout")
    return SHARED
