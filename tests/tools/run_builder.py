# SPDX-License-Identifier: Apache-2.0
"""Run files in the layout of OUT/run.h5, made with h5py alone."""

import time

import h5py
import numpy as np

TRAIN = np.dtype([("step", "i8"), ("loss", "f8"), ("grad_norm", "f8"), ("nonfinite", "u1"), ("nonfinite_total", "i8"),
                  ("tokens_per_second", "f8"), ("gain_proxy_log10_max_entry", "f8"), ("amax_gain_forward", "f8"),
                  ("amax_gain_backward", "f8")])  # fmt: skip
EVAL = np.dtype([("step", "i8"), ("loss", "f8")])
STATUS = np.dtype([("state", "S16"), ("last_step", "i8"), ("planned_steps", "i8"), ("heartbeat", "f8"),
                   ("exit_code", "i8"), ("message", "S512")])  # fmt: skip
BECOME_NAN = ("loss", "grad_norm", "gain_proxy_log10_max_entry", "amax_gain_forward", "amax_gain_backward")


def rows(steps, nan_from=None, level=1.0):
    table = np.zeros(steps, TRAIN)
    table["step"] = np.arange(steps)
    table["loss"] = level * 5 * np.exp(-table["step"] / 5) + 0.1
    table["grad_norm"] = table["loss"] / 3
    table["tokens_per_second"] = 1000 + table["step"] ** 2
    table["gain_proxy_log10_max_entry"] = level
    table["amax_gain_forward"] = table["amax_gain_backward"] = 10**level
    if nan_from is not None:
        bad = table["step"] >= nan_from
        for name in BECOME_NAN:
            table[name][bad] = np.nan
        table["nonfinite"] = bad
        table["nonfinite_total"] = np.cumsum(bad)
    return table


def config_of(depth, variant, seed, more=""):
    residual = "residual" if variant == "baseline" else variant
    return f'[model]\nlayers = {depth}\nresidual = "{residual}"\n{more}[train]\nseed = {seed}\nsteps = 20\n'


def status_row(state, last, message="", age=0.0):
    return np.array([(state.encode(), last, 20, time.time() - age, -1, message.encode())], STATUS)


def write_run(folder, depth=12, variant="mhc", seed=0, table=None, state="done", message="", evaluation=None, more=""):
    folder.mkdir(parents=True)
    table = rows(20) if table is None else table
    texts = {"format": "braid-run", "config": config_of(depth, variant, seed, more), "device": "cpu", "mesh": "data=2",
             "git_commit": "0123456789abcdef0123+"}  # fmt: skip
    with h5py.File(folder / "run.h5", "w", libver="latest") as f:
        for name, value in texts.items():
            f.attrs[name] = np.bytes_(value)
        f.attrs["world_size"] = 2
        f.create_dataset("train", data=table, maxshape=(None,), chunks=(256,))
        if evaluation is not None:
            f.create_dataset("eval", data=np.array(evaluation, EVAL), maxshape=(None,), chunks=(256,))
        f["status"] = status_row(state, len(table) - 1, message)


SESSIONS = np.dtype([("session", "i8"), ("first_step", "i8"), ("started_utc", "S24"), ("world_size", "i8")])
RANKS = np.dtype([("session", "i8"), ("rank", "i8"), ("host", "S64"), ("device", "S96")])
ENVIRONMENT = np.dtype([("session", "i8"), ("rank", "i8"), ("name", "S64"), ("value", "S512")])


def write_starts(folder, *starts):
    """Adds /sessions, /ranks and /environment: a (first step, ranks, threads) each start."""
    sessions, ranks, environment = [], [], []
    for number, (first_step, world_size, threads) in enumerate(starts):
        sessions.append((number, first_step, b"2026-01-02T03:04:05.678Z", world_size))
        ranks += [(number, rank, f"node{number}".encode(), b"cpu") for rank in range(world_size)]
        environment.append((number, 0, b"OMP_NUM_THREADS", str(threads).encode()))
    with h5py.File(folder / "run.h5", "r+", libver="latest") as f:
        for name, table, kind in (("sessions", sessions, SESSIONS), ("ranks", ranks, RANKS), ("environment", environment, ENVIRONMENT)):
            f.create_dataset(name, data=np.array(table, kind), maxshape=(None,), chunks=(256,))


def write_layers(folder, name, steps, layers, values=None, axis="layer"):
    """/layers/name [step, axis] with its dimension scales, those that are there already or new ones; the values."""
    values = np.arange(steps * layers, dtype=float).reshape(steps, layers) / 7 if values is None else values
    with h5py.File(folder / "run.h5", "r+", libver="latest") as f:
        group = f.require_group("layers")
        if "step" not in group:
            group.create_dataset("step", data=np.arange(steps), maxshape=(None,), chunks=(256,)).make_scale("step")
        if axis not in group:
            group.create_dataset(axis, data=np.arange(layers)).make_scale(axis)
        made = group.create_dataset(name, data=values, maxshape=(None, layers), chunks=(256, layers))
        made.attrs["unit"], made.attrs["meaning"] = np.bytes_("log10"), np.bytes_("made up")
        for place, scale in enumerate(("step", axis)):
            made.dims[place].attach_scale(group[scale])
    return values
