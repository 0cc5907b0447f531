"""Many small artifacts on eight nodes at once: how long one takes from the node, beside plain HTTP from the proxy.

A small artifact is one piece, which no swarm brings faster than a proxy that is near; what it may cost is measured
here, and how many copies leave the proxy. Clients take one file after the other over one connection, in orders of
their own, as installers do; the links are those of `bench.swarm`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from itertools import chain
from random import Random
from statistics import median

from envproxy.swarm.directory import Rules
from fixtures.namespaces import Refused, network
from fixtures.site import Site, path_of, site_with, weights

from .compare import Finding, Measure, Target, worst
from .plan import Plan, Result
from .swarm import AS_SHIPPED, ORIGIN, SETTINGS

NODES = 8
MBIT = 100
FILES = 1000
TIMES_HTTP = Target(2.0, at_least=False)
CLIENT = """
import hashlib, http.client, json, sys, time
host, paths = sys.argv[1], json.load(sys.stdin)
line = http.client.HTTPConnection(host)
seconds = []
for path, sha256 in paths:
    began = time.perf_counter()
    line.request("GET", path)
    assert hashlib.sha256(line.getresponse().read()).hexdigest() == sha256
    seconds.append(time.perf_counter() - began)
print(json.dumps(seconds))
"""


async def measure(plan: Plan) -> Result:
    """By the swarm, then from the proxy, as often as there are rounds."""
    result = Result(f"small artifacts on {NODES} nodes at once")
    files = FILES // 10 if plan.quick else FILES
    try:
        rounds = [await _round(plan, files) for _ in range(plan.rounds)]
    except Refused as refused:
        result.notes.append(f"not measured: {refused}")
        return result
    swarm, direct, origin = zip(*rounds, strict=True)
    for what, of, target in (("the median", median, TIMES_HTTP), ("the slowest", max, None)):
        ours, theirs = tuple(map(of, swarm)), tuple(map(of, direct))
        result.findings.append(
            Finding(f"{what} file", "s", ours, theirs, "plain HTTP", measure=Measure.RATIO, target=target)
        )
    result.findings.append(worst("copies that left the proxy", "x", origin, ORIGIN))
    result.notes.append(f"{files} wheels of 10 to 300 kB, links of {MBIT} Mbit/s")
    return result


async def _round(plan: Plan, files: int) -> tuple[list[float], list[float], float]:
    """Seconds of all files by the swarm and from the proxy, and the copies that left the proxy for the swarm."""
    sizes = Random(11)
    dists = [weights(f"small{number}", sizes.randrange(10_000, 300_000)) for number in range(files)]
    with network(NODES + 1, mbit=MBIT) as net:
        async with site_with(plan.place("swarm-small"), net, dists, AS_SHIPPED, SETTINGS) as here:
            await asyncio.sleep(Rules().settle_s)
            swarm = await asyncio.gather(*(_seconds(here, node, "127.0.0.1:8418") for node in range(NODES)))
            origin = await here.origin_ratio()
            proxy = here.proxy.url.removeprefix("http://")
            direct = await asyncio.gather(*(_seconds(here, node, proxy) for node in range(NODES)))
    return list(chain(*swarm)), list(chain(*direct)), origin


async def _seconds(here: Site, node: int, host: str) -> list[float]:
    """How long each file took a client on the machine of a node."""
    paths = [(path_of(dist), dist.sha256) for dist in here.dists]
    Random(node).shuffle(paths)
    process = await asyncio.create_subprocess_exec(
        *here.net.inside(node + 1), sys.executable, "-c", CLIENT, host,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await process.communicate(json.dumps(paths).encode())
    if process.returncode:
        raise RuntimeError(f"a client of node {node} failed")
    found: list[float] = json.loads(said)
    return found
