"""Packages that are damaged, hostile or lie: refused in a sentence, and nothing of them is left."""

from __future__ import annotations

import bz2
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envagent.errors import ArtifactRefused, EnvagentError
from envagent.materialize import conda_archive, tar_stream, untar
from envagent.materialize.member import Damaged
from envagent.materialize.plan import CondaFile, Plan
from envagent.materialize.prefix import materialize
from envagent.materialize.verify import verify
from envagent.store.node import NodeStore
from fixtures.conda_plans import conda_plan, foreign
from fixtures.locks import real
from fixtures.raw_conda import RawConda, entry_of


def _make(tmp_path: Path, file: CondaFile) -> Path:
    return materialize(Plan(conda=(file,)), NodeStore(tmp_path / "store"), tmp_path / "env").path


def _refusal(tmp_path: Path, raw: RawConda) -> str:
    """Why the package is refused, after a look that nothing is left of it."""
    with pytest.raises(ArtifactRefused) as refused:
        _make(tmp_path, raw.file(tmp_path / "files"))
    assert not (tmp_path / "env").exists()
    assert list(NodeStore(tmp_path / "store").trees()) == []
    assert not any((tmp_path / "store" / "work").iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"files", "store"}
    return refused.value.problem


_OUTSIDE = RawConda().add("../evil", b"x")
_HOSTILE = {
    "a name that leaves the tree": (_OUTSIDE, "'../evil' has an empty, . or .. component"),
    "an absolute name": (RawConda().add("/etc/evil"), "'/etc/evil' is an absolute path"),
    "a name with control characters": (RawConda().add("a\nb"), r"'a\nb' has a control character in its name"),
    "a link that leaves": (
        RawConda().add_special("lib/out", tarfile.SYMTYPE, "../../etc"),
        "lib/out is a symbolic link that leaves the package (to '../../etc')",
    ),
    "an absolute link": (
        RawConda().add_special("lib/out", tarfile.SYMTYPE, "/etc"),
        "lib/out is a symbolic link that leaves the package (to '/etc')",
    ),
    "a link to nothing": (RawConda().add_special("lib/x", tarfile.SYMTYPE), "lib/x is a symbolic link to nothing"),
    "a file written through a link": (
        RawConda().add("real/x").add_special("lib", tarfile.SYMTYPE, "real").add("lib/y"),
        "lib is a file and a directory",
    ),
    "a file inside a file": (RawConda().add("a", b"x").add("a/b"), "a is a file and a directory"),
    "a file twice": (RawConda().add("a", b"1").add("a", b"2"), "a is there twice"),
    "a hardlink to elsewhere": (
        RawConda().add_special("a", tarfile.LNKTYPE, "/etc/passwd"),
        "a is a hardlink to '/etc/passwd', which is no file before it",
    ),
    "a device": (
        RawConda().add_special("dev/null", tarfile.CHRTYPE),
        "dev/null is neither a file nor a symbolic link",
    ),
    "a pipe": (RawConda().add_special("pipe", tarfile.FIFOTYPE), "pipe is neither a file nor a symbolic link"),
}
_LIES = {
    "another content": (
        RawConda(paths=[entry_of(tarfile.TarInfo("a"), b"promised")]).add("a", b"instead!"),
        "a is not the file that paths.json promises (its size or sha256 is another)",
    ),
    "another size": (
        RawConda(paths=[{"_path": "a", "path_type": "hardlink", "size_in_bytes": 3}]).add("a", b"four"),
        "a is not the file that paths.json promises (its size or sha256 is another)",
    ),
    "a file that is not there": (
        RawConda(paths=[{"_path": "a", "path_type": "hardlink"}]),
        "paths.json lists a, which is not in the archive",
    ),
    "a link that is a file": (
        RawConda(paths=[{"_path": "a", "path_type": "softlink"}]).add("a"),
        "paths.json lists the link a, which is not in the archive",
    ),
    "an unknown type": (
        RawConda(paths=[{"_path": "a", "path_type": "socket"}]).add("a"),
        "paths.json says that a is a 'socket'",
    ),
    "a path that leaves": (
        RawConda(paths=[{"_path": "../a", "path_type": "directory"}]),
        "paths.json: '../a' has an empty, . or .. component",
    ),
    "a path twice": (
        RawConda(paths=[entry_of(tarfile.TarInfo("a"), b"")] * 2).add("a"),
        "two of its files would be installed as a",
    ),
    "a record of its own": (
        RawConda().add("conda-meta/raw-1.0-0.json"),
        "two of its files would be installed as conda-",
    ),
    "another name": (RawConda(index={"name": "other"}).add("a"), "inside it calls itself other-1.0-0"),
    "no paths": (RawConda(documents={"info/paths.json": b"{}"}), "its info/paths.json is not understood"),
    "no list of files": (RawConda(documents={"info/paths.json": None}), "it has no info/paths.json"),
    "an old list of a file that is not there": (
        RawConda(documents={"info/paths.json": None, "info/files": b"a\n"}),
        "info/files lists a, which is not in the archive",
    ),
    "an old list of prefixes that is not understood": (
        RawConda(documents={"info/paths.json": None, "info/files": b"a\n", "info/has_prefix": b'"'}).add("a"),
        "its info/files or info/has_prefix is not understood",
    ),
    "no JSON": (RawConda(documents={"info/index.json": b"\xff{"}), "its info/index.json is not understood"),
    "a Python package without a Python": (
        RawConda(index={"noarch": "python"}).add("site-packages/x.py"),
        "it is a noarch Python package, and the environment has no Python",
    ),
}


@pytest.mark.parametrize("form", [".conda", ".tar.bz2"])
@pytest.mark.parametrize("what", [*_HOSTILE, *_LIES])
def test_a_hostile_or_lying_package_is_refused(tmp_path, what, form):
    raw, problem = (_HOSTILE | _LIES)[what]
    raw = RawConda(raw.name, form, raw.index, raw.paths, raw.documents, raw.members)
    assert _refusal(tmp_path, raw).startswith(problem)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("zlib-1.2.11-h7b6447c_3.conda", "lib/libz.so.1 is a symbolic link to nothing"),
        ("zlib-1.2.11-h7b6447c_3.tar.bz2", "paths.json lists the link lib/libz.so, which is not in the archive"),
    ],
)
async def test_real_packages_that_lost_their_links_are_refused(tmp_path, name, problem):
    plan = conda_plan(tmp_path / "files", await foreign(real(f"packages/{name}")))
    with pytest.raises(ArtifactRefused, match=problem):
        materialize(plan, NodeStore(tmp_path / "store"), tmp_path / "env")


def test_what_is_refused_has_written_nothing_elsewhere(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(Damaged):
        conda_archive.unpack(_OUTSIDE.file(tmp_path / "files").path, root)
    assert list(root.iterdir()) == []
    assert not (tmp_path / "evil").exists()


def test_a_package_of_another_digest_is_refused_first(tmp_path):
    file = _OUTSIDE.file(tmp_path / "files", sha256="0" * 64)
    with pytest.raises(ArtifactRefused, match=f"its sha256 is [0-9a-f]{{64}}, {'0' * 64} was asked for"):
        _make(tmp_path, file)


@pytest.mark.parametrize("form", [".conda", ".tar.bz2"])
def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path, form):
    path = RawConda(form=form).add("zeros", bytes(3_000_000)).file(tmp_path / "files").path
    (tmp_path / "root").mkdir()
    with pytest.raises(Damaged, match="it would unpack to far more than its size, which is a bomb"):
        conda_archive.unpack(path, tmp_path / "root", untar.Bounds(ratio=1, free_bytes=1_000_000))
    assert sum(file.stat().st_size for file in (tmp_path / "root").rglob("*")) <= 1_000_000


def test_the_holes_of_a_sparse_file_count(tmp_path):
    info = tarfile.TarInfo("sparse")
    info.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 40), "GNU.sparse.numblocks": "1"}
    info.size = 1
    raw = RawConda(members=[(info, b"x")])
    assert _refusal(tmp_path, raw) == "it would unpack to far more than its size, which is a bomb"


def test_too_many_files_are_refused(tmp_path):
    raw = RawConda()
    for number in range(20):
        raw.add(f"f{number}")
    (tmp_path / "root").mkdir()
    with pytest.raises(Damaged, match="it has too many files"):
        conda_archive.unpack(raw.file(tmp_path / "files").path, tmp_path / "root", untar.Bounds(members=10))


def test_streams_unpack_to_the_same_however_little_is_read_at_a_time(tmp_path, monkeypatch):
    raw = RawConda().add("a", os.urandom(300_000)).add("bin/b", b"#!/bin/sh\n", mode=0o755).add("c")
    raw.add_special("l", tarfile.SYMTYPE, "a").add_special("h", tarfile.LNKTYPE, "bin/b")
    path = raw.file(tmp_path / "files").path
    found = []
    for name, size in (("one", 256 << 10), ("two", 1000)):
        monkeypatch.setattr(tar_stream, "BUFFER_BYTES", size)
        (tmp_path / name).mkdir()
        found.append(conda_archive.unpack(path, tmp_path / name))
    assert found[0] == found[1]
    for name in ("a", "bin/b", "c", "h"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_hardlinks_inside_a_package_become_files(tmp_path):
    raw = RawConda().add("bin/git", b"git", mode=0o755).add_special("bin/git-add", tarfile.LNKTYPE, "bin/git")
    raw.paths = [entry_of(tarfile.TarInfo(name), b"git") for name in ("bin/git", "bin/git-add")]
    env = _make(tmp_path, raw.file(tmp_path / "files"))
    assert (env / "bin/git-add").read_bytes() == b"git"
    assert os.access(env / "bin/git-add", os.X_OK)
    assert verify(env) == []


def test_files_that_paths_json_does_not_list_are_left_out(tmp_path):
    raw = RawConda().add("share/listed", b"1").add("deep/er/unlisted", b"2").add("share/unlisted", b"3")
    raw.paths = [entry_of(tarfile.TarInfo("share/listed"), b"1")]
    env = _make(tmp_path, raw.file(tmp_path / "files"))
    assert (env / "share/listed").read_bytes() == b"1"
    assert not (env / "share/unlisted").exists()
    assert not (env / "deep").exists()


def test_an_empty_directory_that_is_listed_is_there(tmp_path):
    raw = RawConda(paths=[{"_path": "var/empty/dir", "path_type": "directory"}])
    assert (_make(tmp_path, raw.file(tmp_path / "files")) / "var/empty/dir").is_dir()


def test_files_keep_their_time_so_that_bytecode_in_the_package_fits(tmp_path):
    env = _make(tmp_path, RawConda().add("x.py", b"1", mtime=1_600_000_000).file(tmp_path / "files"))
    assert (env / "x.py").stat().st_mtime == 1_600_000_000


def test_a_package_that_is_encrypted_is_refused(tmp_path):
    data = bytearray(RawConda().add("a").bytes())
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = -1
        while (at := data.find(signature, at + 1)) >= 0:
            data[at + flags] |= 1
    path = tmp_path / "encrypted.conda"
    path.write_bytes(data)
    (tmp_path / "root").mkdir()
    with pytest.raises(Damaged, match=r"it cannot be unpacked .*is encrypted"):
        conda_archive.unpack(path, tmp_path / "root")


def test_a_package_that_is_compressed_as_none_is_refused(tmp_path):
    path = tmp_path / "packed.conda"
    with (
        zipfile.ZipFile(io.BytesIO(RawConda().add("a").bytes())) as plain,
        zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    (tmp_path / "root").mkdir()
    with pytest.raises(Damaged, match=r"pkg-raw-1.0-0.tar.zst is compressed by method 14, which packages do not use"):
        conda_archive.unpack(path, tmp_path / "root")


def test_a_package_that_is_cut_off_anywhere_is_refused(tmp_path):
    data = RawConda().add("a", os.urandom(2000)).add("b").bytes()
    for length in range(0, len(data), max(1, len(data) // 40)):
        path = tmp_path / "cut.conda"
        path.write_bytes(data[:length])
        root = tmp_path / str(length)
        root.mkdir()
        with pytest.raises(Damaged):
            conda_archive.unpack(path, root)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_arbitrary_changes_raise_nothing_but_refusals(tmp_path_factory, data):
    form = data.draw(st.sampled_from([".conda", ".tar.bz2"]))
    raw = RawConda(form=form).add("a", b"content" * 50).add_special("l", tarfile.SYMTYPE, "a")
    broken = bytearray(raw.bytes())
    for position in data.draw(st.lists(st.integers(0, len(broken) - 1), min_size=1, max_size=5)):
        broken[position] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("fuzz")
    path = folder / f"raw-1.0-0{form}"
    path.write_bytes(broken)
    file = CondaFile(path, raw.locked(bytes(broken)))
    try:
        _make(folder, file)
    except EnvagentError as error:
        assert isinstance(error, ArtifactRefused)  # noqa: PT017  # some changes do no harm


def test_a_negative_size_is_refused_and_not_read_for_ever(tmp_path):
    plain = bytearray(tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT))
    plain[124:136] = b"-0000001000\0"
    plain[148:156] = b"%06o\0 " % (sum(plain) - sum(plain[148:156]) + 8 * 32)
    pax = tarfile.TarInfo("x")
    pax.pax_headers = {"size": "-512"}
    for number, header in enumerate((bytes(plain), pax.tobuf(tarfile.PAX_FORMAT))):
        path = tmp_path / f"{number}.tar.bz2"
        path.write_bytes(bz2.compress(header + bytes(1024)))
        (tmp_path / str(number)).mkdir()
        with pytest.raises(Damaged, match="negative size"):
            conda_archive.unpack(path, tmp_path / str(number))


@pytest.mark.parametrize("at", [0, 124, 148])  # in its name, size and checksum
def test_a_damaged_header_is_not_taken_for_the_end(tmp_path, at):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
        archive.addfile(tarfile.TarInfo("b"))
    data = bytearray(buffer.getvalue())
    data[tarfile.BLOCKSIZE + at] = ord("?")
    path = tmp_path / "x.tar.bz2"
    path.write_bytes(bz2.compress(data))
    (tmp_path / "root").mkdir()
    with pytest.raises(Damaged, match=r"it cannot be unpacked \((bad checksum|invalid header)\)"):
        conda_archive.unpack(path, tmp_path / "root")


def test_headers_are_read_as_the_standard_library_reads_them(tmp_path):
    names = ["plain", "n" * 100, "dir/" * 30 + "split", "l" * 200 + "/" + "m" * 100, "ünï", "with space"]
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        raw = RawConda()
        for number, name in enumerate(names):
            if form != tarfile.USTAR_FORMAT or len(name) < 200:
                raw.add(name, bytes(number), mode=0o755 if number % 2 else 0o644, mtime=number)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
            for info, data in raw.members:
                archive.addfile(info, io.BytesIO(data))
        path, root = tmp_path / f"{form}.tar.bz2", tmp_path / str(form)
        path.write_bytes(bz2.compress(buffer.getvalue()))
        root.mkdir()
        conda_archive.unpack(path, root)
        for info, data in raw.members:
            found = root / info.name
            assert (found.read_bytes(), int(found.stat().st_mtime)) == (data, info.mtime)
            assert os.access(found, os.X_OK) == bool(info.mode & 0o100)


def test_a_tar_header_that_claims_a_terabyte_is_refused(tmp_path):
    info = tarfile.TarInfo("huge")
    info.size = 1 << 40
    path = tmp_path / "x.tar.bz2"
    path.write_bytes(bz2.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)))
    (tmp_path / "root").mkdir()
    with pytest.raises(Damaged, match="huge is cut off"):
        conda_archive.unpack(path, tmp_path / "root")
