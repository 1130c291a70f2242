# SPDX-License-Identifier: Apache-2.0
"""The arrows between the folders of src/, held against the #include lines: static libraries would let a wrong one link."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"


def declared_arrows():
    """folder -> the folders it may include, from the braid_module lines of src/CMakeLists.txt, followed to their ends."""
    text = (SOURCE / "CMakeLists.txt").read_text()
    direct = {}
    for name, rest in re.findall(r"^braid_module\((\w+)([^)]*)\)", text, re.M):
        direct[name] = set(re.findall(r"\bbraid_(\w+)", rest)) - {"hdf5"}
    closed = {}
    for name in direct:
        reach, todo = set(), list(direct[name])
        while todo:
            other = todo.pop()
            if other not in reach:
                reach.add(other)
                todo.extend(direct.get(other, ()))
        closed[name] = reach
    closed["cli"] = set(direct)
    return closed


def included_folders(path):
    return set(re.findall(r'^\s*#include "(\w+)/', path.read_text(), re.M))


def sources(folder):
    return [p for p in (SOURCE / folder).rglob("*") if p.suffix in {".h", ".cpp", ".cu", ".cuh", ".inl"}]


def test_every_folder_with_sources_is_declared():
    present = {p.name for p in SOURCE.iterdir() if p.is_dir() and sources(p.name)}
    assert present == set(declared_arrows())


def test_includes_follow_the_arrows():
    arrows = declared_arrows()
    wrong = [
        f"{path.relative_to(ROOT)} includes {other}/"
        for folder, allowed in arrows.items()
        for path in sources(folder)
        for other in included_folders(path) - allowed - {folder}
        if other in arrows
    ]
    assert not wrong, "\n".join(wrong)


def test_arrows_have_no_cycle():
    arrows = declared_arrows()
    assert [f for f, reach in arrows.items() if f in reach] == []


def test_store_knows_nothing_of_mpi_and_nn_nothing_of_ranks():
    arrows = declared_arrows()
    assert "comm" not in arrows["store"]
    assert "comm" not in arrows["nn"]
    for path in sources("store"):
        assert "mpi.h" not in path.read_text(), path


def test_the_architecture_page_names_every_folder():
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert [f for f in declared_arrows() if f"`{f}" not in page] == []
