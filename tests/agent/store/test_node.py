"""The node store: publication, reservations, restarts of the machine, what gc may take."""

from __future__ import annotations

import threading

import pytest

from envagent.store.flock import acquire
from envagent.store.gc import Held, choose, collect
from envagent.store.journal import Journal
from envagent.store.manifest import Entry, Manifest
from envagent.store.node import Build, NodeStore, Tree
from envagent.store.references import References


def _publish(store: NodeStore, key: str, content: bytes = b"x") -> Tree:
    with store.in_use() as work:
        build = store.reserve(key, work, wait=True)
        if isinstance(build, Tree):
            return build
        assert build is not None
        (build.files / "file").write_bytes(content)
        return build.publish(Manifest.of([], [Entry("file", len(content), executable=False, digest=b"d" * 32)]))


def test_a_published_tree_is_found_with_its_manifest(tmp_path):
    store = NodeStore(tmp_path)
    _publish(store, "abc")
    tree = NodeStore(tmp_path).find("abc")
    assert tree is not None
    assert tree.manifest.paths == ["file"]
    assert (tree.files / "file").read_bytes() == b"x"


def test_a_tree_is_not_there_before_it_is_published(tmp_path):
    store = NodeStore(tmp_path)
    with store.in_use() as work:
        build = store.reserve("abc", work, wait=False)
        assert isinstance(build, Build)
        assert store.find("abc") is None
        build.release()
    assert list((tmp_path / "work").iterdir()) == []


def test_only_one_may_build_a_tree_and_the_others_get_it(tmp_path):
    store = NodeStore(tmp_path)
    with store.in_use() as work:
        build = store.reserve("abc", work, wait=False)
        assert store.reserve("abc", work / "other", wait=False) is None
        got = []
        waiter = threading.Thread(target=lambda: got.append(store.reserve("abc", work / "other", wait=True)))
        waiter.start()
        assert isinstance(build, Build)
        published = build.publish(Manifest.of([], []))
        waiter.join()
    assert got == [published]


def test_the_second_of_two_equal_trees_is_thrown_away(tmp_path):
    store = NodeStore(tmp_path)
    _publish(store, "abc", b"first")
    with store.in_use() as work:
        (work / "abc").mkdir()
        (work / "abc" / "second").touch()
        tree = store.admit("abc", work / "abc")
    assert (tree.files / "file").read_bytes() == b"first"
    assert not (tree.path / "second").exists()


def test_what_was_not_synced_does_not_outlive_the_machine(tmp_path):
    store = NodeStore(tmp_path, boot_id="first boot")
    _publish(store, "durable")
    store.settle()
    _publish(store, "fresh")
    assert NodeStore(tmp_path, boot_id="first boot").find("fresh") is not None
    after = NodeStore(tmp_path, boot_id="second boot")
    assert after.find("durable") is not None
    assert after.find("fresh") is None


def test_a_cut_off_line_of_the_journal_is_no_name_and_spoils_none(tmp_path):
    journal = Journal(tmp_path / "journal")
    journal.note(["one"])
    with (tmp_path / "journal").open("ab") as file:
        file.write(b"tw")
    assert journal.names() == {"one"}
    journal.note(["three"])
    assert journal.names() >= {"one", "three"}


def test_a_name_that_the_journal_took_back_is_noted_again_by_the_next_sync(tmp_path):
    journal = Journal(tmp_path / "journal")
    journal.note(["one", "two"])
    journal.forget(["one"])
    assert journal.names() == {"two"}
    journal.note(["one"])
    assert journal.names() == {"one", "two"}


def test_a_damaged_tree_is_discarded_and_one_in_its_place_is_not_taken_for_durable(tmp_path):
    store = NodeStore(tmp_path, boot_id="first boot")
    _publish(store, "abc").manifest_path.unlink()
    store.settle({"abc"})
    store.discard_damaged("abc")
    assert store.find("abc") is None
    _publish(store, "abc")
    store.discard_damaged("abc")
    assert store.find("abc") is not None, "a sound one stays"
    assert NodeStore(tmp_path, boot_id="second boot").find("abc") is None


def test_gc_removes_a_damaged_tree_that_nobody_wants(tmp_path):
    store = NodeStore(tmp_path)
    _publish(store, "sound")
    _publish(store, "damaged").manifest_path.unlink()
    assert collect(store, now=0.0).trees == 2
    assert list(store.trees()) == []


def test_the_work_of_dead_processes_is_swept_and_that_of_living_ones_is_not(tmp_path):
    store = NodeStore(tmp_path)
    orphan = tmp_path / "work" / "123-dead"
    orphan.mkdir()
    (orphan / "file").touch()
    with store.in_use() as work:
        assert store.sweep() == 1
        assert work.is_dir()
    assert not orphan.exists()
    assert list((tmp_path / "trash").iterdir()) == []


def test_gc_takes_the_longest_unused_first_and_never_what_is_wanted():
    trees = [Held("old", 10, 1.0), Held("wanted", 10, 0.0), Held("new", 10, 3.0), Held("older", 10, 0.5)]
    assert [tree.key for tree in choose(trees, {"wanted"}, budget=20)] == ["older", "old"]
    assert [tree.key for tree in choose(trees, {"wanted"}, budget=0)] == ["older", "old", "new"]
    assert choose(trees, set(), budget=40) == []


def test_gc_keeps_what_a_prefix_or_a_lease_wants_and_only_as_long(tmp_path):
    store = NodeStore(tmp_path / "store")
    for key in ("prefix", "leased", "nobody"):
        _publish(store, key)
    witness = tmp_path / "env"
    witness.mkdir()
    references = References(store.root)
    references.note_prefix(witness, witness, ["prefix"])
    references.lease("a pod", ["leased"], until=100.0)
    collected = collect(store, now=99.0)
    assert (collected.trees, collected.size) == (1, 1)
    assert {tree.key for tree in store.trees()} == {"prefix", "leased"}
    witness.rmdir()
    assert collect(store, now=100.0).trees == 2
    assert list(store.trees()) == []


def test_gc_waits_for_whoever_materializes(tmp_path):
    store = NodeStore(tmp_path)
    _publish(store, "abc")
    done = threading.Event()
    with store.in_use():
        collector = threading.Thread(target=lambda: (collect(store, now=0.0), done.set()))
        collector.start()
        assert not done.wait(0.2)
        assert store.find("abc") is not None
    collector.join()
    assert store.find("abc") is None


def test_gc_forgets_removed_trees_in_the_journal(tmp_path):
    store = NodeStore(tmp_path)
    _publish(store, "gone")
    store.settle({"prefix-x"})
    collect(store, now=0.0)
    assert store.journal.names() == {"prefix-x"}


def test_a_lock_whose_file_was_removed_while_waiting_is_taken_on_the_new_one(tmp_path):
    path = tmp_path / "lock"
    first = acquire(path)
    got = []
    waiter = threading.Thread(target=lambda: got.append(acquire(path)))
    waiter.start()
    path.unlink()
    assert first is not None
    first.release()
    waiter.join()
    assert acquire(path, wait=False) is None
    got[0].release()


@pytest.mark.parametrize("torn", [b"", b"{", b'{"path": 1}'])
def test_a_torn_reference_is_forgotten(tmp_path, torn):
    store = NodeStore(tmp_path)
    (tmp_path / "prefixes" / "abc").write_bytes(torn)
    (tmp_path / "leases" / "abc").write_bytes(torn)
    assert References(store.root).keys(now=0.0) == set()
    assert list((tmp_path / "leases").iterdir()) == []
