# SPDX-License-Identifier: Apache-2.0
"""Damaged adapter folders: one line that names the file and what was expected, exit code 2."""

import json
import pathlib
import shutil
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cli"))
import cli_run  # noqa: E402

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
from safetensors.torch import load_file, save_file  # noqa: E402
from test_bad_folders import CONFIG, tensors  # noqa: E402

PREFIX = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"
ADAPTER = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("places")
    (path / "model").mkdir()
    (path / "adapter").mkdir()
    save_file(tensors(), path / "model/model.safetensors")
    (path / "model/config.json").write_text(json.dumps(CONFIG))
    weights = {PREFIX.format(layer, name): torch.ones(shape) for layer in range(2) for name, shape in (("A", (2, 12)), ("B", (12, 2)))}
    save_file(weights, path / "adapter/adapter_model.safetensors")
    (path / "adapter/adapter_config.json").write_text(json.dumps(ADAPTER))
    return path


def generate(path):
    return cli_run.braid("generate", "--model", path / "model", "--adapter", path / "adapter", "--ids", "1,2", "--max-new-tokens", "3", "--device", "cpu")


def change_tensor(path, change, name=PREFIX.format(1, "B")):
    file = path / "adapter_model.safetensors"
    all_tensors = load_file(file)
    changed = change(all_tensors.pop(name))
    save_file(all_tensors | ({} if changed is None else {name: changed}), file)


def rewrite(path, change):
    file = path / "adapter_model.safetensors"
    file.write_bytes(change(file.read_bytes()))


def config(path, **fields):
    changed = {name: value for name, value in (ADAPTER | fields).items() if value is not None}
    (path / "adapter_config.json").write_text(json.dumps(changed))


DAMAGE = {
    "no_config": (lambda p: (p / "adapter_config.json").unlink(), "adapter_config.json: no such file"),
    "no_weights": (lambda p: (p / "adapter_model.safetensors").unlink(), "adapter_model.safetensors: no such file"),
    "config_is_no_json": (lambda p: (p / "adapter_config.json").write_text("{"), "adapter_config.json: expected a JSON object"),
    "no_rank": (lambda p: config(p, r=None), "adapter_config.json: r: expected a whole number"),
    "rank_0": (lambda p: config(p, r=0), "adapter_config.json: r: expected a whole number from 1"),
    "no_targets": (lambda p: config(p, target_modules=None), "adapter_config.json: target_modules: expected"),
    "pattern_does_not_compile": (lambda p: config(p, rank_pattern={"(q_proj": 1}), 'rank_pattern: expected a regular expression before the =, found "(q_proj=1"'),
    "pattern_is_too_long": (lambda p: config(p, rank_pattern={"(" * 5000: 1}), "rank_pattern: expected at most 256 bytes before the ="),
    "pattern_rank": (lambda p: config(p, rank_pattern={"q_proj": 1e300}), "rank_pattern: expected whole ranks up to 65536"),
    "missing_tensor": (lambda p: change_tensor(p, lambda t: None), PREFIX.format(1, "B") + ": expected by adapter_config.json, and not there"),
    "another_base": (lambda p: change_tensor(p, lambda t: t[:6].contiguous()), PREFIX.format(1, "B") + ": expected shape [12,2], found [6,2]"),
    "type": (lambda p: change_tensor(p, lambda t: t.to(torch.int8)), "expected elements F64, F32, BF16 or F16"),
    "nan": (lambda p: change_tensor(p, lambda t: t * torch.nan), "expected finite weights, element 0 is not"),
    "a_tensor_too_many": (lambda p: config(p, layers_to_transform=[0]), "has no place in this adapter"),
    "cut_off": (lambda p: rewrite(p, lambda data: data[:-40]), "it was cut off"),
    "header_cut_off": (lambda p: rewrite(p, lambda data: data[:60]), "not a safetensors file, or cut off"),
    "header_length_lies": (lambda p: rewrite(p, lambda data: (2**62).to_bytes(8, "little") + data[8:]), "its header would be 4611686018427387904 bytes long"),
    "empty_file": (lambda p: rewrite(p, lambda data: b""), "0 bytes are too few"),
}  # fmt: skip


def test_the_adapter_is_good_before_it_is_damaged(whole):
    done = generate(whole)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_in_one_line(whole, tmp_path, name):
    shutil.copytree(whole, tmp_path / "places")
    damage, message = DAMAGE[name]
    damage(tmp_path / "places/adapter")
    line = cli_run.one_line(generate(tmp_path / "places"), 2)
    assert line.startswith(f"braid: {tmp_path / 'places/adapter'}") and message in line, line
