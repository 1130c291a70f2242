# SPDX-License-Identifier: Apache-2.0
"""Damaged checkpoints through the whole of `braid train`: named, passed over for an older one, never loaded nor lost.
(500 places of damage and who opens the files: tests/store/checkpoint_damage_test.cpp.)"""

import os
import random
import shutil
import struct

import pytest
from fault_run import assert_rows_once, checkpoint, events, names_in, steps_of, table, train
from shard_file import crc32c

DAMAGES = 20
SEED = int(os.environ.get("BRAID_DAMAGE_SEED", random.SystemRandom().randrange(10**6)))


def damage(chance, folder):
    """One flipped bit or a cut anywhere in one of the files; returns its path and what was done."""
    path = chance.choice(sorted(folder.iterdir()))
    content = bytearray(path.read_bytes())
    at, bit = chance.randrange(len(content)), chance.randrange(8)
    if chance.random() < 0.2:
        path.write_bytes(content[:at])
        return path, f"cut to {at} bytes"
    content[at] ^= 1 << bit
    path.write_bytes(content)
    return path, f"bit {bit} of byte {at} flipped"


def seal_anew(path, version):
    """As a newer program would write it: bytes 16 to 19 are the version, 508 to 511 the seal's own digest."""
    content = bytearray(path.read_bytes())
    content[16:20] = struct.pack("<I", version)
    content[508:512] = struct.pack("<I", crc32c(content[:508]))
    path.write_bytes(content)


@pytest.fixture
def out(tmp_path, unbroken):
    shutil.copytree(unbroken(), tmp_path / "run")
    return tmp_path / "run"


def test_an_older_checkpoint_is_used_and_the_broken_one_kept(tmp_path, unbroken, capsys):
    chance = random.Random(SEED)
    for number in range(DAMAGES):
        out = tmp_path / f"run-{number}"
        shutil.copytree(unbroken(), out)
        path, what = damage(chance, checkpoint(out, 20))
        said = train(out, "train.steps=21")
        context = f"BRAID_DAMAGE_SEED={SEED}, damage {number}: {path.name}: {what}\n{said}"
        (message,) = events(out, "checkpoint_skipped")
        assert str(path)[:150] in message and f"warning: checkpoint skipped: {path}: " in said, context
        assert f"resumed: from {checkpoint(out, 16)} on 1 rank" in said, context
        assert "step-00000020.broken-1" in names_in(out) and steps_of(out)[-2:] == [20, 21], context
        assert table(out, "train")["loss"][:20].tobytes() == table(unbroken(), "train")["loss"].tobytes(), context
        shutil.rmtree(out)
    with capsys.disabled():
        print(f"\n{DAMAGES} damaged checkpoints, seed {SEED}")


def test_each_rank_checks_its_share(tmp_path, unbroken):
    """The damage lies in the share of the second of two ranks."""
    out = tmp_path / "run"
    shutil.copytree(unbroken(ranks=2), out)
    path = checkpoint(out, 20) / "shard-001-of-002.h5"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    said = train(out, "train.steps=21", ranks=2)
    assert f"checkpoint skipped: {path}: damaged: its CRC-32C is not the one that was written" in said
    assert f"resumed: from {checkpoint(out, 16)} on 2 ranks" in said


def test_several_are_passed_over_until_one_verifies(out, unbroken):
    chance = random.Random(1)
    for step in (20, 16, 12):
        damage(chance, checkpoint(out, step))
    (checkpoint(out, 8) / "manifest.h5").unlink()
    train(out, "train.steps=21")
    assert len(events(out, "checkpoint_skipped")) == 4
    assert table(out, "train")["loss"][:20].tobytes() == table(unbroken(), "train")["loss"].tobytes()
    aside = [f"step-{step:08d}.broken-1" for step in (8, 12, 16, 20)]
    assert [name for name in names_in(out) if "broken" in name] == aside


def test_without_any_that_verifies_the_run_begins_anew(out, unbroken):
    chance = random.Random(2)
    for step in steps_of(out):
        damage(chance, checkpoint(out, step))
    said = train(out, "train.steps=21")
    assert "restarted: no checkpoint: from step 0" in said
    assert len(events(out, "checkpoint_skipped")) == 5
    assert_rows_once(out, 21, sessions=2)
    assert table(out, "train")["loss"][:20].tobytes() == table(unbroken(), "train")["loss"].tobytes()


def test_a_broken_one_never_costs_a_good_one_its_place(out):
    """With two to keep, the newest that verifies stays until two newer ones are known to be good."""
    damage(random.Random(3), checkpoint(out, 20))
    train(out, "train.steps=23", "checkpoint.keep=2", "checkpoint.every=22", "checkpoint.at_end=false")
    assert 16 in steps_of(out) and 22 in steps_of(out)


def test_one_asked_for_by_name_is_not_replaced_by_another(out):
    path, _ = damage(random.Random(4), checkpoint(out, 12))
    before = names_in(out)
    said = train(out, options=["--resume", checkpoint(out, 12)], code=1)
    assert f"{path}: " in said and names_in(out) == before


@pytest.mark.parametrize("name", ["manifest.h5", "shard-000-of-001.h5"])
def test_a_newer_version_is_not_passed_over_but_named(out, name):
    """Going back to an older checkpoint because the program is old would throw away work."""
    path = checkpoint(out, 20) / name
    seal_anew(path, 2)
    before = names_in(out), (out / "run.h5").read_bytes()
    said = train(out, "train.steps=21", code=2)
    assert f"{path}: format_version 2 is newer than this program's 1" in said
    assert len([line for line in said.splitlines() if line.strip()]) == 1
    assert (names_in(out), (out / "run.h5").read_bytes()) == before


def test_what_killed_starts_and_saves_left_is_removed(out):
    shutil.copytree(checkpoint(out, 8), out / "checkpoints" / "step-00000024.tmp")
    left = [out / "run.h5.new", out / "config.toml.new", out / ".shared-123-4"]
    for path in left:
        path.write_bytes(b"half")
    train(out, "train.steps=21", ranks=2)
    assert "step-00000024.tmp" not in names_in(out) and not any(path.exists() for path in left)
    assert events(out, "resumed")[0].startswith(f"from {checkpoint(out, 20)}")


def test_a_run_file_that_cannot_be_read_is_kept_and_the_run_goes_on(out, unbroken):
    (out / "run.h5").write_bytes(b"not what it was")
    said = train(out, "train.steps=22")
    assert "kept as run.h5.unreadable-1" in said and (out / "run.h5.unreadable-1").read_bytes() == b"not what it was"
    assert list(table(out, "train")["step"]) == [20, 21]
    assert steps_of(out)[-1] == 22
