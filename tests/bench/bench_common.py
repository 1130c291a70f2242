# SPDX-License-Identifier: Apache-2.0
"""What the benches share: starting programs, interleaving them, medians with their spread, tables, and what machine this
is. A figure without its machine, commit, threads and wait policy is no figure, so every result carries them."""

import argparse
import contextlib
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import h5py

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BRAID = os.environ.get("BRAID_BINARY", str(ROOT / "build" / "braid"))
TOLERANCE = {"fp32": 1e-3, "bf16": 2e-2}  # relative, between losses of programs that do the same work


class BenchError(Exception):
    """One line for the user, exit code 1."""


class Parser(argparse.ArgumentParser):
    def __init__(self, name, description, examples):
        super().__init__(prog=f"launch/bench {name}", description=description, epilog="examples:\n" + examples,
                         allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}\n")


def words(*allowed):
    """A comma list of some of `allowed`; of anything where nothing is named."""

    def read(text):
        chosen = [word for word in text.split(",") if word]
        if not chosen:
            raise argparse.ArgumentTypeError("expected a comma list")
        for word in chosen:
            if allowed and word not in allowed:
                raise argparse.ArgumentTypeError(f"'{word}' is none of {', '.join(allowed)}")
        return chosen

    return read


def at_least(least):
    def read(text):
        if not re.fullmatch(r"\d+", text) or int(text) < least:
            raise argparse.ArgumentTypeError(f"'{text}': expected a whole number, {least} or more")
        return int(text)

    return read


def counts(least):
    return lambda text: [at_least(least)(word) for word in words()(text)]


def add_common(parser, rounds=3):
    parser.add_argument("--rounds", type=at_least(1), default=rounds, metavar="N",
                        help="every program runs once in each, in rotating order (default: %(default)s)")  # fmt: skip
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=at_least(1), metavar="N", help="of a program, over all its ranks (default: cores)")
    parser.add_argument("--wait-policy", choices=["PASSIVE", "ACTIVE", "default"], default="PASSIVE",
                        help="OMP_WAIT_POLICY of all programs; default leaves it unset (default: %(default)s)")  # fmt: skip
    parser.add_argument("--markdown", action="store_true", help="tables as Markdown")
    parser.add_argument("--json", metavar="FILE", help="also everything that was measured")
    parser.add_argument("--quick", action="store_true", help="one round of something tiny: does it work, not how fast is it")


def cores():
    return len(os.sched_getaffinity(0))


def resolve(options):
    """Fills in what depends on the machine; refuses what it cannot do."""
    if options.device == "auto":
        options.device = "cuda" if gpu_names() else "cpu"
    elif options.device == "cuda" and not gpu_names():
        raise SystemExit(refuse("--device cuda: there is no usable GPU here"))
    options.threads = options.threads or cores()
    if options.json and not pathlib.Path(options.json).absolute().parent.is_dir():
        raise SystemExit(refuse(f"--json {options.json}: no such folder"))
    return options


def refuse(message):
    say(message)
    return 2


def say(message):
    print(f"launch/bench: {message}", file=sys.stderr, flush=True)


# --- programs ---


def environment(threads, wait_policy):
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    env.pop("OMP_WAIT_POLICY", None)
    if wait_policy != "default":
        env["OMP_WAIT_POLICY"] = wait_policy
    return env


def last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def run(name, commands, env, timeout=3600):
    """Starts one process a command, with RANK set where there are several; what each printed. One that fails ends all."""
    with contextlib.ExitStack() as files:
        processes, outputs = [], []
        for rank, command in enumerate(commands):
            mine = env | ({"RANK": str(rank), "WORLD_SIZE": str(len(commands))} if len(commands) > 1 else {})
            out, err = (files.enter_context(tempfile.TemporaryFile("w+")) for _ in range(2))
            outputs.append((out, err))
            processes.append(subprocess.Popen(command, env=mine, stdin=subprocess.DEVNULL, stdout=out, stderr=err))
        try:
            codes = wait_for(name, processes, time.monotonic() + timeout)
        finally:
            for process in processes:
                process.kill()
                process.wait()
        texts = []
        for out, err in outputs:
            out.seek(0), err.seek(0)
            texts.append((out.read(), err.read()))
    # The first that failed says why; the others were ended above.
    for code, (out, err) in zip(codes, texts):
        if code:
            how = f"ended with exit code {code}" if code > 0 else f"was killed by signal {-code}"
            raise BenchError(f"{name} {how}: {last_line(err or out)}")
    return [out for out, _ in texts]


def wait_for(name, processes, deadline):
    """Exit codes once all have ended or one has failed; None of those that still run."""
    while True:
        codes = [process.poll() for process in processes]
        if all(code == 0 for code in codes) or any(codes):
            return codes
        if time.monotonic() > deadline:
            raise BenchError(f"{name} did not end in time")
        time.sleep(0.02)


def mpirun(ranks, command):
    if ranks == 1:
        return command
    return ["mpirun", "-q", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), *command]


def braid_run(config, sets, folder, ranks, options, program=(BRAID, "train")):
    """braid train, or a program that takes the same options; the /train table as a dict of lists."""
    command = [*program, str(config), "--out", str(folder), "--device", options.device]
    for assignment in [*sets, "checkpoint.every=0", "checkpoint.at_end=false"]:
        command += ["--set", assignment]
    run("braid", [mpirun(ranks, command)], environment(max(1, options.threads // ranks), options.wait_policy))
    with h5py.File(pathlib.Path(folder) / "run.h5", "r", locking=False, swmr=True) as file:
        table = file["train"][:]
    return {name: table[name].tolist() for name in table.dtype.names}


def rotated(names, round_number):
    """Another program goes first in each round, so that none always runs on a machine the one before it has heated."""
    shift = round_number % len(names)
    return names[shift:] + names[:shift]


def scratch():
    return tempfile.TemporaryDirectory(prefix="braid-bench-")


# --- figures ---


def spread(values):
    """Over rounds."""
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values), "rounds": values}


def require_same(what, losses, precision):
    """`losses`: program -> (first, last). Only programs that compute the same are compared in speed."""
    (name, ours), *others = losses.items()
    for other, theirs in others:
        for step, a, b in zip(("step 0", "the last step"), ours, theirs):
            if not abs(a - b) <= TOLERANCE[precision] * max(abs(a), abs(b)):
                raise BenchError(f"{what}: not the same work: at {step} the loss of {name} is {a:.6g}, of {other} {b:.6g}")


def gpu_names():
    try:
        found = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True)
    except OSError:
        return []
    return found.stdout.strip().splitlines() if found.returncode == 0 else []


def cpu_model():
    found = re.search(r"^model name\s*:\s*(.+)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    return found.group(1) if found else "unknown"


def commit():
    def git(*arguments):
        try:
            return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True).stdout.strip()
        except OSError:
            return ""

    return (git("rev-parse", "--short=10", "HEAD") or "unknown") + (" with changes" if git("status", "--porcelain") else "")


def facts(options):
    import torch

    return {"commit": commit(), "cpu": cpu_model(), "cores": cores(), "gpus": gpu_names(), "torch": torch.__version__,
            "device": options.device, "threads": options.threads, "wait_policy": options.wait_policy,
            "rounds": options.rounds, "load_at_start": os.getloadavg()[0], "command": " ".join(sys.argv[1:])}  # fmt: skip


def describe(facts):
    gpus = f", {len(facts['gpus'])} x {facts['gpus'][0]}" if facts["gpus"] else ""
    return (f"{facts['cpu']}, {facts['cores']} cores{gpus}; device {facts['device']}, {facts['threads']} threads, "
            f"OMP_WAIT_POLICY={facts['wait_policy']}; braid {facts['commit']}, torch {facts['torch']}; "
            f"{facts['rounds']} interleaved rounds; load {facts['load_at_start']:.1f} at the start")  # fmt: skip


# --- output ---


def print_table(head, rows, markdown):
    rows = [head] + [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    for number, row in enumerate(rows):
        cells = [cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))]
        print(f"| {' | '.join(cells)} |" if markdown else "  ".join(cells).rstrip())
        if markdown and number == 0:
            print("|" + "|".join("---" if i == 0 else "---:" for i in range(len(widths))) + "|")
    print(flush=True)


def write_json(path, result):
    if path:
        pathlib.Path(path).write_text(json.dumps(result, indent=1) + "\n")
        say(f"wrote {path}")


def ends_well(main):
    """Exit code of a bench: 0, or 1 after one line."""
    try:
        main()
        return 0
    except BenchError as problem:
        say(str(problem))
        return 1
    except KeyboardInterrupt:
        return 130
