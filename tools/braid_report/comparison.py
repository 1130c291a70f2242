# SPDX-License-Identifier: Apache-2.0
"""What differs between runs: configuration, records, final values, and the step from which their losses part."""

import dataclasses
import math

import numpy as np

NOT_COMPARED = ("format", "config", "config_sha256", "created_utc", "run_id", "command_line", "seed")  # differ anyway
RECORDS = ("git_commit", "uncommitted_changes", "braid_version", "torch_version", "cuda_version", "nccl_version",
           "driver_version", "hdf5_version", "mpi_version", "host", "device", "world_size", "mesh", "attention_backend",
           "deterministic", "data_digest", "parameters", "parameters_trainable")  # fmt: skip
SEED = "train.seed"
ENVIRONMENT = "environment."
WARM_UP = 2  # steps that allocate


def flat(table, prefix=""):
    """Dotted key → value."""
    found = {}
    for key, value in table.items():
        found.update(flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return found


def plain(value):
    """A value of h5py or TOML as one of Python's own that JSON has; what is not finite becomes None there."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value if isinstance(value, (bool, int, float, str)) or value is None else str(value)


def state_of(run):
    return "lost" if run.state == "silent" else run.state


def records_of(run):
    """Attribute → value, the well-known ones first, then what rank 0 found in its environment."""
    names = [name for name in run.attributes if name not in NOT_COMPARED]
    names.sort(key=lambda name: (RECORDS.index(name) if name in RECORDS else len(RECORDS), name))
    found = {name: plain(run.attributes[name]) for name in names}
    table = run.environment
    if table is not None and {"rank", "name", "value"} <= set(table.dtype.names or ()):
        rows = sorted((plain(r["name"]), plain(r["value"])) for r in table if r["rank"] == 0)
        found.update({ENVIRONMENT + name: value for name, value in rows})
    return found


def same(a, b):
    """NaN is like NaN here, and 1 is not like true."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b):
        return True
    return type(a) is type(b) and a == b


MISSING = object()


def differing(tables):
    """Keys whose values are not the same in all tables, in the order in which they come."""
    keys = dict.fromkeys(key for table in tables for key in table)
    return [key for key in keys if not all(same(t.get(key, MISSING), tables[0].get(key, MISSING)) for t in tables)]


def differing_records(tables):
    """As differing; the environment counts only where every run has recorded it, which older files have not."""
    recorded = all(any(key.startswith(ENVIRONMENT) for key in table) for table in tables)
    return [key for key in differing(tables) if recorded or not key.startswith(ENVIRONMENT)]


def median(values):
    """Over the steps but the first, which allocate."""
    if values is None:
        return None
    return float(np.median(values[WARM_UP:] if len(values) > WARM_UP else values))


def metrics_of(run):
    """Name → value; None where the run has none. Those a run ends with, and medians over its steps."""
    found = {"loss": run.final("loss"), "held_out_loss": run.final("loss", "eval"),
             "held_out_accuracy": run.final("accuracy", "eval"), "grad_norm": run.final("grad_norm")}  # fmt: skip
    names = run.train.dtype.names if run.train is not None else ()
    found.update({name: run.final(name) for name in names if "gain" in name})
    found["tokens_per_second"] = median(run.column("tokens_per_second"))
    found["step_seconds"] = median(run.column("step_seconds"))
    peak = run.column("peak_memory_bytes")
    found["peak_memory_bytes"] = None if peak is None else float(np.max(peak))
    return found


@dataclasses.dataclass
class Compared:
    """One run and what is compared of it."""

    run: object
    config: dict
    records: dict
    metrics: dict

    @property
    def name(self):
        return self.run.name

    @property
    def seed(self):
        return self.config.get(SEED)

    def without_seed(self):
        return {key: value for key, value in self.config.items() if key != SEED}


def compared(run):
    return Compared(run, {k: plain(v) for k, v in flat(run.config).items()}, records_of(run), metrics_of(run))


def seed_groups(all_runs):
    """Lists of runs whose configuration is the same but for the seed, in the order of their first runs."""
    groups = []
    for each in all_runs:
        if not each.config:
            continue
        group = next((g for g in groups if not differing([g[0].without_seed(), each.without_seed()])), None)
        if group is None:
            groups.append([each])
        else:
            group.append(each)
    return groups


def mean_and_spread(values):
    """Over the finite values, with their number; the sample's standard deviation, None for fewer than two."""
    finite = [value for value in values if value is not None and math.isfinite(value)]
    broken = sum(value is not None and not math.isfinite(value) for value in values)
    return {"n": len(finite), "non_finite": broken, "mean": float(np.mean(finite)) if finite else None,
            "std": float(np.std(finite, ddof=1)) if len(finite) > 1 else None}  # fmt: skip


@dataclasses.dataclass
class Spread:
    """A group over whose seeds mean and spread are taken."""

    members: list  # one a seed
    repeated: list  # further runs of a seed that has been counted
    unfinished: list  # shorter than the others, and not because they diverged
    metrics: dict


def spread_of(group):
    """None for a group of fewer than two seeds."""
    members, repeated, unfinished = [], [], []
    longest = max(each.run.steps_done() for each in group)
    for each in group:
        if each.run.steps_done() < longest and each.run.state != "diverged":
            unfinished.append(each)
        elif any(same(each.seed, other.seed) for other in members):
            repeated.append(each)
        else:
            members.append(each)
    if len(members) < 2:
        return None
    names = dict.fromkeys(name for each in group for name in each.metrics)
    spread = {name: mean_and_spread([each.metrics.get(name) for each in members]) for name in names}
    return Spread(members, repeated, unfinished, spread)


def losses_of(run):
    """Step → loss; of a step that was done twice, the later."""
    curve = run.curve("loss")
    return {} if curve is None else dict(zip(curve[0].astype(np.int64).tolist(), curve[1].tolist()))


def part(a, b, tolerance):
    """Whether two losses differ: by more than the tolerance, relative to the larger; NaN is like NaN."""
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) != math.isnan(b)
    if a == b:
        return tolerance == 0 and math.copysign(1, a) != math.copysign(1, b)
    return math.isinf(a) or math.isinf(b) or abs(a - b) > tolerance * max(abs(a), abs(b))


@dataclasses.dataclass
class Parting:
    """Where the losses of a run leave those of the run it is held against."""

    run: Compared
    against: Compared
    step: int | None  # the first at which they differ; None: never
    common: int  # steps that both have
    losses: tuple | None  # of the other run and of this one, at that step
    lengths: tuple  # steps of the other run and of this one
    equal: bool  # the configuration and, bit for bit, every loss


def parting(each, against, tolerance):
    theirs, ours = losses_of(against.run), losses_of(each.run)
    common = sorted(theirs.keys() & ours.keys())

    def first(limit):
        return next((s for s in common if part(theirs[s], ours[s], limit)), None)

    step, lengths = first(tolerance), (len(theirs), len(ours))
    equal = each.config and not differing([each.config, against.config]) and first(0) is None
    return Parting(each, against, step, len(common), None if step is None else (theirs[step], ours[step]), lengths,
                   bool(equal) and lengths[0] == lengths[1] == len(common) > 0)


def partings(all_runs, groups, tolerance):
    """Each run's from the first that has losses; but where the first has a twin with this run's seed, from that one."""
    first = next((each for each in all_runs if each.run.column("loss") is not None), all_runs[0])
    twins = next((group for group in groups if first in group), [first])

    def reference(each):
        if not each.config or same(each.seed, first.seed):
            return first
        return next((twin for twin in twins if twin is not each and same(twin.seed, each.seed)), first)

    return [parting(each, reference(each), tolerance) for each in all_runs if each is not first]
