"""npm packages to check against: fetched once a session into a temporary folder, never into the repository."""

import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def npm(tmp_path_factory) -> Callable[[str], Path]:
    """`npm("three@0.187.0")` is the unpacked package; skips visibly where it cannot be had."""
    folder, fetched = tmp_path_factory.mktemp("npm"), {}

    def fetch(package: str) -> Path:
        if package in fetched:
            return fetched[package]
        if shutil.which("npm") is None or shutil.which("node") is None:
            pytest.skip("node and npm are not installed")
        command = ["npm", "pack", "--silent", "--pack-destination", str(folder), package]
        try:
            name = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.split()[-1]
        except (subprocess.SubprocessError, IndexError) as error:
            pytest.skip(f"npm pack {package} failed ({error})")
        target = folder / name.removesuffix(".tgz")
        with tarfile.open(folder / name) as archive:
            archive.extractall(target, filter="data")
        fetched[package] = target / "package"
        return fetched[package]

    return fetch
