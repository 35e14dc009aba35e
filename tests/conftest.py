"""Fixtures that several test folders use."""

from __future__ import annotations

import os
from importlib.metadata import distribution
from pathlib import Path

import pytest
from hypothesis import settings

import knowngood

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"
ENGINE_SOURCES = (
    "CMakeLists.txt", "cmake/*", "include/*.h", "src/**/*.[ch]", "python/_native.c",
    "python/CMakeLists.txt",
)  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def _engine_is_built_from_these_sources() -> None:
    """An editable install does not compile again by itself, and tests would pass on the old engine.

    Not looked at where the tests run on an installed wheel, or on a package built for one of them.
    """
    if not Path(knowngood.__file__).is_relative_to(REPOSITORY / "runtime"):
        return
    engine = REPOSITORY / "runtime" / "engine"
    sources = [path for pattern in ENGINE_SOURCES for path in engine.glob(pattern)]
    newest = max(sources, key=lambda path: path.stat().st_mtime)
    files = distribution("knowngood").files or ()
    installed = next(file for file in files if file.name == "RECORD").locate()
    if newest.stat().st_mtime > os.stat(installed).st_mtime:
        pytest.fail(
            f"{newest.relative_to(REPOSITORY)} is newer than the engine compiled into this "
            "environment: run `pip install --no-deps -e .`, or make, which does so when it must"
        )


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; tests that need it skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data (../shared/data) are not beside this checkout")
    return SHARED_DATA
