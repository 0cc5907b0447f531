"""Helm 3 and Helm 4, for every test of the chart."""

from pathlib import Path

import pytest

from fixtures.chart import Helm


@pytest.fixture(params=["helm3", "helm4"])
def helm(request: pytest.FixtureRequest, tmp_path: Path) -> Helm:
    """One of the two."""
    return Helm(request.param, tmp_path)


@pytest.fixture
def helm4(tmp_path: Path) -> Helm:
    """Where one of them is enough."""
    return Helm("helm4", tmp_path)
