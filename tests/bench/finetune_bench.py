# SPDX-License-Identifier: Apache-2.0
"""launch/bench finetune: training adapters beside transformers and peft (finetune_peft.py), see launch/bench."""

import json
import pathlib
import random
import statistics
import sys

import bench_common as common
import h5py

# Shapes of the published models' config.json; the weights are random, which changes neither time nor memory.
SHAPES = {
    "smollm-135m": dict(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
                        vocab_size=49152, tie_word_embeddings=True),
    "tinyllama": dict(hidden_size=2048, intermediate_size=5632, num_hidden_layers=22, num_attention_heads=32, num_key_value_heads=4,
                      vocab_size=32000, tie_word_embeddings=False),
    "llama3-8b": dict(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8,
                      vocab_size=128256, tie_word_embeddings=False),
    "tiny": dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                 vocab_size=512, tie_word_embeddings=True),
}  # fmt: skip
PROGRAMS = {"peft": [], "peft-compiled": ["--compile"]}
CONFIG = """[model]
dialect = "llama"
[lora]
rank = {rank}
alpha = 16
[data]
kind = "tokens"
[optim]
learning_rate = 2e-4
clip_norm = 1.0
[train]
log_every = 1000000
"""
EXAMPLES = """  launch/bench finetune --json finetune.json                  # SmolLM-135M's shape, LoRA and NF4, fp32 and bf16
  launch/bench finetune --shape tinyllama --layers 4 --method qlora --precision bf16
  launch/bench finetune --batch 8 --context 512 --recompute
  launch/bench finetune --quick                               # does it work here

All programs read the same model folder of random weights and train the same batch of whole windows: LoRA on all seven
projections, float32 adapters, AdamW. Tokens/s: tokens of a batch over the median step after the warm-up; then the median
over rounds. Memory: the most that a process held, its libraries included; on GPUs what its allocator held."""


def parse(arguments):
    parser = common.Parser("finetune", "Training adapters beside transformers and peft.", EXAMPLES)
    parser.add_argument("--shape", choices=SHAPES, default="smollm-135m", help="default: %(default)s")
    parser.add_argument("--layers", type=common.at_least(1), metavar="N", help="default: the shape's own")
    parser.add_argument("--method", type=common.words("lora", "qlora"), default=["lora", "qlora"], metavar="METHODS",
                        help="qlora: the frozen weights in NF4, double quantised (default: lora,qlora)")  # fmt: skip
    parser.add_argument("--precision", type=common.words("fp32", "bf16"), default=["fp32", "bf16"], metavar="TYPES")
    parser.add_argument("--batch", type=common.at_least(1), default=4, metavar="N", help="windows (default: %(default)s)")
    parser.add_argument("--context", type=common.at_least(1), default=128, metavar="N", help="tokens of one (default: %(default)s)")
    parser.add_argument("--rank", type=common.at_least(1), default=8, metavar="R", help="of the adapters (default: %(default)s)")
    parser.add_argument("--recompute", action="store_true", help="activations of each block are computed again in backward")
    parser.add_argument("--steps", type=common.at_least(1), default=4, metavar="N", help="timed steps (default: %(default)s)")
    parser.add_argument("--warmup", type=common.at_least(1), default=2, metavar="N", help="steps before (default: %(default)s)")
    parser.add_argument("--against", type=common.words(*PROGRAMS), default=["peft"], metavar="PROGRAMS",
                        help="of peft, peft-compiled (default: peft)")  # fmt: skip
    common.add_common(parser)
    options = common.resolve(parser.parse_args(arguments))
    if options.quick:
        options.rounds, options.shape, options.batch, options.context, options.steps = 1, "tiny", 2, 32, 2
    return options


def make_model(options, precision, folder, **changes):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()

    shape = SHAPES[options.shape] | ({"num_hidden_layers": options.layers} if options.layers else {}) | changes
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**shape, max_position_embeddings=max(2048, options.context)))
    model.to(torch.float32 if precision == "fp32" else torch.bfloat16).save_pretrained(folder)


def make_windows(options, folder):
    """Training and held-out tokens, of each as many as one batch has: bytes, which are ids of any model."""
    (folder / "text").mkdir()
    for name in ("one", "other"):
        (folder / f"text/{name}.txt").write_bytes(random.Random(name).randbytes(options.batch * options.context + 1))
    command = [common.BRAID, "data", "bytes", str(folder / "text"), "--out", str(folder / "tokens"), "--held-out", "0.5"]
    common.run("braid data", [command], common.environment(1, "PASSIVE"))
    return folder / "tokens"


def run_braid(options, case, folder):
    (folder / "config.toml").write_text(CONFIG.format(rank=options.rank))
    sets = [f"model.path={case['model']}", f"model.context={options.context}", f"data.path={case['tokens']}",
            f"train.batch={options.batch}", f"train.steps={options.warmup + options.steps}", f"train.precision={case['precision']}",
            *(["model.quantise=nf4"] if case["method"] == "qlora" else []),
            *(["train.recompute=true"] if options.recompute else [])]  # fmt: skip
    table = common.braid_run(folder / "config.toml", sets, folder / "run", 1, options)
    with h5py.File(folder / "run/run.h5", "r", locking=False, swmr=True) as file:
        trainable = int(file.attrs["parameters_trainable"])
    return {"seconds": table["step_seconds"], "loss": table["loss"], "peak_memory_bytes": max(table["peak_memory_bytes"]),
            "parameters_trainable": trainable}  # fmt: skip


def run_peft(options, case, folder, name):
    command = [sys.executable, str(common.HERE / "finetune_peft.py"), "--model", str(case["model"]), "--shard",
               str(case["tokens"] / "train.h5"), "--batch", str(options.batch), "--context", str(options.context), "--rank",
               str(options.rank), "--steps", str(options.warmup + options.steps), "--dtype", case["precision"], "--quantise",
               "nf4" if case["method"] == "qlora" else "none", "--threads", str(options.threads), "--device", options.device,
               "--out", str(folder / "steps.json"), *PROGRAMS[name], *(["--recompute"] if options.recompute else [])]  # fmt: skip
    common.run(name, [command], common.environment(options.threads, options.wait_policy))
    found = json.loads((folder / "steps.json").read_text())
    return {"seconds": [s["seconds"] for s in found["steps"]], "loss": [s["loss"] for s in found["steps"]],
            "peak_memory_bytes": found["peak_memory_bytes"], "memory_before_bytes": found["memory_before_bytes"],
            "parameters_trainable": found["parameters_trainable"]}  # fmt: skip


def run_one(options, case, name):
    with common.scratch() as folder:
        folder = pathlib.Path(folder)
        run = run_braid(options, case, folder) if name == "braid" else run_peft(options, case, folder, name)
    run["tokens_per_second"] = options.batch * options.context / statistics.median(run["seconds"][options.warmup :])
    return run


def measure_case(options, case):
    names = ["braid", *options.against]
    runs = {name: [] for name in names}
    for number in range(options.rounds):
        for name in common.rotated(names, number):
            runs[name].append(run_one(options, case, name))
            common.say(f"{case['name']}, round {number + 1}/{options.rounds}: {name} {runs[name][-1]['tokens_per_second']:.1f} tokens/s")
        common.require_same(case["name"], {n: (r[-1]["loss"][0], r[-1]["loss"][-1]) for n, r in runs.items()}, case["precision"])
        counts = {r[-1]["parameters_trainable"] for r in runs.values()}
        if len(counts) > 1:
            raise common.BenchError(f"{case['name']}: not the same work: {' and '.join(map(str, counts))} parameters are trained")
    return runs


def summarise(case, runs):
    ours = {key: statistics.median(run[key] for run in runs["braid"]) for key in ("tokens_per_second", "peak_memory_bytes")}
    programs = {}
    for name, rounds in runs.items():
        speed, memory = (common.spread([run[key] for run in rounds]) for key in ("tokens_per_second", "peak_memory_bytes"))
        programs[name] = {"tokens_per_second": speed, "peak_memory_bytes": memory, "runs": rounds,
                          "braid_over_this": ours["tokens_per_second"] / speed["median"],
                          "memory_over_this": ours["peak_memory_bytes"] / memory["median"]}  # fmt: skip
    return {"method": case["method"], "precision": case["precision"], "programs": programs}


def print_case(case, result, options):
    head = [case["name"], "tokens/s", "lowest", "highest", "braid / this", "peak MiB", "braid's / this"]
    rows = []
    for name, program in result["programs"].items():
        speed = program["tokens_per_second"]
        rows.append([name, f"{speed['median']:.1f}", f"{speed['lowest']:.1f}", f"{speed['highest']:.1f}",
                     f"{program['braid_over_this']:.2f}", f"{program['peak_memory_bytes']['median'] / 2**20:.0f}",
                     f"{program['memory_over_this']:.2f}"])  # fmt: skip
    common.print_table(head, rows, options.markdown)


def main():
    options = parse(sys.argv[1:])
    facts = common.facts(options)
    print(common.describe(facts))
    results = []
    with common.scratch() as folder:
        folder = pathlib.Path(folder)
        tokens = make_windows(options, folder)
        for precision in options.precision:
            make_model(options, precision, folder / precision)
            for method in options.method:
                case = {"name": f"{method} {precision}", "method": method, "precision": precision, "model": folder / precision, "tokens": tokens}
                results.append(summarise(case, measure_case(options, case)))
                print_case(case, results[-1], options)
    common.write_json(options.json, {"bench": "finetune", **facts, "shape": options.shape, "layers": options.layers, "batch": options.batch,
                                     "context": options.context, "rank": options.rank, "recompute": options.recompute, "cases": results})  # fmt: skip


if __name__ == "__main__":
    sys.exit(common.ends_well(main))
