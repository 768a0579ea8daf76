"""Every dependency has its hash, and every build of the same sources is the same bytes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.promises.proof import Proof, control, promise
from tests.races.builds import ROOT
from tests.races.ledger import demand

EPOCH = {"SOURCE_DATE_EPOCH": "1700000000"}
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
BINARIES = Path(sys.executable).parent
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "src")


@promise(50)
def test_every_locked_package_has_its_version_and_its_hashes(proof: Proof) -> None:
    for lock in LOCKS:
        proof.trials(check_hashes(lock.read_text()), "packages")


@control(50, fault="one_without_hash")
def test_a_lock_with_a_package_that_has_no_hash_is_found_out(proof: Proof) -> None:
    lock = LOCKS[0].read_text()
    name = re.findall(r"^[a-z0-9-]+==", lock, re.MULTILINE)[-1]
    without = re.sub(rf"^({name}[^ ]+) \\(\n +--hash=\S+( \\)?)+", r"\1", lock, flags=re.MULTILINE)
    assert without != lock

    proof.control(lambda _: check_hashes(without))


@promise(50)
def test_two_builds_of_the_wheel_are_the_same_to_the_byte(proof: Proof, tmp_path: Path) -> None:
    build_twice(tmp_path, EPOCH)
    proof.trials(2, "builds, from two folders with other dates")


@control(50, fault="without_an_epoch")
def test_builds_that_take_the_time_of_day_are_found_out(proof: Proof, tmp_path: Path) -> None:
    proof.control(lambda seed: build_twice(tmp_path / str(seed), {}))


def check_hashes(lock: str) -> int:
    """Return how many packages a lock has.

    Raises:
        Broken: one has no version or no hash.
    """
    lines = re.sub(r"^ *#.*\n", "", lock, flags=re.MULTILINE)
    packages = re.sub(r" *\\\n +", " ", lines).splitlines()
    pinned = r"[a-z0-9-]+==\S+( ; [^:/@]+)?( --hash=sha256:[0-9a-f]{64})+"
    loose = [package for package in packages if not re.fullmatch(pinned, package)]
    demand(not loose, "without a hash:", loose)
    return len(packages)


def build_twice(folder: Path, environment: dict[str, str]) -> None:
    """Build the wheel in two folders, whose files have other dates, and compare the bytes.

    Raises:
        Broken: they differ.
    """
    first, second = (
        build(folder / name, environment, age_s) for name, age_s in (("a", 0), ("b", 86_400))
    )
    demand(first == second, "two builds differ")


def build(folder: Path, environment: dict[str, str], age_s: int) -> bytes:
    """Return the wheel of a copy of the sources that is so many seconds older."""
    folder.mkdir(parents=True)
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            left_out = shutil.ignore_patterns("*.egg-info", "__pycache__")
            shutil.copytree(source, folder / name, ignore=left_out)
        else:
            shutil.copy2(source, folder / name)
    for file in folder.rglob("*"):
        at = file.stat().st_mtime - age_s
        os.utime(file, (at, at))
    wheels = folder / "wheels"
    subprocess.run(
        [BINARIES / "uv", "build", "--wheel", "--no-build-isolation", "--offline",
         "--python", sys.executable, "--out-dir", wheels, folder],
        env={**{k: v for k, v in os.environ.items() if k not in EPOCH}, **environment},
        check=True,
        capture_output=True,
    )  # fmt: skip
    (wheel,) = wheels.glob("*.whl")
    return wheel.read_bytes()
