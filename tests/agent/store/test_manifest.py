"""The manifest of a tree: canonical bytes, and no torn one opens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envagent.store.manifest import Entry, Manifest, TornManifest

_A = Entry("lib/a.py", 3, executable=False, digest=b"a" * 32)
_B = Entry("bin/b", 5, executable=True, digest=b"b" * 32)


def test_a_manifest_reads_back_what_it_was_made_of():
    manifest = Manifest.decode(Manifest.of(["lib", "bin"], [_A, _B]).encode())
    assert manifest.directories == ["bin", "lib"]
    assert list(manifest.entries()) == [_B, _A]
    assert (manifest.paths, manifest.size) == (["bin/b", "lib/a.py"], 8)


def test_a_manifest_reads_back_symbolic_links():
    links = [("lib/b.so", "b.so.1"), ("bin/python", "python3.11")]
    manifest = Manifest.decode(Manifest.of(["lib", "bin"], [_A], links).encode())
    assert manifest.links == {"bin/python": "python3.11", "lib/b.so": "b.so.1"}
    assert manifest.digest == Manifest.of(["bin", "lib"], [_A], reversed(links)).digest
    assert manifest.digest != Manifest.of(["bin", "lib"], [_A], [links[0], ("bin/python", "python3.12")]).digest


def test_the_tree_digest_does_not_depend_on_the_order_of_unpacking():
    assert Manifest.of(["bin", "lib"], [_A, _B]).digest == Manifest.of(["lib", "bin"], [_B, _A]).digest


@pytest.mark.parametrize(
    "other",
    [_A._replace(path="lib/b.py"), _A._replace(size=4), _A._replace(executable=True), _A._replace(digest=b"c" * 32)],
)
def test_the_tree_digest_covers_path_size_mode_and_content(other):
    assert Manifest.of(["lib"], [_A]).digest != Manifest.of(["lib"], [other]).digest


_BYTES = Manifest.of(["bin", "lib"], [_A, _B]).encode()


@given(position=st.integers(0, len(_BYTES) - 1), value=st.integers(1, 255))
def test_a_manifest_with_any_byte_changed_does_not_open(position, value):
    data = bytearray(_BYTES)
    data[position] ^= value
    with pytest.raises(TornManifest):
        Manifest.decode(bytes(data))


@given(length=st.integers(0, len(_BYTES) - 1))
def test_a_manifest_that_is_cut_off_does_not_open(length):
    with pytest.raises(TornManifest):
        Manifest.decode(_BYTES[:length])
