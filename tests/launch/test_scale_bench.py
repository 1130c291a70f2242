# SPDX-License-Identifier: Apache-2.0
"""launch/bench scale: schemes do the same work as PyTorch's, silence is silent, and its figures follow from what it timed."""

import json

import pytest
from test_bench import bench, one_line

import scale_bench  # noqa: E402  (test_bench has put it on the path)


@pytest.mark.parametrize("arguments, words", [
    (["--schemes", "zero3"], "'zero3' is none of"),
    (["--ranks", "1"], "2 or more"),
    (["--ranks", "3"], "not shared evenly by them"),
    (["--ranks", "3", "--schemes", "tensor", "--set", "train.batch=6"], "3 ranks do not divide"),
    (["--ranks", "2", "--schemes", "none,context", "--set", "model.context=62"], "context: 2 ranks do not divide"),
    (["--against", "horovod"], "'horovod' is none of"),
    (["--config", "nothing.toml"], "no such configuration file"),
])  # fmt: skip
def test_wrong_use_is_one_line(arguments, words):
    one_line(bench("scale", "--device", "cpu", *arguments), 2, words)


def test_what_does_not_divide_is_left_out():
    model = {"heads": 4, "mlp_width": 64, "context": 16}
    options = scale_bench.parse(["--device", "cpu", "--against", "fsdp", "--schemes", "none"])
    assert scale_bench.programs_of(options, {"model": model}, 4) == [("none", True), ("none", False), ("fsdp", True)]
    options.schemes = None
    for change, gone in (({}, set()), ({"heads": 6}, {"tensor", "sequence"}), ({"context": 12}, {"context"}), ({"context": 6}, {"sequence", "context"})):
        names = {name for name, spoken in scale_bench.programs_of(options, {"model": model | change}, 4) if spoken}
        assert names == {*scale_bench.SCHEMES, "fsdp"} - gone


def test_exposed_is_the_difference_within_a_round():
    def run(seconds):
        return {"seconds": seconds, "peak_memory_bytes": 1, "sent_bytes": 8}

    runs = {("none", True): [run(2.0), run(3.0), run(4.0)], ("none", False): [run(1.5), run(1.0), run(3.0)], ("ddp", True): [run(6.0)] * 3}
    programs = scale_bench.summarise(runs)
    assert programs["none"]["exposed_seconds"]["rounds"] == [0.5, 2.0, 1.0] and programs["none"]["exposed_seconds"]["median"] == 1.0
    assert programs["none"]["over"]["ddp"] == pytest.approx(2) and programs["none"]["computing_seconds"]["median"] == 1.5
    assert "exposed_seconds" not in programs["ddp"]


def test_schemes_do_the_work_of_ddp_and_fsdp(tmp_path):
    out = tmp_path / "scale.json"
    done = bench("scale", "--quick", "--device", "cpu", "--ranks", 2, "--schemes", "none,parameters,tensor,sequence,context", "--json", out)
    assert done.returncode == 0, done.stderr
    (case,) = json.loads(out.read_text())["cases"]
    programs = case["programs"]
    assert set(programs) == {"none", "parameters", "tensor", "sequence", "context", "ddp", "fsdp"}
    first = [program["runs"][0]["loss_first"] for program in programs.values()]
    assert first == pytest.approx([first[0]] * 7, rel=1e-3)
    # Gathered weights cross twice more than gradients alone; without communication a rank sees its half of the batch.
    assert programs["parameters"]["sent_bytes"] > programs["none"]["sent_bytes"] > 0
    silent = programs["none"]["silent_runs"][0]
    assert silent["sent_bytes"] == 0 and silent["loss_first"] != pytest.approx(first[0], rel=1e-4)
    assert all(program["peak_memory_bytes"] > 50 * 2**20 for program in programs.values())
