# SPDX-License-Identifier: Apache-2.0
"""Model folders in bitsandbytes' 4 bits that are damaged or of another code: one line that says what, exit code 2."""

import json
import pathlib
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cli"))
import cli_run  # noqa: E402
from test_bad_folders import CONFIG, generate, tensors  # noqa: E402

F = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: pip install bitsandbytes==0.50.2").functional
QUANTISED = "model.layers.1.mlp.up_proj.weight"
STATE = QUANTISED + ".quant_state.bitsandbytes__nf4"
SECTION = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    all_tensors = {}
    for name, tensor in tensors().items():
        if "_proj" not in name:
            all_tensors[name] = tensor
            continue
        packed, state = F.quantize_4bit(tensor, quant_type="nf4", compress_statistics=True)
        all_tensors[name] = packed
        all_tensors |= {f"{name}.{part}": value.clone() for part, value in state.as_dict(packed=True).items()}
    save_file(all_tensors, path / "model.safetensors", metadata={"format": "pt"})
    (path / "config.json").write_text(json.dumps(CONFIG | {"quantization_config": SECTION}))
    return path


def test_the_folder_is_good_before_it_is_damaged(whole):
    done = generate(whole)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 1, done.stderr


def without(name):
    return lambda all_tensors: all_tensors.pop(name)


def changed(name, change):
    return lambda all_tensors: all_tensors.update({name: change(all_tensors[name])})


def state(change):
    def rewrite(tensor):
        return torch.tensor(list(change(bytes(tensor.tolist()).decode()).encode()), dtype=torch.uint8)

    return changed(STATE, rewrite)


DAMAGE = {
    "absmax": (without(QUANTISED + ".absmax"), f"tensor {QUANTISED}.absmax: expected, found none"),
    "nested_absmax": (without(QUANTISED + ".nested_absmax"), f"tensor {QUANTISED}.nested_absmax: expected, found none"),
    "nested_map": (without(QUANTISED + ".nested_quant_map"), f"tensor {QUANTISED}.nested_quant_map: expected, found none"),
    "map": (without(QUANTISED + ".quant_map"), f"tensor {QUANTISED}.quant_map: expected, found none"),
    "state": (without(STATE), f"tensor {STATE}: expected, found none"),
    "packed_size": (changed(QUANTISED, lambda t: t[:-1].clone()), f"tensor {QUANTISED}: expected 60 bytes of 4-bit codes, found uint8 [59,1]"),
    "absmax_size": (changed(QUANTISED + ".absmax", lambda t: t[:-1].clone()), f"{QUANTISED}.absmax: expected uint8 of 2 elements, found uint8 [1]"),
    "dense_absmax": (changed(QUANTISED + ".absmax", lambda t: t.float()), f"tensor {QUANTISED}.nested_absmax: expected none of that name"),
    "nan": (changed(QUANTISED + ".nested_absmax", lambda t: t * torch.nan), "nested_absmax: expected finite numbers, found NaN or infinity at [0]"),
    "other_map": (changed(QUANTISED + ".quant_map", lambda t: t * 2), "quant_map: expected the 16 numbers of NF4, found others"),
    "json": (state(lambda text: text[:-5]), f"tensor {STATE}: expected a JSON object, found text that is not valid JSON"),
    "code": (state(lambda text: text.replace("nf4", "fp4")), f'tensor {STATE}: quant_type: expected "nf4", found "fp4"'),
    "blocksize": (state(lambda text: text.replace('blocksize": 64', 'blocksize": 128')), "blocksize: expected 64, found 128"),
    "shape": (state(lambda text: text.replace("[10, 12]", "[12, 10]")), "shape: expected [10,12], found [12,10]"),
    "offset": (state(lambda text: text.replace("nested_offset", "offset")), "nested_offset: expected a number, found nothing"),
    "dense": (changed(QUANTISED, lambda t: torch.zeros(10, 12)), f"tensor {QUANTISED}: expected 60 bytes of 4-bit codes, found float32 [10,12]"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_in_one_line(whole, tmp_path, name):
    damage, message = DAMAGE[name]
    all_tensors = load_file(whole / "model.safetensors")
    damage(all_tensors)
    save_file(all_tensors, tmp_path / "model.safetensors")
    shutil.copy(whole / "config.json", tmp_path)
    line = cli_run.one_line(generate(tmp_path), 2)
    assert line.startswith(f"braid: {tmp_path}/model.safetensors: tensor ") and message in line, line


@pytest.mark.parametrize("change, message", [
    ({"quant_method": "gptq"}, 'quantization_config.quant_method: expected "bitsandbytes", the one method that is read, found "gptq"'),
    ({"quant_method": "awq"}, 'found "awq"'),
    ({"load_in_8bit": True, "load_in_4bit": False}, "quantization_config.load_in_8bit: expected false"),
    ({"load_in_4bit": False}, "quantization_config.load_in_4bit: expected true"),
    ({"bnb_4bit_quant_type": "fp4"}, 'quantization_config.bnb_4bit_quant_type: expected "nf4", found "fp4"'),
    ({"llm_int8_skip_modules": ["lm_head", 3]}, "quantization_config.llm_int8_skip_modules: expected a list of names"),
    ({"llm_int8_skip_modules": ["(("]}, "quantization_config.llm_int8_skip_modules: expected names of modules"),
    ({"llm_int8_skip_modules": ["lm_head", "up_proj"]}, "tensor model.layers.0.mlp.up_proj.weight: expected F32, BF16, F16 or F64 of shape [10,12]"),
])  # fmt: skip
def test_other_codes_and_methods_are_refused_by_name(whole, tmp_path, change, message):
    shutil.copy(whole / "model.safetensors", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"quantization_config": SECTION | change}))
    line = cli_run.one_line(generate(tmp_path), 2)
    assert line.startswith(f"braid: {tmp_path}/") and message in line, line
