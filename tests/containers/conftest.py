"""The image of the Dockerfile, built without a registry, and a place to run it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.deployment import Deployment
from tests.containers.podman import run

ROOT = Path(__file__).parents[2]


def build(dockerfile: str, tag: str, *arguments: str, context: Path = ROOT) -> str:
    """The name of an image of the tree, on a base that is made of Debian's packages."""
    wheels = run(ROOT / "tests/machine/wheels").stdout.strip()
    base = run(ROOT / "tests/machine/image").stdout.strip()
    given = (f"BASE={base}", "PIP_NO_INDEX=1", "PIP_FIND_LINKS=/wheels", *arguments)
    run(
        "buildah",
        "bud",
        "--isolation=chroot",
        "--format=docker",
        "--layers",
        f"--volume={wheels}:/wheels:ro",
        *(f"--build-arg={each}" for each in given),
        f"--file={ROOT / dockerfile}",
        f"--tag={tag}",
        context,
    )
    return tag


@pytest.fixture(scope="session")
def image() -> str:
    """The name of the daemon's image."""
    return build("Dockerfile", "localhost/jarvis-secretsd")


@pytest.fixture
def deployment(image: str) -> Iterator[Deployment]:
    """Directories for a daemon of uid 1000, and no daemon yet."""
    made = Deployment(image)
    try:
        yield made
    finally:
        made.remove()
