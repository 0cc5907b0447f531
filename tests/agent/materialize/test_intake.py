"""Trees built while archives arrive: at once, by one process each, with every error raised once."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from envagent.errors import ArtifactRefused
from envagent.materialize import builds
from envagent.materialize.intake import Intake
from envagent.materialize.plan import CondaFile, Plan, Source
from envagent.materialize.progress import Progress, silent
from envagent.store.node import Build, NodeStore
from fixtures.conda_packages import File, make_conda
from fixtures.conda_plans import files_of, locked
from fixtures.environments import plan_of
from fixtures.raw_wheels import RawWheel

ALPHA, BETA = (RawWheel(name=name).add(f"{name}.py", b"x = 1\n") for name in ("alpha", "beta"))
WRONG = "0" * 64


class Told:
    """Progress; `first` is set when something is published."""

    def __init__(self) -> None:
        self.first = threading.Event()
        self.heard: list[Progress] = []

    def __call__(self, progress: Progress) -> None:
        self.heard.append(progress)
        self.first.set()


@pytest.fixture
def store(tmp_path: Path) -> NodeStore:
    return NodeStore(tmp_path / "store")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_of(tmp_path / "wheels", ALPHA, BETA)


def intake(plan: Plan, store: NodeStore, report: Told | None = None) -> Intake:
    return Intake(plan, store, report or silent, total=len(plan.sources), size=1)


def take(plan: Plan, store: NodeStore, *sources: Source) -> None:
    with intake(plan, store) as taken:
        for source in sources:
            taken.add(source)


def take_and_fail(plan: Plan, store: NodeStore, source: Source, late: Source) -> None:
    told = Told()
    with intake(plan, store, told) as taken:
        taken.add(source)
        told.first.wait()
        taken.add(late)
        raise KeyError("network")


def is_there(plan: Plan, store: NodeStore, source: Source) -> bool:
    return store.find(plan.key(source)) is not None


@pytest.mark.parametrize("processes_from", [0, 1 << 40], ids=["worker processes", "threads"])
def test_a_tree_is_published_while_the_next_archive_is_still_on_its_way(
    plan: Plan, store: NodeStore, monkeypatch: pytest.MonkeyPatch, processes_from: int
) -> None:
    monkeypatch.setattr(builds, "_PROCESSES_FROM_BYTES", processes_from)
    alpha, beta = plan.sources
    told = Told()
    with intake(plan, store, told) as taken:
        taken.add(alpha)
        told.first.wait()
        assert is_there(plan, store, alpha)
        assert not is_there(plan, store, beta)
        taken.add(beta)
    assert is_there(plan, store, beta)
    assert told.heard == [Progress("unpack", alpha.filename, 1, 2), Progress("unpack", beta.filename, 2, 2)]


def test_a_large_wheel_is_published_while_the_next_archive_is_still_on_its_way(
    plan: Plan, store: NodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envagent.materialize.install._WHOLE_BYTES", 0)
    told = Told()
    with intake(plan, store, told) as taken:
        taken.add(plan.sources[0])
        told.first.wait()
        assert is_there(plan, store, plan.sources[0])


def test_a_wheel_that_is_refused_is_told_on_leaving_and_leaves_nothing(plan: Plan, store: NodeStore) -> None:
    alpha, beta = plan.wheels
    refused = replace(alpha, sha256=WRONG)
    with pytest.raises(ArtifactRefused, match="its sha256 is"):
        take(plan, store, refused, beta)
    assert not is_there(plan, store, refused)
    assert list((store.root / "work").iterdir()) == []


def test_when_the_block_fails_its_error_is_the_one_and_what_was_published_stays(plan: Plan, store: NodeStore) -> None:
    alpha, beta = plan.wheels
    with pytest.raises(KeyError, match="network"):
        take_and_fail(plan, store, alpha, replace(beta, path=beta.path.with_name("missing")))
    assert is_there(plan, store, alpha)
    assert list((store.root / "work").iterdir()) == []


def test_what_another_process_is_building_is_waited_for_last(plan: Plan, store: NodeStore) -> None:
    alpha, beta = plan.sources
    told = Told()
    with store.in_use() as work:
        elsewhere = store.reserve(plan.key(alpha), work, wait=False)
        assert isinstance(elsewhere, Build)
        with intake(plan, store, told) as taken:
            taken.add(alpha)
            taken.add(beta)
            told.first.wait()
            assert is_there(plan, store, beta)
            elsewhere.release()
    assert is_there(plan, store, alpha)


@pytest.mark.parametrize("whole_bytes", [0, 1 << 40], ids=["shared out", "one job"])
def test_a_wheel_that_was_verified_as_it_came_is_not_read_again_for_its_digest(
    plan: Plan, store: NodeStore, monkeypatch: pytest.MonkeyPatch, whole_bytes: int
) -> None:
    monkeypatch.setattr("envagent.materialize.install._WHOLE_BYTES", whole_bytes)
    believed = replace(plan.wheels[0], sha256=WRONG, verified=True)
    take(plan, store, believed)
    assert is_there(plan, store, believed)


def test_a_conda_package_is_read_for_its_digest_unless_it_was_verified(tmp_path: Path, store: NodeStore) -> None:
    package = make_conda("demo", files={"share/demo.txt": File(b"demo\n")})
    [path] = files_of(tmp_path / "packages", [package]).values()
    source = CondaFile(path, replace(locked(package), sha256=WRONG))
    plan = Plan(conda=(source,))
    with pytest.raises(ArtifactRefused, match="its sha256 is"):
        take(plan, store, source)
    take(plan, store, replace(source, verified=True))
    assert is_there(plan, store, source)


def test_a_record_that_lies_is_refused_unless_its_proof_comes_later(tmp_path: Path, store: NodeStore) -> None:
    sound = RawWheel(name="alpha").add("alpha.py", b"x = 1\n")
    rows = sound._record(sound.members()[:-1]).decode().splitlines(keepends=True)
    kept = "".join(row for row in rows if row.startswith(sound.info))
    lie = "alpha.py,sha256=" + "A" * 43 + ",6\n"
    lying = RawWheel(name="alpha", record=(lie + kept).encode()).add("alpha.py", b"x = 1\n")
    plan = plan_of(tmp_path / "wheels", lying)
    [wheel] = plan.sources
    with pytest.raises(ArtifactRefused, match=r"alpha\.py"), intake(plan, store) as proving:
        proving.add(wheel)
    assert store.find(plan.key(wheel)) is None
    with Intake(plan, store, silent, total=1, size=1, prove=False) as believing:
        believing.add(wheel)
    assert store.find(plan.key(wheel))
