"""Filling a draft prefix: trees linked from their manifests, the prefix's own files, and the mark.

What is the same for every environment comes from the store; what is this environment's own (pyvenv.cfg, activation,
REQUESTED and direct_url.json with the RECORD that lists them) is written here and noted in the mark with its digest.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from blake3 import blake3

from envagent.errors import ArtifactRefused
from envagent.materialize import record, venv
from envagent.materialize.layout import compiled_path, site_packages
from envagent.materialize.link import link_files, make_directories
from envagent.materialize.overlap import find_overlaps
from envagent.materialize.paths import directories
from envagent.materialize.ready import FOLDER, Part, Ready, manifest_path

if TYPE_CHECKING:
    from pathlib import Path

    from envagent.materialize.link import LinkMode
    from envagent.materialize.overlap import Overlaps
    from envagent.materialize.plan import Plan, WheelFile
    from envagent.store.node import Tree


def assemble(
    plan: Plan, draft: Path, place: Path, trees: list[Tree], compiled: list[Tree | None], mode: LinkMode, *, boot: str
) -> Ready:
    """Fill `draft`, which will be renamed to `place`, and mark it. Raises ArtifactRefused; OSError passes."""
    names = [wheel.filename for wheel in plan.wheels]
    overlaps = find_overlaps(names, [tree.manifest for tree in trees])
    links = venv.links(plan.interpreter)
    own = venv.files(plan.interpreter, place)
    _check_reserved(names, trees, {*own, *links, FOLDER})
    for wheel, tree in zip(plan.wheels, trees, strict=True):
        own |= _metadata(wheel, tree, site_packages(plan.interpreter.library))
    _write_own(draft, own, links)
    stale = _stale_bytecode(trees, overlaps, plan.interpreter.cache_tag)
    present = _link(draft, trees, compiled, [lost | own.keys() for lost in overlaps.lost], stale, mode)
    ready = Ready(
        identity=plan.identity,
        boot=boot,
        parts=[Part(name, tree.key, tree.manifest.digest.hex()) for name, tree in zip(names, trees, strict=True)],
        bytecode=[
            Part(name, tree.key, tree.manifest.digest.hex())
            for name, tree in zip(names, compiled, strict=True)
            if tree
        ],
        own={path: blake3(data).hexdigest() for path, data in own.items()},
        links=links,
        absent=sorted(frozenset().union(*stale) - present),
        clobbers=list(overlaps.clobbers),
    )
    _mark(draft, ready, [*trees, *(tree for tree in compiled if tree)], mode)
    return ready


def _check_reserved(names: list[str], trees: list[Tree], reserved: set[str]) -> None:
    for name, tree in zip(names, trees, strict=True):
        manifest = tree.manifest
        taken = reserved.intersection(manifest.paths) | reserved.intersection(manifest.directories)
        for path in sorted(taken):
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


def _write_own(draft: Path, own: dict[str, bytes], links: dict[str, str]) -> None:
    make_directories(draft, [*directories([*own, *links]), *(folder for folder in ("include", "lib"))])
    for path, data in own.items():
        (draft / path).write_bytes(data)
    for path, target in links.items():
        os.symlink(target, draft / path)  # noqa: PTH211  # reads like ln -s


def _stale_bytecode(trees: list[Tree], overlaps: Overlaps, cache_tag: str) -> list[frozenset[str]]:
    """For each tree the bytecode not to link: its source is another wheel's here, or it came in a wheel."""
    shipped = frozenset(path for tree in trees for path in tree.manifest.paths if path.endswith(".pyc"))
    return [
        shipped | {compiled_path(path, cache_tag) for path in lost if path.endswith(".py")} for lost in overlaps.lost
    ]


def _link(
    draft: Path,
    trees: list[Tree],
    compiled: list[Tree | None],
    lost: list[frozenset[str]],
    stale: list[frozenset[str]],
    mode: LinkMode,
) -> set[str]:
    """Link everything; the bytecode that is there then."""
    used = [*trees, *(tree for tree in compiled if tree)]
    make_directories(draft, sorted({folder for tree in used for folder in tree.manifest.directories}))
    present: set[str] = set()
    for tree, skip in zip(trees, lost, strict=True):
        link_files(tree.files, draft, tree.manifest.paths, mode, skip=skip)
    for bytecode, skip in zip(compiled, stale, strict=True):
        if bytecode:
            link_files(bytecode.files, draft, bytecode.manifest.paths, mode, skip=skip)
            present.update(path for path in bytecode.manifest.paths if path not in skip)
    return present


def _mark(draft: Path, ready: Ready, trees: list[Tree], mode: LinkMode) -> None:
    (draft / FOLDER).mkdir()
    for part, tree in zip([*ready.parts, *ready.bytecode], trees, strict=True):
        manifest = manifest_path(draft, part)
        link_files(tree.path, manifest.parent, ["manifest"], mode)
        (manifest.parent / "manifest").rename(manifest)
    ready.write(draft)
