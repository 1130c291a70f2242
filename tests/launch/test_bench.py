# SPDX-License-Identifier: Apache-2.0
"""launch/bench: what it measures is the same work, its figures follow from what it timed, and wrong use is one line."""

import importlib
import importlib.util
import json
import math
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BRAID_BUILD", ROOT / "build"))
sys.path.insert(0, str(ROOT / "tests" / "bench"))

import attention_bench  # noqa: E402
import bench_common as common  # noqa: E402
import collectives_bench  # noqa: E402
import finetune_bench  # noqa: E402
import gist_bench  # noqa: E402
import io_bench  # noqa: E402
import mhc_bench  # noqa: E402
import nf4_bench  # noqa: E402
import step_bench  # noqa: E402
import tokenizer_bench  # noqa: E402


def bench(what, *arguments):
    env = dict(os.environ, BRAID_BINARY=str(BUILD / "braid"))
    command = [sys.executable, ROOT / "tests" / "bench" / f"{what}_bench.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=280)


def one_line(done, code, words):
    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and words in lines[0], done.stderr


def test_the_script_names_what_there_is():
    done = subprocess.run([ROOT / "launch/bench", "--help"], capture_output=True, text=True)
    words = ("step", " scale ", "attention", " mhc ", "collectives", " io ", "tokenizer", " nf4 ", "finetune", " gist ", " decode ", " serve ")
    assert done.returncode == 0 and all(word in done.stdout for word in words)
    one_line(subprocess.run([ROOT / "launch/bench", "steps"], capture_output=True, text=True), 2, "unknown 'steps'")
    one_line(subprocess.run([ROOT / "launch/bench"], capture_output=True, text=True), 2, "say what to measure")


@pytest.mark.parametrize("what, arguments, words", [
    ("step", ["--against", "numpy"], "'numpy' is none of"),
    ("step", ["--configs", "nothing.toml"], "nothing.toml: no such configuration file"),
    ("step", ["--configs", ROOT / "configs/lm/copy.toml"], "incrementing"),
    ("step", ["--ranks", "3"], "not shared evenly by 3 ranks"),
    ("step", ["--rounds", "0"], "1 or more"),
    ("attention", ["--contexts", "100"], "not a multiple"),
    ("mhc", ["--widths", "100"], "not a multiple of 64"),
    ("mhc", ["--tokens", "1000"], "not a multiple of --context"),
    ("mhc", ["--forms", "mhx"], "'mhx' is none of"),
    ("collectives", ["--sizes", "1MB"], "expected bytes"),
    ("collectives", ["--collectives", "all_reduc"], "is none of"),
    ("collectives", ["--ranks", "1"], "2 or more"),
    ("io", ["--bytes", "1MB"], "expected bytes"),
    ("io", ["--folder", "/no/such"], "no such folder"),
    ("io", ["--ranks", "0"], "1 or more"),
    ("nf4", ["--shapes", "4096"], "expected rows x columns"),
    ("tokenizer", ["--text", "/no/such"], "no such folder"),
    ("tokenizer", ["--tokenizers", "none.json"], "no such file"),
    ("tokenizer", ["--megabytes", "0"], "1 or more"),
    ("finetune", ["--shape", "gpt2"], "invalid choice: 'gpt2'"),
    ("finetune", ["--method", "dora"], "'dora' is none of"),
    ("gist", ["--run", "/no/such"], "no such file or folder"),
    ("gist", ["--run", ROOT, "--set", "gist.count=2"], "takes no --config and no --set"),
    ("gist", ["--lengths", "1000,x"], "1 or more"),
    ("decode", ["--tokens", "2"], "3 or more"),
    ("decode", ["--method", "int8"], "none of dense, nf4"),
    ("decode", ["--against", "numpy"], "none of transformers, llama.cpp"),
    ("serve", ["--streams", "0"], "1 or more"),
])  # fmt: skip
def test_wrong_use_is_one_line(what, arguments, words, capsys):
    with pytest.raises(SystemExit) as end:
        importlib.import_module(f"{what}_bench").parse(["--device", "cpu", *map(str, arguments)])
    (line,) = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and words in line


def test_flops_are_counted_as_the_formula_says():
    config = {"model": {"width": 8, "layers": 2, "context": 4, "mlp_width": 16, "vocabulary": 10}, "train": {"batch": 3}}
    multiplications = 2 * (4 * 8 * 8 + 2 * 8 * 16) + 8 * 10  # of a token, in weights
    causal = 2 * 2 * 8 * 4 / 2  # of a token: scores and their use, over half of 4 keys on average
    forward = 2 * (multiplications + causal)
    assert step_bench.step_flops(config) == 3 * forward * 12


def test_programs_that_compute_something_else_are_refused():
    common.require_same("x", {"braid": (5.0, 1.0), "other": (5.001, 1.0)}, "fp32")
    with pytest.raises(common.BenchError, match="not the same work: at the last step"):
        common.require_same("x", {"braid": (5.0, 1.0), "other": (5.0, 1.01)}, "fp32")
    with pytest.raises(common.BenchError, match="not the same work: at step 0"):
        common.require_same("x", {"braid": (5.0, 1.0), "other": (math.nan, 1.0)}, "bf16")


def test_the_order_of_programs_rotates():
    assert [common.rotated(["a", "b", "c"], i)[0] for i in range(4)] == ["a", "b", "c", "a"]


def test_a_share_above_the_peak_is_an_error_not_a_figure():
    case = {"config": "c.toml", "precision": "fp32", "ranks": 1,
            "values": {"model": {"width": 8, "layers": 2, "context": 4, "mlp_width": 16, "vocabulary": 10}, "train": {"batch": 3}}}
    run = {"steps_per_second": 100.0, "step_seconds": [0.01], "loss_first": 1.0, "loss_last": 1.0}
    gflops = step_bench.step_flops(case["values"]) * 100 / 1e9
    result = step_bench.summarise(case, {"braid": [run], "published": [run | {"steps_per_second": 50.0}]}, gflops / 2)
    assert result["programs"]["braid"]["share_of_peak"] == pytest.approx(2)
    assert result["programs"]["published"]["braid_over_this"] == pytest.approx(2)


@pytest.mark.parametrize("ranks, against, precisions", [(1, "published,simplified", "fp32,bf16"), (2, "ddp,ddp-published", "fp32")])
def test_step_measures_the_same_work_beside_pytorch(tmp_path, ranks, against, precisions):
    out = tmp_path / "step.json"
    done = bench("step", "--quick", "--device", "cpu", "--ranks", ranks, "--against", against, "--precision", precisions, "--json", out)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert result["wait_policy"] == "PASSIVE" and result["threads"] >= 1
    assert [case["precision"] for case in result["cases"]] == precisions.split(",")
    for case in result["cases"]:
        programs = case["programs"]
        assert set(programs) == {"braid", *against.split(",")}
        for program in programs.values():
            speed = program["steps_per_second"]["median"]
            assert program["gflops"] == pytest.approx(case["flops_per_step"] * speed / 1e9)
            assert program["braid_over_this"] == pytest.approx(programs["braid"]["steps_per_second"]["median"] / speed)
            assert 0 < program["share_of_peak"] < 1
            assert program["runs"][0]["loss_first"] == pytest.approx(programs["braid"]["runs"][0]["loss_first"], rel=2e-2)


def test_attention_starts_both_kinds_from_equal_weights(tmp_path):
    out = tmp_path / "attention.json"
    done = bench("attention", "--quick", "--device", "cpu", "--json", out)
    assert done.returncode == 0, done.stderr
    cases = json.loads(out.read_text())["cases"]
    assert {case["name"] for case in cases} == {"demo_mhc", "T = 64"}
    for case in cases:
        tolerance = 1e-5 if case["precision"] == "fp32" else 2e-2
        assert abs(case["loss_difference_first"]) < tolerance * 6
        assert all(kind["peak_memory_bytes"] > 100 * attention_bench.MIB for kind in case["kinds"].values())


def test_mhc_is_timed_beside_the_residual_from_the_same_weights(tmp_path):
    out = tmp_path / "mhc.json"
    done = bench("mhc", "--quick", "--device", "cpu", "--precision", "fp32", "--against", "eager", "--json", out)
    assert done.returncode == 0, done.stderr
    (case,) = json.loads(out.read_text())["cases"]
    programs = {(p["program"], p["form"]): p for p in case["programs"]}
    assert set(programs) == {*(("braid", form) for form in mhc_bench.FORMS), ("eager", "residual"), ("eager", "mhc")}
    for (program, form), p in programs.items():
        plain = programs[program, "residual"]["seconds"]["median"]
        assert p["overhead"]["median"] == pytest.approx(p["seconds"]["median"] / plain - 1)
        assert p["tokens_per_second"] == pytest.approx(64 / p["seconds"]["median"])
        assert p["peak_memory_bytes"] > 100 * attention_bench.MIB
    first = {name: p["runs"][0]["loss_first"] for name, p in programs.items()}
    assert first["braid", "residual"] == pytest.approx(first["eager", "residual"], rel=1e-5)
    assert abs(first["braid", "mhc"] - first["braid", "residual"]) > 1e-4  # so that equal losses mean something


def test_mhc_refuses_other_weights_and_takes_overheads_of_one_round():
    run = {"seconds": 1.0, "step_seconds": [2.0, 1.0], "loss_first": 5.0, "loss_last": 4.0, "peak_memory_bytes": 1}
    runs = {("braid", "residual"): run, ("braid", "mhc"): run, ("eager", "mhc"): run | {"loss_first": 5.0001}}
    with pytest.raises(common.BenchError, match="width 64: not the same work: at step 0 the loss of braid mhc is 5, of eager mhc 5.0001"):
        mhc_bench.require_same_start("width 64", runs, "fp32")
    mhc_bench.require_same_start("width 64", runs, "bf16")
    rounds = {("braid", "residual"): [run, run | {"seconds": 2.0}], ("braid", "mhc"): [run | {"seconds": 1.5}, run | {"seconds": 2.2}]}
    overhead = mhc_bench.summarise(rounds, 64)[1]["overhead"]
    assert overhead["rounds"] == pytest.approx([0.5, 0.1]) and overhead["median"] == pytest.approx(0.3)


def test_collectives_are_timed_beside_gloo_with_nccl_tests_formulas(tmp_path):
    out = tmp_path / "collectives.json"
    done = bench("collectives", "--quick", "--device", "cpu", "--json", out)
    assert done.returncode == 0, done.stderr
    results = json.loads(out.read_text())["results"]
    assert {r["collective"] for r in results} == set(collectives_bench.COLLECTIVES)
    for result in results:
        for name in ("mpi", "gloo"):
            row = result["backends"][name]
            assert row["lowest_seconds"] <= row["seconds"]["median"]
            assert row["algorithm_bytes_per_second"] == pytest.approx(result["bytes"] / row["seconds"]["median"])
    assert [collectives_bench.bus_factor(name, 4) for name in ("all_reduce", "all_gather", "broadcast")] == [1.5, 0.75, 1]


def test_braid_bench_prints_what_its_bus_bandwidth_is(tmp_path):
    env = dict(os.environ, OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE", OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    command = ["mpirun", "-q", "--oversubscribe", "--bind-to", "none", "-n", "3", BUILD / "braid", "bench", "collectives", "--device",
               "cpu", "--sizes", "3000", "--types", "fp32", "--iterations", "2"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["collective"] for row in rows] == collectives_bench.COLLECTIVES
    for row in rows:
        factor = 0 if row["collective"] == "barrier" else collectives_bench.bus_factor(row["collective"], 3)
        assert row["ranks"] == 3 and row["bytes"] == (0 if row["collective"] == "barrier" else 3000)
        rate = row["bytes"] / row["median_seconds"]
        assert row["bus_bytes_per_second"] == pytest.approx(factor * rate)


def test_braid_bench_alone_is_one_line():
    done = subprocess.run([BUILD / "braid", "bench", "collectives", "--device", "cpu"], capture_output=True, text=True, timeout=60)
    one_line(done, 2, "2 ranks or more")


def test_checkpoints_are_timed_beside_plain_files_and_nothing_is_left(tmp_path):
    out = tmp_path / "io.json"
    done = bench("io", "--quick", "--ranks", "1,2", "--folder", tmp_path, "--json", out)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["io.json"]
    results = json.loads(out.read_text())["results"]
    assert [result["ranks"] for result in results] == [1, 2]
    for result in results:
        seconds = {name: spread["median"] for name, spread in result["seconds"].items()}
        assert set(seconds) == set(io_bench.TIMES) and min(seconds.values()) > 0
        rates = result["bytes_per_second"]
        assert rates["save"]["median"] == pytest.approx(result["ranks"] * result["bytes_per_rank"] / seconds["save"])
        assert result["save_over_plain"]["median"] == pytest.approx(rates["save"]["median"] / rates["plain_write"]["median"])
        assert result["digest_share_of_save"]["median"] == pytest.approx(seconds["digest"] / seconds["save"])
        gib = result["bytes_per_rank"] / 2**30
        assert result["ms_per_gib"]["blocked"]["median"] == pytest.approx(1e3 * seconds["blocked"] / gib)
    assert "save / plain write" in done.stdout


def test_io_ratios_are_of_the_same_round():
    times = dict.fromkeys(io_bench.TIMES, 1.0)
    rounds = [times | {"plain_write": 2.0, "save": 1.0}, times | {"plain_write": 9.0, "save": 3.0}, times | {"plain_write": 4.0, "save": 8.0}]
    result = io_bench.summarise(2, {"bytes": 2**20, "save": 1.0, "blocked": 0.5}, rounds)
    assert result["save_over_plain"] == {"median": 2.0, "lowest": 0.5, "highest": 3.0, "rounds": [2.0, 3.0, 0.5]}
    assert result["bytes_per_second"]["save"]["highest"] == 2 * 2**20
    assert result["first_blocked_ms_per_gib"] == 500 * 1024


def test_braid_bench_io_refuses_what_it_does_not_take():
    for arguments, words in ((["io", "--sizes", "1MiB"], "takes no --sizes"), (["collectives", "--bytes", "1MiB"], "takes no --bytes"),
                             (["io", "--rounds", "0"], "1 or more"), (["disk"], "there are: collectives, io, gist, decode"),
                             (["gist"], "--config FILE or --run OUT"), ([], "say what to measure")):  # fmt: skip
        one_line(subprocess.run([BUILD / "braid", "bench", *arguments], capture_output=True, text=True, timeout=60), 2, words)


def test_nf4_is_timed_by_each_program_that_is_there(tmp_path):
    out = tmp_path / "nf4.json"
    done = bench("nf4", "--quick", "--device", "cpu", "--json", out)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(out.read_text())["results"]
    peers = {"bitsandbytes", "dense"} if importlib.util.find_spec("bitsandbytes") else set()
    assert {"quantise float32", "dequantise", "product, 1", "backward, 64"} <= set(result["figures"])
    for name, figure in result["figures"].items():
        assert {"braid"} <= set(figure["seconds"]) <= {"braid", "braid nested"} | peers
        for who, over in figure["braid_over"].items():
            assert over["median"] == pytest.approx(figure["seconds"][who]["median"] / figure["seconds"]["braid"]["median"])
    product = result["figures"]["product, 1"]
    assert product["share_of_reads"] == pytest.approx(result["weight_bytes"] / product["seconds"]["braid"]["median"] / result["read_bytes_per_second"])


def test_nf4_counts_the_faster_of_bitsandbytes_two_ways():
    ours = {"single": {"bytes": 10, "dequantise": 1.0, "product 1": 2.0, "transposed 1": 2.0}, "read_bytes_per_second": 100.0}
    ours |= {"nested": ours["single"], "quantise float32": 1.0, "quantise bfloat16": 1.0, "quantise nested": 1.0}
    theirs = {name: 8.0 for name in ("quantise float32", "quantise bfloat16", "quantise nested", "dequantise", "dequantise nested")}
    theirs |= {"eval 1": 6.0, "train 1": 4.0, "transposed 1": 3.0, "dense 1": 5.0, "dense transposed 1": 5.0}
    result = nf4_bench.summarise((2, 4), {"braid": [ours], "bitsandbytes": [theirs]}, [1])
    assert result["figures"]["product, 1"]["braid_over"]["bitsandbytes"]["median"] == 2.0
    assert result["figures"]["product, 1"]["share_of_reads"] == pytest.approx(0.05)
    with pytest.raises(common.BenchError, match="the measurement is wrong"):
        nf4_bench.summarise((2, 4), {"braid": [ours | {"read_bytes_per_second": 1.0}], "bitsandbytes": [theirs]}, [1])


def test_tokenizers_are_timed_on_texts_that_give_the_same_ids(tmp_path):
    pytest.importorskip("tokenizers", reason="the package tokenizers is not installed")
    out = tmp_path / "tokenizer.json"
    done = bench("tokenizer", "--quick", "--text", ROOT / "src", "--json", out)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert [(r["tokenizer"], r["call"]) for r in found["results"]] == [(n, c) for n in ("smol", "l3", "tiny") for c in ("single", "batch")]
    for result in found["results"]:
        rates = {name: spread["median"] for name, spread in result["megabytes_per_second"].items()}
        assert result["ratio"]["median"] == pytest.approx(rates["braid"] / rates["tokenizers"])
        assert found["bytes"] / 8 < result["tokens"] < found["bytes"]


def test_tokenizers_with_other_ids_are_refused(monkeypatch):
    pytest.importorskip("tokenizers", reason="the package tokenizers is not installed")
    answers = iter(['{"seconds": 1, "tokens": 2, "digest": 3}', '{"seconds": 1, "tokens": 2, "digest": 4}'])
    monkeypatch.setattr(common, "run", lambda *_: [next(answers)])
    options = tokenizer_bench.parse(["--rounds", "1", "--text", str(ROOT)])
    with pytest.raises(common.BenchError, match="do not give the same ids"):
        tokenizer_bench.measure(options, "x.json", "texts.json", 1, "single")


def test_adapters_are_trained_beside_peft_to_the_same_losses(tmp_path):
    pytest.importorskip("peft", reason="the package peft is not installed")
    pytest.importorskip("bitsandbytes", reason="the package bitsandbytes is not installed")
    out = tmp_path / "finetune.json"
    done = bench("finetune", "--quick", "--device", "cpu", "--precision", "fp32", "--json", out)
    assert done.returncode == 0, done.stderr
    cases = json.loads(out.read_text())["cases"]
    assert [case["method"] for case in cases] == ["lora", "qlora"]
    for case in cases:
        runs = {name: program["runs"][0] for name, program in case["programs"].items()}
        assert runs["braid"]["parameters_trainable"] == runs["peft"]["parameters_trainable"] > 0
        assert runs["braid"]["loss"][0] == pytest.approx(runs["peft"]["loss"][0], rel=1e-4)
        assert runs["braid"]["tokens_per_second"] == pytest.approx(2 * 32 * 2 / sum(runs["braid"]["seconds"][2:]))
        assert case["programs"]["peft"]["memory_over_this"] == pytest.approx(
            runs["braid"]["peak_memory_bytes"] / runs["peft"]["peak_memory_bytes"])


def test_training_something_else_than_peft_is_refused(monkeypatch):
    runs = {"braid": 10, "peft": 20}
    monkeypatch.setattr(finetune_bench, "run_one", lambda options, case, name: {
        "parameters_trainable": runs[name], "loss": [1.0, 1.0], "tokens_per_second": 1.0})
    options = finetune_bench.parse(["--rounds", "1", "--device", "cpu"])
    with pytest.raises(common.BenchError, match="10 and 20 parameters are trained"):
        finetune_bench.measure_case(options, {"name": "lora fp32", "precision": "fp32"})


def test_gists_are_timed_beside_the_whole_context(tmp_path):
    out = tmp_path / "gist.json"
    done = bench("gist", "--quick", "--device", "cpu", "--set", "model.layers=3", "--json", out)
    assert done.returncode == 0, done.stderr
    results = json.loads(out.read_text())["results"]
    assert [result["length"] for result in results] == [200, 400]
    for result in results:
        seconds = {name: spread["median"] for name, spread in result["seconds"].items()}
        assert min(seconds.values()) > 0 and seconds["answer_full"] == pytest.approx(seconds["prefill"] + seconds["answer_cached"])
        assert result["compress_tokens_per_second"]["median"] == pytest.approx(result["length"] / seconds["compress"])
        assert result["gist_bytes"] * result["length"] == result["context_bytes"] * result["gists"]
        assert result["context_bytes"] == result["length"] * 2 * 3 * 64 * 4  # keys and values, layers, width, fp32
    assert "crossover with full" in done.stdout


def test_the_crossover_is_the_first_number_of_questions_that_pays():
    for once, each, full, expected in ((10.0, 1.0, 3.0, 6), (9.0, 1.0, 4.0, 4), (0.5, 1.0, 3.0, 1), (10.0, 3.0, 3.0, None), (10.0, 4.0, 3.0, None)):
        found = gist_bench.crossover(once, each, 0, full)
        assert found == expected
        pays = [q for q in range(1, 100) if once + q * each < q * full]
        assert (pays[0] if pays else None) == found
    assert gist_bench.crossover(5.0, 2.0, 9.0, 3.0) == 1
    assert gist_bench.crossover(12.0, 2.0, 9.0, 3.0) == 4


def test_decoding_is_timed_beside_transformers(tmp_path):
    out = tmp_path / "decode.json"
    done = bench("decode", "--quick", "--device", "cpu", "--precision", "fp32", "--streams", "2", "--json", out)
    assert done.returncode == 0, done.stderr
    cases = json.loads(out.read_text())["cases"]
    assert [(c["method"], c["streams"]) for c in cases] == [("dense", 2), ("nf4", 2)]
    for case in cases:
        ours = case["programs"]["braid"]["runs"][0]
        assert len(ours["ids"]) == 6 and ours["tokens_per_second"] > 0
        assert ours["read_share"] is None  # a model as small as this lies in the caches
        assert abs(sum(ours["shares"].values()) - 1) < 1e-6
    dense, nf4 = (next(c for c in cases if c["method"] == m)["programs"]["braid"]["runs"][0] for m in ("dense", "nf4"))
    # tiny: two layers of 36,864 numbers in projections, a head of 512 x 64 that is the embedding, five norms of 64, fp32
    assert dense["weight_bytes"] == 4 * (2 * 36864 + 512 * 64 + 5 * 64)
    assert nf4["weight_bytes"] < dense["weight_bytes"] * 0.7


def test_serve_asks_braid_and_transformers_for_the_same(tmp_path):
    out = tmp_path / "serve.json"
    done = bench("serve", "--quick", "--device", "cpu", "--json", out)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    for case, streams in zip(result["results"], (1, 2), strict=True):
        assert case["streams"] == streams and set(case["programs"]) == {"braid", "transformers"}
        for program in case["programs"].values():
            (run,) = program["runs"]
            assert (run["failed"], run["tokens"], run["prompt_tokens"]) == (0, 6 * streams, 64 * streams)
            assert program["tokens_per_second"]["median"] == run["tokens_per_second"]
