"""Filling a draft prefix: trees linked from their manifests, the prefix's own files, and the mark.

What is the same for every environment comes from the store; what is this environment's own (pyvenv.cfg, activation,
REQUESTED and direct_url.json with the RECORD that lists them; conda's files that name their prefix, and conda-meta)
is written here and noted in the mark with its digest.
"""

from __future__ import annotations

import hashlib
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from envagent.errors import ArtifactRefused
from envagent.lock.model import pypi_name
from envagent.materialize import edits, record, venv
from envagent.materialize.layout import compiled_path, site_packages
from envagent.materialize.link import OVERLAYS, link_file, make_directories, make_links
from envagent.materialize.linkers import Linkers, Lot
from envagent.materialize.overlap import find_overlaps
from envagent.materialize.overlay import hide
from envagent.materialize.paths import directories
from envagent.materialize.ready import FOLDER, Part, Ready, manifest_path
from envagent.materialize.wheel_name import project_of
from envagent.store.claims import above, claim_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from envagent.materialize.link import LinkMode
    from envagent.materialize.overlap import Overlaps
    from envagent.materialize.plan import CondaFile, Plan, WheelFile
    from envagent.store.node import Tree


def assemble(
    plan: Plan,
    draft: Path,
    place: Path,
    trees: list[Tree],
    compiled: list[Tree | None],
    mode: LinkMode,
    *,
    boot: str,
    kept: Path,
) -> Ready:
    """Fill `draft`, which will be renamed to `place`, and mark it. `trees` and `compiled` are in the plan's order.

    `kept` is a directory for what is made once for all prefixes (activate.py).

    Raises ArtifactRefused and PrefixRefused; OSError passes.
    """
    names = [source.filename for source in plan.sources]
    _check_provided(plan, trees)
    overlaps = find_overlaps(names, [tree.manifest for tree in trees])
    own, links = _of_the_prefix(plan, place, kept)
    _check_reserved(names, trees, {*own, *links, FOLDER})
    for wheel, tree in zip(plan.wheels, trees[len(plan.conda) :], strict=True):
        own |= _metadata(wheel, tree, site_packages(plan.library))
    used = [*trees, *(tree for tree in compiled if tree)]
    laid = trees[: len(plan.conda)] if mode in OVERLAYS else used  # in conda's directories the prefix has own files
    with Linkers(draft, mode, files=sum(len(tree.manifest.paths) for tree in laid)) as linkers:
        linkers.make_directories(sorted({folder for tree in laid for folder in tree.manifest.directories}))
        digests = _write_own(plan, draft, own, links)
        digests |= _write_conda_own(plan, draft, place, trees, overlaps)
        left_out = _left_out(plan, trees, overlaps, digests)
        modules = _lots(compiled, left_out.compiled)
        skipped = [lost | digests.keys() | some for lost, some in zip(overlaps.lost, left_out.shipped, strict=True)]
        if mode not in OVERLAYS:
            linkers.link(_lots(trees, skipped) + modules)
            _make_links(draft, trees, skipped)
    absent = left_out.absent(trees, modules)
    if mode in OVERLAYS and absent:
        hide(draft, absent.intersection(path for tree in used for path in tree.manifest.paths))
    ready = Ready(
        identity=plan.identity,
        boot=boot,
        parts=_parts(names, trees),
        bytecode=_parts(names, compiled),
        own=digests,
        links=links,
        absent=sorted(absent),
        clobbers=list(overlaps.clobbers),
        link_scripts=[c.filename for c, tree in zip(plan.conda, trees, strict=False) if _has_link_script(c, tree)],
        layered=mode in OVERLAYS,
        edits=str(edits.directory(place, plan.identity)) if mode == "writable-overlay" else "",
    )
    _mark(draft, ready, used, mode)
    return ready


def _of_the_prefix(plan: Plan, place: Path, kept: Path) -> tuple[dict[str, bytes], dict[str, str]]:
    """The prefix's own files and links, whatever is in it."""
    own = _of_conda(plan)
    if plan.given is None or plan.conda_python:
        return own, {}
    return own | venv.files(plan.given, place, kept), venv.links(plan.given)


def _of_conda(plan: Plan) -> dict[str, bytes]:
    if not plan.conda:
        return {}
    from envagent.materialize import conda_meta  # noqa: PLC0415  # reading packages is slow to import

    return conda_meta.own_files()


def _has_link_script(source: CondaFile, tree: Tree) -> bool:
    """Whether the package wants to run something after it was installed."""
    return f"bin/.{source.package.name}-post-link.sh" in tree.manifest.paths


def _check_provided(plan: Plan, trees: list[Tree]) -> None:
    """Refuse a wheel of a project that a conda package brings: one of the two would be half overwritten."""
    site = f"{site_packages(plan.library)}/"
    provided = {}
    for source, tree in zip(plan.conda, trees, strict=False):
        for path in (*tree.manifest.directories, *tree.manifest.paths):
            name, dot, kind = path.removeprefix(site).rpartition(".")
            if dot and kind in {"dist-info", "egg-info"} and path.startswith(site) and "/" not in name:
                provided[pypi_name(name.partition("-")[0])] = source.filename
    for wheel in plan.wheels:
        if other := provided.get(project_of(wheel.filename)):
            raise ArtifactRefused(
                wheel.filename,
                f"conda's {other} brings this project already",
                hint="lock again: what conda provides is taken as given then",
            )


def _check_reserved(names: list[str], trees: list[Tree], reserved: set[str]) -> None:
    near = reserved.union(map(claim_of, reserved))
    for name, tree in zip(names, trees, strict=True):
        manifest = tree.manifest
        if near.isdisjoint(manifest.claims) and near.isdisjoint(chain.from_iterable(map(above, manifest.claims))):
            continue
        held = chain(manifest.paths, manifest.directories, manifest.links)
        for path in sorted(reserved.intersection(held)):
            raise ArtifactRefused(name, f"it would replace {path}, which belongs to the environment itself")


def _metadata(wheel: WheelFile, tree: Tree, site: str) -> dict[str, bytes]:
    """What a RECORD of this environment lists beyond the store's, and that RECORD."""
    added = {}
    if wheel.requested:
        added["REQUESTED"] = b""
    if wheel.direct_url:
        added["direct_url.json"] = wheel.direct_url.encode()
    if not added:
        return {}
    own = next(path for path in tree.manifest.paths if path.startswith(site) and path.endswith(".dist-info/RECORD"))
    info = own.removesuffix("/RECORD")
    from_site = info.removeprefix(f"{site}/")
    text = record.amended(
        (tree.files / own).read_bytes(), {f"{from_site}/{name}": data for name, data in added.items()}
    )
    return {own: text, **{f"{info}/{name}": data for name, data in added.items()}}


def _write_own(plan: Plan, draft: Path, own: dict[str, bytes], links: dict[str, str]) -> dict[str, str]:
    """The SHA-256 (hexadecimal) of each file, by path."""
    usual = () if plan.conda_python else ("include", "lib")
    make_directories(draft, [*directories([*own, *links]), *usual])
    for path, data in own.items():
        (draft / path).write_bytes(data)
    make_links(draft, links)
    return {path: hashlib.sha256(data).hexdigest() for path, data in own.items()}


def _write_conda_own(plan: Plan, draft: Path, place: Path, trees: list[Tree], overlaps: Overlaps) -> dict[str, str]:
    """The same of what conda's packages, which come first, have of their own in each prefix."""
    if not plan.conda:
        return {}
    from envagent.materialize.conda_own import write_own  # noqa: PLC0415  # as above

    return write_own(plan.conda, trees[: len(plan.conda)], draft, place, overlaps.lost)


class _LeftOut(NamedTuple):
    """Bytecode that does not belong here: `wrong` is that of sources that are not the prefix's.

    `compiled` and `shipped` are, for each package, what not to link of its compiled tree and of what it brought.
    """

    wrong: frozenset[str] = frozenset()
    compiled: Sequence[frozenset[str]] = ()
    shipped: Sequence[frozenset[str]] = ()

    def absent(self, trees: list[Tree], linked: list[Lot]) -> frozenset[str]:
        """What is wrong and not there by way of another package."""
        if not self.wrong:
            return frozenset().union(*self.shipped)
        brought = (tree.manifest.compiled for tree in trees)
        return self.wrong.difference(*brought, *(lot.paths for lot in linked)).union(*self.shipped)


def _left_out(plan: Plan, trees: list[Tree], overlaps: Overlaps, own: Iterable[str]) -> _LeftOut:
    """What is no bytecode of the source that is there: that is another package's, or names the prefix."""
    nothing = [frozenset[str]()] * len(trees)
    if not plan.library:
        return _LeftOut(compiled=nothing, shipped=nothing)
    tag = plan.interpreter.cache_tag
    replaced = frozenset(compiled_path(path, tag) for path in own if path.endswith(".py"))
    others = [frozenset(compiled_path(path, tag) for path in lost if path.endswith(".py")) for lost in overlaps.lost]
    shipped = [frozenset(tree.manifest.compiled) for tree in trees]
    everywhere = replaced.union(*shipped)  # one set for most of hundreds of packages
    return _LeftOut(
        wrong=replaced.union(*others),
        compiled=[everywhere | some if some else everywhere for some in others],
        shipped=[
            ((replaced | some) & mine) - lost for some, mine, lost in zip(others, shipped, overlaps.lost, strict=True)
        ],
    )


def _lots(trees: Sequence[Tree | None], skipped: Sequence[frozenset[str]]) -> list[Lot]:
    """What to link of each tree: all its files but those to skip."""
    return [
        Lot(tree.files, [path for path in tree.manifest.paths if path not in skip])
        for tree, skip in zip(trees, skipped, strict=True)
        if tree
    ]


def _make_links(draft: Path, trees: list[Tree], skipped: list[frozenset[str]]) -> None:
    for tree, skip in zip(trees, skipped, strict=True):
        make_links(draft, {path: target for path, target in tree.manifest.links.items() if path not in skip})


def _parts(names: list[str], trees: list[Tree] | list[Tree | None]) -> list[Part]:
    return [Part(name, tree.key, tree.manifest.digest.hex()) for name, tree in zip(names, trees, strict=True) if tree]


def _mark(draft: Path, ready: Ready, trees: list[Tree], mode: LinkMode) -> None:
    (draft / FOLDER).mkdir()
    for part, tree in zip([*ready.parts, *ready.bytecode], trees, strict=True):
        link_file(str(tree.manifest_path), str(manifest_path(draft, part)), mode)
    ready.write(draft)
