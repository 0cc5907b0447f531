"""What reading the store again finds, removes and names."""

from __future__ import annotations

import os

import pytest

from envagent.errors import TreeDamaged
from envagent.materialize.prefix import materialize
from envagent.materialize.scrub import Poisoned, scrub
from envagent.materialize.verify import verify
from envagent.store.node import NodeStore
from fixtures.environments import plan_of, site_packages
from fixtures.raw_wheels import RawWheel

_MODULE = f"{site_packages()}/demo_pkg/__init__.py"


@pytest.fixture
def made(tmp_path):
    """A store with one wheel and its bytecode, and two prefixes of it."""
    store = NodeStore(tmp_path / "store")
    plan = plan_of(tmp_path / "w", RawWheel().add("demo_pkg/__init__.py", b"VALUE = 1\n"))
    for name in ("one", "two"):
        materialize(plan, store, tmp_path / name)
    return store, plan


def test_a_sound_store_is_left_alone(made):
    store, _ = made
    before = [tree.key for tree in store.trees()]
    assert scrub(store) == []
    assert [tree.key for tree in store.trees()] == before
    assert len(before) == 2


def test_an_edit_through_a_prefix_costs_the_tree_and_names_every_prefix(made, tmp_path):
    store, plan = made
    edited = tmp_path / "one" / _MODULE
    edited.chmod(0o644)
    edited.write_bytes(b"VALUE = 2\n")
    key = plan.key(plan.wheels[0])
    assert scrub(store) == [Poisoned(key, (_MODULE,), (str(tmp_path / "one"), str(tmp_path / "two")))]
    assert store.find(key) is None
    three = materialize(plan, store, tmp_path / "three")
    assert verify(three.path) == []
    assert scrub(store) == []


def test_a_prefix_with_copies_of_its_own_is_not_named(made, tmp_path):
    store, plan = made
    materialize(plan, store, tmp_path / "copied", link_mode="copy")
    (tmp_path / "one" / _MODULE).chmod(0o644)
    (tmp_path / "one" / _MODULE).write_bytes(b"VALUE = 2\n")
    [poisoned] = scrub(store)
    assert poisoned.prefixes == (str(tmp_path / "one"), str(tmp_path / "two"))
    assert verify(tmp_path / "copied") == []


@pytest.mark.parametrize(
    ("damage", "wrong"),
    [
        (lambda tree: (tree.files / _MODULE).unlink(), _MODULE),
        (lambda tree: (tree.files / _MODULE).chmod(0o555), _MODULE),
        (lambda tree: os.truncate(tree.manifest_path, 100), "manifest"),
        (lambda tree: tree.manifest_path.unlink(), "manifest"),
    ],
    ids=["a file is missing", "a mode was changed", "the manifest is cut off", "the manifest is missing"],
)
def test_whatever_is_wrong_with_a_tree_it_is_removed(made, damage, wrong):
    store, plan = made
    tree = store.find(plan.key(plan.wheels[0]))
    tree.manifest_path.chmod(0o644)
    damage(tree)
    [poisoned] = scrub(store)
    assert (poisoned.key, poisoned.files) == (tree.key, (wrong,))
    assert store.find(tree.key) is None


def test_a_tree_whose_manifest_is_cut_off_stops_an_environment_until_it_is_discarded(made, tmp_path):
    store, plan = made
    tree = store.find(plan.key(plan.wheels[0]))
    tree.manifest_path.chmod(0o644)
    os.truncate(tree.manifest_path, 100)
    with pytest.raises(TreeDamaged) as raised:
        materialize(plan, store, tmp_path / "three")
    assert not (tmp_path / "three").exists()
    store.discard_damaged(raised.value.key)
    assert verify(materialize(plan, store, tmp_path / "three").path) == []
    assert scrub(store) == []


def test_only_the_trees_that_were_named_are_read(made):
    store, plan = made
    (store.find(plan.key(plan.wheels[0])).files / _MODULE).unlink()
    assert scrub(store, {plan.bytecode_key(plan.wheels[0])}) == []
    assert len(scrub(store, {plan.key(plan.wheels[0])})) == 1


def test_it_is_said_in_words():
    said = str(Poisoned("abc", ("lib/x.py",), ("/envs/one", "/envs/two")))
    assert said == "abc: lib/x.py not as it was; also in /envs/one, /envs/two"
