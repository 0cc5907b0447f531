"""Questions of an agent travel on several connections: the directory believes the latest, not the last to arrive."""

from __future__ import annotations

from random import Random

from envproxy.swarm.directory import Key, Node, Rules
from envproxy.swarm.layout import Layout
from envproxy.swarm.local import LocalDirectory
from envproxy.swarm.messages import Want
from envproxy.swarm.report import SwarmReporter

SHA = "ab" * 32
KEY = Key(SHA, "")
LAYOUT = Layout.of(1000)


def want(node: str, serial: int, *, held: bytes = b"", moving: bytes = b"", count: int = 1) -> Want:
    path = "/files/demo/a.bin"
    return Want(
        node=node, epoch=1, directory="", sha256=SHA, path=path, held=held, moving=moving, count=count, serial=serial
    )


async def test_a_question_that_was_overtaken_on_its_way_changes_nothing() -> None:
    now = 1000.0
    directory = LocalDirectory(
        Rules(settle_s=0.0), clock=lambda: now, random=Random(1), ring=lambda _: None, reporter=SwarmReporter()
    )
    for name in ("first", "second"):
        await directory.join(Node(name, 1, f"http://{name}.example.org", "", "default", 8))

    async def ask(asked: Want) -> tuple[list[int], list[int]]:
        found = await directory.assign(KEY, asked, LAYOUT, LAYOUT.all, tenant="default")
        assert found is not None
        return list(found.leases), [offer.piece for offer in found.offers]

    assert await ask(want("first", 1)) == ([0], [])
    assert await ask(want("first", 3, held=b"\1", count=0)) == ([], [])
    assert await ask(want("first", 2, moving=b"\1")) == ([], [])
    assert await ask(want("second", 1)) == ([], [0])
