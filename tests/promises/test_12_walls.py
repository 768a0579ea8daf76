"""Tenants are walls: nobody reads, changes or counts what is another's (rows 11 and 12)."""

import shutil
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest

from tests.conftest import STORES, Stores
from tests.promises import unchecked, walls
from tests.promises.proof import Proof, control, promise
from tests.promises.walls import EVERYTHING, Cell, Tenant
from tests.running import Running

CELLS = 2_000
"""The fewest that row 12 asks for."""
SITES = unchecked.sites()
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module", params=STORES)
def service(request: pytest.FixtureRequest, stores: Stores) -> Iterator[Running]:
    with Running(stores.new(request.param)) as running:
        yield running


@promise(12, 11)
def test_nobody_sees_changes_or_counts_what_is_anothers(service: Running, proof: Proof) -> None:
    alpha, bravo = walls.two_tenants(service)

    cells = walls.hold_the_wall(service, alpha, bravo, walls.all_cells(alpha))
    walls.wait_for_jobs(service)
    cells += walls.hold_the_wall(service, bravo, alpha, walls.all_cells(bravo))

    assert cells >= CELLS
    proof.trials(cells, "requests of two tenants")


@pytest.fixture(scope="module")
def two_tenants(stores: Stores) -> tuple[str, str, tuple[Tenant, Tenant]]:
    """A file with two tenants, to be copied, and a token for everything."""
    with Running(stores.new("sqlite")) as service:
        tenants = walls.two_tenants(service)
        token, url = service.token, service.url
    return url, token, tenants


def cells_of_one(tenant: Tenant) -> list[Cell]:
    """Return what finds a hole: one token with every scope, and each scope's own in JSON."""
    return [
        cell
        for cell in walls.all_cells(tenant)
        if cell.form == "json" and cell.role in (EVERYTHING, "codes:read")
    ]


def run_unchecked(
    number: int, two_tenants: tuple[str, str, tuple[Tenant, Tenant]], folder: Path
) -> None:
    url, token, tenants = two_tenants
    copy = folder / "tenants.db"
    shutil.copy(url.removeprefix("sqlite:///"), copy)
    alpha, bravo = deepcopy(tenants)
    command = (sys.executable, "-m", "tests.promises.unchecked", str(number), "serve")
    with Running(
        f"sqlite:///{copy}", command=command, environment={"PYTHONPATH": str(ROOT)}, token=token
    ) as service:
        walls.hold_the_wall(service, alpha, bravo, cells_of_one(alpha))


@control(12, fault="one check of rights is missing, each in turn", store="sqlite")
@pytest.mark.parametrize("number", range(len(SITES)), ids=[str(site) for site in SITES])
def test_the_matrix_finds_a_build_in_which_one_check_is_missing(
    two_tenants: tuple[str, str, tuple[Tenant, Tenant]], tmp_path: Path, number: int, proof: Proof
) -> None:
    proof.control(lambda _: run_unchecked(number, two_tenants, tmp_path))
