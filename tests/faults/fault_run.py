# SPDX-License-Identifier: Apache-2.0
"""Starts small runs, stops them in rough ways, and reads what they left."""

import contextlib
import os
import pathlib
import signal
import subprocess
import time

import h5py
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BRAID_BUILD", ROOT / "build"))
BRAID = BUILD / "braid"
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE", OMPI_ALLOW_RUN_AS_ROOT="1",
                   OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")  # fmt: skip
MPIRUN = ["mpirun", "-q", "--oversubscribe", "--bind-to", "none"]

REQUEUE = 85

# A step takes about 10 ms, a start about a second.
TINY = """
[model]
dialect = "poc"
layers = 2
width = 16
heads = 2
mlp_width = 24
vocabulary = 16
context = 12
residual = "mhc"
[data]
kind = "copy"
[optim]
learning_rate = 0.005
[train]
steps = 20
batch = 8
eval_every = 5
eval_samples = 16
log_every = 1000
[checkpoint]
every = 4
keep = 9
"""


def words(out, *overrides, options=(), config=None):
    """`braid train` of the tiny configuration, written beside OUT, with overrides."""
    out = pathlib.Path(out)
    if config is None:
        config = out.parent / "tiny.toml"
        config.write_text(TINY)
    given = [word for assignment in overrides for word in ("--set", assignment)]
    return [str(BRAID), "train", str(config), "--out", str(out), "--device", "cpu", *given, *map(str, options)]


def on_ranks(command, ranks, *mpi_options):
    return command if ranks == 1 else [*MPIRUN, "-n", str(ranks), *mpi_options, *command]


def train(out, *overrides, ranks=1, options=(), code=0, config=None, timeout=120):
    """Runs to the end, which must be `code`; returns what it printed."""
    command = on_ranks(words(out, *overrides, options=options, config=config), ranks)
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=timeout)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


@contextlib.contextmanager
def started(out, *overrides, ranks=1, options=(), env=None, command=None):
    """A run under way in a process group of its own, which is killed at the end."""
    command = command or on_ranks(words(out, *overrides, options=options), ranks)
    log = open(f"{out}.log", "ab")
    process = subprocess.Popen(command, stdout=log, stderr=log, env=ENVIRONMENT | (env or {}), start_new_session=True)
    process.members = set()  # ranks seen; mpirun gives each of them a process group of its own
    try:
        yield process
    finally:
        process.members |= set(ranks_of(process))
        for pid in process.members | {process.pid}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        log.close()


def log_of(out):
    return pathlib.Path(f"{out}.log").read_text(errors="replace")


def children_of(pid):
    try:
        text = "".join(path.read_text() for path in pathlib.Path(f"/proc/{pid}/task").glob("*/children"))
    except OSError:
        return []
    return [int(word) for word in text.split()]


def ranks_of(process):
    """Process ids of the ranks: mpirun's children that are braid, or the process itself."""
    found = []
    for pid in children_of(process.pid):
        with contextlib.suppress(OSError):
            if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == "braid":
                found.append(pid)
    return found or ([process.pid] if process.args[0] == str(BRAID) else [])


def wait_for(condition, seconds=30, what="what was waited for"):
    """Returns condition()'s first true value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError(f"{what}: not within {seconds} s")


def wait_for_checkpoint(out, step=0):
    """The first complete checkpoint of at least that step."""
    return wait_for(lambda: [s for s in steps_of(out) if s >= step], what=f"a checkpoint in {out}")


def checkpoint(out, step):
    return pathlib.Path(out) / "checkpoints" / f"step-{step:08d}"


def steps_of(out):
    folder = pathlib.Path(out) / "checkpoints"
    names = [path.name for path in folder.glob("step-*")] if folder.is_dir() else []
    return sorted(int(name[5:]) for name in names if name[5:].isdigit())


def names_in(out):
    return sorted(path.name for path in (pathlib.Path(out) / "checkpoints").iterdir())


def open_h5(path):
    return h5py.File(path, "r", swmr=True, locking=False)


def table(out, name):
    with open_h5(pathlib.Path(out) / "run.h5") as f:
        return f[name][:]


def status(out):
    row = table(out, "status")[0]
    return {name: row[name].decode() if row[name].dtype.kind == "S" else row[name] for name in row.dtype.names}


def events(out, kind=None):
    """Messages of one kind, or (kind, message) of all."""
    rows = [(row["kind"].decode(), row["message"].decode()) for row in table(out, "events")]
    return rows if kind is None else [message for found, message in rows if found == kind]


def tensors(folder):
    """The whole tensors of a checkpoint, read the way a user does."""
    found = {}

    def take(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(folder / "manifest.h5", "r") as f:
        f["view"].visititems(take)
    return found


def state(folder):
    """/state of a manifest: numbers and lists."""
    with h5py.File(folder / "manifest.h5", "r") as f:
        return dict(f["state"].attrs) | {name: list(item[()]) for name, item in f["state"].items()}


def assert_rows_once(out, steps, sessions, held_out=True):
    """Each step is in the run file exactly once, whatever happened on the way."""
    assert list(table(out, "train")["step"]) == list(range(steps))
    assert list(table(out, "eval")["step"]) == (sorted({*range(0, steps, 5), steps}) if held_out else [])
    with open_h5(pathlib.Path(out) / "run.h5") as f:
        assert list(f["layers/step"][:]) == list(range(0, steps, 20))  # train.layer_metrics_every
    assert list(table(out, "sessions")["session"]) == list(range(sessions))


def assert_same_bits(out, reference, step):
    """Losses, norms, evaluations and all tensors of the last checkpoint."""
    for name, columns in (("train", ("loss", "grad_norm", "learning_rate", "tokens")), ("eval", ("loss", "accuracy"))):
        found, expected = table(out, name), table(reference, name)
        for column in columns:
            assert found[column].tobytes() == expected[column].tobytes(), (name, column, found, expected)
    found, expected = tensors(checkpoint(out, step)), tensors(checkpoint(reference, step))
    assert found.keys() == expected.keys() and len(found) > 20
    for name, values in expected.items():
        assert found[name].tobytes() == values.tobytes(), name
    assert sum(np.abs(values).sum() for values in expected.values()) > 1  # there is something to compare
