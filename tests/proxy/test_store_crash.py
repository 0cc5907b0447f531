"""A process killed at any byte leaves a store that is right."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from pathlib import Path

import pytest

from envproxy.engine.store import BlobStore

WRITES_FOR_EVER = """
import os, sys
from pathlib import Path
from envproxy.engine.store import BlobStore

store = BlobStore(Path(sys.argv[1]))
store.prepare()
while True:
    partial = store.create_partial()
    for _ in range(8):
        partial.append(os.urandom(20_000))
    print(partial.commit(None), flush=True)
    partial.close()
"""

KILLED_AT_STEP = """
import os, signal, sys
from pathlib import Path
from envproxy.engine.store import BlobStore

store, step = BlobStore(Path(sys.argv[1])), int(sys.argv[2])
store.prepare()
done = 0

def counted(call):
    def run(*arguments):
        global done
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)
        done += 1
        return call(*arguments)
    return run

os.pwrite, os.fsync, os.rename, os.replace = map(counted, (os.pwrite, os.fsync, os.rename, os.replace))
partial = store.create_partial()
partial.append(b"first half, ")
partial.append(b"second half")
partial.commit(None)
"""
WHOLE = b"first half, second half"


def assert_right(root: Path) -> set[str]:
    """Every visible blob is what its name says, and the next start sweeps the rest."""
    store = BlobStore(root)
    store.prepare()
    names = {blob.sha256 for blob in store.walk()}
    for name in names:
        assert hashlib.sha256(store.path(name).read_bytes()).hexdigest() == name
    assert list((root / "partial").iterdir()) == []
    return names


def test_kills_at_random_moments_leave_only_right_blobs(tmp_path: Path) -> None:
    chance = random.Random(658)
    committed: set[str] = set()
    for _ in range(12):
        with subprocess.Popen([sys.executable, "-c", WRITES_FOR_EVER, tmp_path], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for _ in range(chance.randrange(1, 12)):
                committed.add(writer.stdout.readline().decode().strip())
            for _ in range(chance.randrange(20_000)):  # spreads the kill over the next write
                pass
            writer.kill()
            committed.update(line.decode().strip() for line in writer.stdout if line.endswith(b"\n"))
        assert committed <= assert_right(tmp_path)


@pytest.mark.parametrize(
    ("step", "visible"),
    [(0, False), (1, False), (2, False), (3, False), (4, True)],
    ids=["before any byte", "half written", "before the sync", "before the rename", "before the directory sync"],
)
def test_a_kill_between_two_system_calls_shows_the_whole_blob_or_nothing(
    tmp_path: Path, step: int, visible: bool
) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED_AT_STEP, tmp_path, str(step)], check=False)
    assert killed.returncode == -9
    assert assert_right(tmp_path) == ({hashlib.sha256(WHOLE).hexdigest()} if visible else set())
