# SPDX-License-Identifier: Apache-2.0
"""braid checkpoint: inspect, verify, diff, export and import, on checkpoints of runs on one and two ranks."""

import json
import re
import shutil

import h5py
import numpy as np
import pytest
import torch
from cli_run import DEMO, SMALL, braid, one_line, sets
from safetensors import safe_open
from safetensors.torch import load_file, save_file

STEPS = 4
CONFIG = [*SMALL, f"train.steps={STEPS}", "checkpoint.every=2", "checkpoint.keep=3"]
SEAL = 512


def checkpoint(*arguments):
    return braid("checkpoint", *arguments)


def train(out, *arguments, settings=(), ranks=0):
    done = braid("train", DEMO, "--out", out, "--device", "cpu", *sets([*CONFIG, *settings]), *arguments, ranks=ranks)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """one and again: the same run on one rank; two: on two ranks; moved: the end of one, stored by two ranks."""
    root = tmp_path_factory.mktemp("checkpoints")
    train(root / "one")
    train(root / "again")
    train(root / "two", ranks=2)
    train(root / "moved", "--resume", root / "one", settings=["train.nonfinite=rewind"], ranks=2)  # saves where it begins
    return root


def folder(run, step=STEPS):
    return run / "checkpoints" / f"step-{step:08}"


def views(path):
    """name -> whole tensor, as h5py shows it."""
    found = {}
    with h5py.File(path / "manifest.h5", "r") as f:
        f["view"].visititems(lambda name, item: found.update({name: item[...]}) if isinstance(item, h5py.Dataset) else None)
    return found


def crc32c(content):
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    crc = 0xFFFFFFFF
    for byte in content:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def seal(path, version=1):
    """Makes a changed file look as if it had been written so, by a program of that version."""
    content = bytearray(path.read_bytes())
    content[16:20] = version.to_bytes(4, "little")
    content[24:32] = len(content).to_bytes(8, "little")
    content[32:36] = crc32c(content[SEAL:]).to_bytes(4, "little")
    content[508:512] = crc32c(content[:508]).to_bytes(4, "little")
    path.write_bytes(content)


@pytest.fixture
def copy(runs, tmp_path):
    """A run's folder that a test may damage."""
    return lambda name: shutil.copytree(runs / name, tmp_path / name)


def test_inspect_shows_the_newest_of_a_run(runs):
    done = checkpoint("inspect", runs / "two")
    assert done.returncode == 0 and done.stderr == ""
    head, _, tensors = done.stdout.partition("\n\n")
    with h5py.File(folder(runs / "two") / "manifest.h5", "r") as f:
        attributes = dict(f.attrs)
    facts = dict(re.split(r"  +", line.strip(), maxsplit=1) for line in head.splitlines() if line != "state")
    assert facts["checkpoint"] == str(folder(runs / "two")) and facts["step"] == str(STEPS)
    assert facts["run"] == attributes["run_id"].decode() and facts["created"] == attributes["created_utc"].decode()
    assert facts["commit"].startswith(attributes["git_commit"].decode()) and facts["world size"] == "2"
    assert facts["shards"].startswith("2 files, ") and facts["next_sample"] == "16" and facts["skipped samples"] == "none"
    rows = [line.split() for line in tensors.splitlines()]
    shapes = {name: values.shape for name, values in views(folder(runs / "two")).items()}
    assert {row[0]: row[1:3] for row in rows[1:-1] if row[2] != "[]"} == {
        name: ["float32", str(list(shape)).replace(" ", "")] for name, shape in shapes.items()
    }
    elements = sum(int(row[3]) for row in rows[1:-1])
    assert rows[-1] == [str(len(rows) - 2), "tensors", str(elements), str(4 * elements)]
    assert {row[5] for row in rows[1:-1]} == {"0", "1", "0-1"} and len({len(line.split()[0]) for line in tensors.splitlines()[1:]}) > 1


def test_inspect_takes_a_step_a_pattern_and_speaks_json(runs):
    done = json.loads(checkpoint("inspect", runs / "one", "--step", "2", "--json", "--tensors", "model/*").stdout)
    assert (done["path"], done["step"], done["state"]["optimizer_updates"]) == (str(folder(runs / "one", 2)), 2, 2)
    assert done["state"]["skipped_first"] == [] and len(done["state"]["recent_losses"]) == 2
    assert "[model]" in done["attributes"]["config"] and done["attributes"]["world_size"] == 1
    assert all(tensor["name"].startswith("model/") and tensor["shards"] == [0] for tensor in done["tensors"])
    names = {tensor["name"] for tensor in json.loads(checkpoint("inspect", folder(runs / "one"), "--json").stdout)["tensors"]}
    assert {name.split("/")[0] for name in names} == {"model", "optim"}
    assert "no tensor has such a name" in one_line(checkpoint("inspect", runs / "one", "--tensors", "xyz*"), 2)


def test_verify_reads_every_file_of_every_checkpoint(runs, copy):
    run = copy("two")
    (run / "checkpoints/step-00000009.tmp").mkdir()
    (run / "checkpoints/step-00000002.broken-1").mkdir()
    done = checkpoint("verify", run, folder(runs / "one"))
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    whole = [line.split(": whole, ")[0].rsplit("/", 2)[1:] for line in lines if ": whole, " in line and line.endswith(" GiB/s")]
    shards = ["manifest.h5", "shard-000-of-002.h5", "shard-001-of-002.h5"]
    expected = [[f"step-{step:08}", file] for step in (4, 2) for file in shards]
    assert whole == [*expected, ["step-00000004", "manifest.h5"], ["step-00000004", "shard-000-of-001.h5"]]
    assert sum("not looked at" in line for line in lines) == 2 and "a save that has not ended" in done.stdout
    assert lines[-1] == "3 checkpoints, 8 files: all whole"


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 16
    path.write_bytes(content)


def test_verify_names_the_damaged_file_and_tensor_and_reads_on(copy):
    run = copy("two")
    shard = folder(run) / "shard-001-of-002.h5"
    with h5py.File(shard, "r") as f:
        names = []
        f.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        name = names[3]
        offset = f[name].id.get_offset()
    flip(shard, offset + 5)
    done = checkpoint("verify", run)
    assert one_line(done, 1) == f"braid: {shard}: damaged: the CRC-32C of tensor {name} does not fit"
    assert done.stdout.count(": whole, ") == 5 and done.stdout.endswith("2 checkpoints, 6 files: 1 damaged, 0 of a newer version\n")
    flip(shard, offset + 5)
    assert checkpoint("verify", run).returncode == 0
    flip(shard, SEAL + 9)
    assert one_line(checkpoint("verify", run), 1).startswith(f"braid: {shard}: damaged outside of its tensors")


def test_verify_finds_what_is_missing_cut_or_exchanged(copy, runs):
    run = copy("two")
    manifest, first, second = (folder(run) / name for name in ("manifest.h5", "shard-000-of-002.h5", "shard-001-of-002.h5"))
    content = first.read_bytes()
    first.write_bytes(content[:-1])
    assert f"{first}: damaged: {len(content) - 1} bytes long" in one_line(checkpoint("verify", run), 1)
    first.write_bytes((folder(run, 2) / first.name).read_bytes())
    assert one_line(checkpoint("verify", run), 1) == f"braid: {first}: not the shard that the manifest was written for"
    first.unlink()
    assert f"{first}: cannot be opened" in one_line(checkpoint("verify", run), 1)
    first.write_bytes(content)
    flip(manifest, 600)
    assert f"{manifest}: damaged" in one_line(checkpoint("verify", run), 1)
    flip(second, 600)
    lines = checkpoint("verify", run).stderr.splitlines()
    assert len(lines) == 2 and str(manifest) in lines[0] and str(second) in lines[1]
    manifest.unlink()
    assert f"{manifest}: cannot be opened" in checkpoint("verify", folder(run)).stderr


def test_a_newer_version_is_one_line_that_names_both(copy, tmp_path):
    run = copy("one")
    seal(folder(run) / "manifest.h5", version=7)
    expected = f"braid: {folder(run)}/manifest.h5: format_version 7 is newer than this program's 1"
    for words in (["inspect", run], ["diff", run, run], ["export", run, "--out", tmp_path / "x"], ["verify", run]):
        assert one_line(checkpoint(*words), 2) == expected
    flip(folder(run, 2) / "manifest.h5", 700)
    assert checkpoint("verify", run).returncode == 1


def test_a_damaged_checkpoint_is_neither_compared_nor_exported(copy, runs, tmp_path):
    run = copy("one")
    flip(folder(run) / "shard-000-of-001.h5", 5000)
    for words in (["diff", runs / "one", run], ["export", run, "--out", tmp_path / "x"]):
        assert "damaged" in one_line(checkpoint(*words), 1)
    assert not (tmp_path / "x").exists()


def test_equal_checkpoints_have_no_difference(runs):
    done = checkpoint("diff", runs / "one", runs / "again")
    assert done.returncode == 0 and done.stderr == "", done.stdout
    a, b, summary = done.stdout.splitlines()
    assert (a, b) == (f"A  {folder(runs / 'one')}", f"B  {folder(runs / 'again')}")
    assert re.fullmatch(r"\d+ tensors of \d+ elements compared: 0 differ", summary)


def test_a_checkpoint_stored_by_another_number_of_ranks_is_the_same(runs):
    done = checkpoint("diff", runs / "one", runs / "moved")
    assert done.returncode == 1 and done.stderr == ""
    assert [line for line in done.stdout.splitlines()[2:-1]] == ['config  train.nonfinite "apply" -> "rewind"']
    assert checkpoint("diff", runs / "one", runs / "moved", "--tensors", "*").returncode == 0


def table(text):
    return {cells[0]: cells[1:] for cells in (line.split() for line in text.splitlines()) if len(cells) == 6 and "/" in cells[0]}


def test_differences_are_counted_and_measured(runs):
    done = checkpoint("diff", folder(runs / "one", 2), runs / "one")
    assert done.returncode == 1
    assert "state   optimizer_updates 2 -> 4\n" in done.stdout and "elapsed_seconds" not in done.stdout
    rows, a, b = table(done.stdout), views(folder(runs / "one", 2)), views(folder(runs / "one"))
    assert set(rows) == {name for name in a if not np.array_equal(a[name], b[name])}
    for name, (elements, differ, absolute, relative, not_finite) in rows.items():
        x, y = a[name].astype(np.float64), b[name].astype(np.float64)
        distance, size = np.abs(x - y), np.maximum(np.abs(x), np.abs(y))
        assert (int(elements), int(differ), not_finite) == (x.size, np.count_nonzero(x != y), "0")
        assert float(absolute) == pytest.approx(distance.max(), rel=1e-5)
        assert float(relative) == pytest.approx((distance[size > 0] / size[size > 0]).max(), rel=1e-5)


def test_two_ranks_differ_from_one_by_rounding(runs):
    rows = table(checkpoint("diff", runs / "one", runs / "two", "--tensors", "model/*.weight").stdout)
    assert rows and all(float(row[2]) < 1e-5 for row in rows.values())


def save_and_import(tensors, tmp_path, name, *arguments):
    save_file(tensors, tmp_path / f"{name}.safetensors")
    done = checkpoint("import", tmp_path / f"{name}.safetensors", "--out", tmp_path / name, *arguments)
    assert done.returncode == 0, done.stderr
    return tmp_path / name


def test_types_shapes_missing_tensors_and_nan_are_told_apart(tmp_path):
    common = {"same": torch.ones(3), "nan": torch.tensor([1.0, float("nan"), 2.0]), "shape": torch.ones(2, 3)}
    a = save_and_import(common | {"a": torch.ones(1), "type": torch.tensor([0.5, 2])}, tmp_path, "a")
    changed = {"nan": torch.tensor([float("nan"), float("nan"), 2.5]), "shape": torch.ones(3, 2)}
    b = save_and_import(common | changed | {"b": torch.ones(1), "type": torch.tensor([0.5, 2], dtype=torch.bfloat16)}, tmp_path, "b")
    done = checkpoint("diff", a, b)
    assert done.returncode == 1
    lines = done.stdout.splitlines()[2:]
    assert lines[:4] == ["only in A  model/a", "only in B  model/b", "shape   model/shape [2,3] -> [3,2]", "type    model/type float32 -> bfloat16"]
    assert table(done.stdout) == {"model/nan": ["3", "2", "0.5", "0.2", "1"]}
    assert lines[-1] == "4 tensors of 14 elements compared: 3 differ"
    assert checkpoint("diff", a, b, "--tensors", "model/same").returncode == 0


def test_export_is_what_h5py_shows(runs, tmp_path):
    out = tmp_path / "model.safetensors"
    done = checkpoint("export", runs / "two", "--out", out)
    assert done.returncode == 0, done.stderr
    shown = views(folder(runs / "two"))
    exported = load_file(out)
    scalars = {name for name, tensor in exported.items() if tensor.ndim == 0}  # have no view
    assert {f"model/{name}" for name in set(exported) - scalars} == {name for name in shown if name.startswith("model/")}
    for name in set(exported) - scalars:
        assert np.array_equal(exported[name].numpy(), shown[f"model/{name}"]), name
    with safe_open(out, "pt") as file, h5py.File(folder(runs / "two") / "manifest.h5", "r") as f:
        texts = {name: f.attrs[name].decode() for name in ("run_id", "config")}
        assert file.metadata() == {"format": "braid", "step": str(STEPS), **texts}


def test_export_of_all_and_of_a_prefix(runs, tmp_path):
    assert checkpoint("export", runs / "one", "--out", tmp_path / "all", "--all", "--step", "2").returncode == 0
    assert checkpoint("export", runs / "one", "--out", tmp_path / "moments", "--prefix", "optim/exp_avg/").returncode == 0
    assert {name.split("/")[0] for name in load_file(tmp_path / "all")} == {"model", "optim"}
    moments, shown = load_file(tmp_path / "moments"), views(folder(runs / "one"))
    assert moments and all(np.array_equal(value.numpy(), shown[f"optim/exp_avg/{name}"]) for name, value in moments.items() if value.ndim)
    assert "'nothing/'" in one_line(checkpoint("export", runs / "one", "--out", tmp_path / "x", "--prefix", "nothing/"), 2)


def test_export_rounds_to_bf16_as_torch_does_and_back(runs, tmp_path):
    assert checkpoint("export", runs / "one", "--out", tmp_path / "wide").returncode == 0
    assert checkpoint("export", runs / "one", "--out", tmp_path / "narrow", "--dtype", "bf16").returncode == 0
    wide, narrow = load_file(tmp_path / "wide"), load_file(tmp_path / "narrow")
    assert set(wide) == set(narrow)
    assert all(narrow[name].dtype == torch.bfloat16 and torch.equal(narrow[name], wide[name].bfloat16()) for name in wide)
    imported = save_and_import(narrow, tmp_path, "back")
    assert checkpoint("export", imported, "--out", tmp_path / "again", "--dtype", "fp32").returncode == 0
    again = load_file(tmp_path / "again")
    assert all(torch.equal(again[name], narrow[name].float()) and again[name].dtype == torch.float32 for name in wide)


def test_imported_bf16_tensors_are_numbers_in_h5py(tmp_path):
    tensors = {"a.weight": torch.randn(7, 5).bfloat16(), "h": torch.randn(4).half(), "n": torch.arange(6, dtype=torch.int64)}
    shown = views(save_and_import(tensors, tmp_path, "made", "--prefix", "model/part/"))
    assert set(shown) == {"model/part/a.weight", "model/part/h", "model/part/n"}
    for name, tensor in tensors.items():
        assert np.array_equal(shown[f"model/part/{name}"].astype(np.float64), tensor.double().numpy()), name
    assert checkpoint("verify", tmp_path / "made").returncode == 0
    shown = checkpoint("inspect", tmp_path / "made").stdout
    assert re.search(rf"^imported from  +{tmp_path}/made.safetensors$", shown, re.M)


def events(run):
    with h5py.File(run / "run.h5", "r", locking=False, swmr=True) as f:
        return [(row["kind"].decode(), row["message"].decode()) for row in f["events"][:]]


@pytest.mark.parametrize("dtype, ranks", [("fp32", 0), ("bf16", 2)])
def test_a_run_begins_with_imported_weights_and_a_fresh_optimiser(runs, tmp_path, dtype, ranks):
    assert checkpoint("export", runs / "one", "--out", tmp_path / "w", "--dtype", dtype).returncode == 0
    assert checkpoint("import", tmp_path / "w", "--out", tmp_path / "start").returncode == 0
    still = ["optim.learning_rate=0"]
    done = train(tmp_path / "run", "--resume", tmp_path / "start", settings=still, ranks=ranks)
    message = f"weights of {tmp_path}/w: the optimiser starts with zeros, after 0 updates"
    assert ("optimizer_fresh", message) in events(tmp_path / "run") and message in done.stdout + done.stderr
    compared = checkpoint("diff", tmp_path / "start", tmp_path / "run", "--tensors", "model/*").stdout
    assert table(compared) == {} and "only in" not in compared
    state = json.loads(checkpoint("inspect", tmp_path / "run", "--json").stdout)["state"]
    assert state["optimizer_updates"] == STEPS and state["next_sample"] == 16
    assert not any(kind == "optimizer_fresh" for kind, _ in events(runs / "moved"))


def test_weights_that_do_not_fit_the_model_are_named(runs, tmp_path):
    assert checkpoint("export", runs / "one", "--out", tmp_path / "w").returncode == 0
    weights = load_file(tmp_path / "w")
    name = sorted(weights)[0]
    missing = save_and_import({key: value for key, value in weights.items() if key != name}, tmp_path, "missing")
    more = save_and_import(weights | {"layers.99.extra": torch.ones(3)}, tmp_path, "more")
    shape = save_and_import(weights | {name: torch.ones(3, 3)}, tmp_path, "shape")
    wide = save_and_import(weights | {name: weights[name].double()}, tmp_path, "wide")

    def refusal(start):
        return braid("train", DEMO, "--out", tmp_path / f"run-{start.name}", "--device", "cpu", *sets(CONFIG), "--resume", start)

    assert f"{missing}: has no tensor model/{name}" in refusal(missing).stderr and refusal(missing).returncode in (1, 2)
    done = refusal(more)
    assert done.returncode == 2 and "imported tensor model/layers.99.extra [3] has no place in this model" in done.stderr
    assert f"tensor model/{name} is float32 [3,3], expected" in refusal(shape).stderr
    assert f"tensor model/{name} is float64" in refusal(wide).stderr


def test_a_checkpoint_that_lost_its_optimiser_is_not_taken_for_an_imported_one(runs, tmp_path):
    assert checkpoint("export", runs / "one", "--out", tmp_path / "w").returncode == 0
    assert checkpoint("import", tmp_path / "w", "--out", tmp_path / "start").returncode == 0
    with h5py.File(tmp_path / "start/manifest.h5", "r+") as f:
        del f.attrs["imported"]
    seal(tmp_path / "start/manifest.h5")
    assert checkpoint("verify", tmp_path / "start").returncode == 0
    done = braid("train", DEMO, "--out", tmp_path / "run", "--device", "cpu", *sets(CONFIG), "--resume", tmp_path / "start")
    assert done.returncode == 1 and "has no tensor optim/exp_avg/" in done.stderr


def test_import_refuses_what_it_cannot_store_and_leaves_nothing(tmp_path):
    file, out = tmp_path / "in.safetensors", tmp_path / "out"

    def refused(code):
        line = one_line(checkpoint("import", file, "--out", out), code)
        assert not out.exists() and not (tmp_path / "out.tmp").exists()
        return line

    file.write_text("this is no such file")
    assert f"{file}: not a safetensors file" in refused(1)
    save_file({"a": torch.ones(2), "a/b": torch.ones(2)}, file)
    assert "tensors model/a and model/a/b: a checkpoint cannot hold both names" in refused(2)
    save_file({"a//b": torch.ones(2)}, file)
    assert "tensor 'model/a//b': a checkpoint cannot hold this name" in refused(2)
    save_file({}, file)
    assert "holds no tensors" in refused(2)
    save_file({"a": torch.ones(2)}, file)
    out.mkdir()
    (out / "x").touch()
    assert f"{out}: is there already" in one_line(checkpoint("import", file, "--out", out), 2)


@pytest.mark.parametrize("words, message", [
    ([], "no action given; expected inspect, verify, diff, export, import"),
    (["inspcet", "."], "unknown action 'inspcet'"),
    (["inspect"], "expected inspect PATH"),
    (["diff", "."], "expected diff PATH PATH"),
    (["export", "."], "expected export PATH --out FILE"),
    (["verify", ".", "--step", "3"], "braid checkpoint verify: takes no --step"),
    (["inspect", "none/there"], "none/there: no such folder"),
    (["inspect", "/dev/null"], "/dev/null: not a folder"),
    (["verify", "/dev"], "/dev: neither a checkpoint nor a run with checkpoints"),
    (["import", "none.safetensors", "--out", "x"], "none.safetensors: no such file"),
    (["export", ".", "--out", "x", "--all", "--prefix", "a/"], "--all takes every tensor"),
    (["export", ".", "--out", "x", "--dtype", "fp16"], "--dtype fp16: expected bf16 or fp32"),
])
def test_wrong_use_is_one_line(words, message, tmp_path):
    assert message in one_line(braid("checkpoint", *words, cwd=tmp_path), 2)


def test_a_step_that_is_not_there_names_those_that_are(runs):
    assert "has no such checkpoint; it has 4, 2" in one_line(checkpoint("inspect", runs / "one", "--step", "3"), 2)
    assert "is one checkpoint, not a run" in one_line(checkpoint("inspect", folder(runs / "one"), "--step", "4"), 2)


def test_a_file_that_is_no_checkpoint_is_damage(tmp_path):
    (tmp_path / "manifest.h5").write_bytes(bytes(1000))
    assert "not a checkpoint file of Braid" in one_line(checkpoint("inspect", tmp_path), 1)
