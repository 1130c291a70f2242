# SPDX-License-Identifier: Apache-2.0
"""The runs of a study of depth, grouped: which form of connection, on which task, how deep; and what came of them."""

import dataclasses
import math

import numpy as np

from .runs import table_of

STRESS_DEPTH = 48  # from here on a network is deep enough to say whether a form breaks
LEARNT = 0.9  # of the loss of guessing: below it something was learnt
FORMS = ["residual", "HC, poc", "mHC, poc", "HC", "mHC", "mHC, permutations"]  # first in tables, in this order
ABLATED = {"streams": "n = {}", "sinkhorn_iterations": "K = {}", "connection_start": "start {}"}


def model_of(run):
    return table_of(run.config, "model")


def concerns(model, key):
    """Whether a run of this model would differ with another value of the key."""
    if model.get("residual") == "residual":
        return False
    of_paper, mhc = model.get("connection_form") == "paper", model.get("residual") == "mhc"
    if key == "connection_start":
        return of_paper and mhc
    return key == "streams" or mhc and not (of_paper and model.get("manifold") == "permutations")


def plain_form(model):
    if model.get("residual") == "residual":
        return "residual"
    name = {"hc": "HC", "mhc": "mHC"}.get(model.get("residual"), str(model.get("residual")))
    if model.get("connection_form") != "paper":
        return name + ", poc"
    exact = name == "mHC" and model.get("manifold") == "permutations"
    return name + (", permutations" if exact else "")


def varied(runs):
    """The keys of ABLATED that differ between runs which they concern."""
    values = {key: {model_of(r).get(key) for r in runs if concerns(model_of(r), key)} for key in ABLATED}
    return [key for key, found in values.items() if len(found) > 1]


def form_of(run, keys):
    model = model_of(run)
    more = [ABLATED[key].format(model.get(key)) for key in keys if concerns(model, key)]
    return ", ".join([plain_form(model), *more])


def form_rank(form):
    begins = [name for name in FORMS if form == name or form.startswith(name + ", ")]
    plain = max(begins, key=len, default=form)
    return (FORMS.index(plain) if plain in FORMS else len(FORMS), form)


def task_of(run):
    return str(table_of(run.config, "data").get("kind", "?"))


def guessing(run):
    """Loss of who knows a task's tokens but not what to look back at, in nats per token; None where it is not known."""
    data, vocabulary = table_of(run.config, "data"), model_of(run).get("vocabulary", 0)
    choices = {"copy": vocabulary - 1, "induction": vocabulary - vocabulary // 2, "incrementing": vocabulary, "bytes": vocabulary,
               "modular_sum": data.get("modulus", 7)}.get(task_of(run), 0)  # fmt: skip
    return math.log(choices) if choices > 1 else None


def held_out(run):
    """The last held-out loss; without evaluations the mean of the last training losses. NaN for a run that ended so."""
    if run.nan_from() is not None or run.state == "diverged":
        return float("nan")
    last = run.final("loss", "eval")
    return last if last is not None else run.final_loss()


def finished(run):
    return run.state in ("done", "diverged")


def largest(run, name):
    """Over all steps of /train and all places of /layers; inf and NaN count as what they are. None without values."""
    values = [] if run.column(name) is None else [run.column(name)]
    values += [run.layers[name].values.ravel()] if name in run.layers else []
    values = np.concatenate(values) if values else np.array([])
    finite = values[~np.isnan(values)]
    return None if len(values) == 0 else float(finite.max()) if len(finite) else float("nan")


@dataclasses.dataclass(frozen=True)
class Setting:
    """Where forms compete: what is learnt, in which numbers, how deep."""

    task: str
    precision: str
    depth: int


@dataclasses.dataclass
class Group:
    """Runs that differ in their seed only."""

    setting: Setting
    form: str
    runs: list

    def losses(self):
        values = [held_out(run) for run in self.runs if finished(run)]
        return [value for value in values if value is not None]

    def finite(self):
        return [value for value in self.losses() if math.isfinite(value)]

    def mean(self):
        return float(np.mean(self.finite())) if self.finite() else float("nan")

    def deviation(self):
        """Sample standard deviation over seeds; None of fewer than two."""
        return float(np.std(self.finite(), ddof=1)) if len(self.finite()) > 1 else None

    def broken(self):
        """Runs with a step that was not finite, or that ended without a finite loss."""
        return [run for run in self.runs if finished(run) and (len(run.bad_steps()) or not math.isfinite(held_out(run) or 0))]


class Study:
    def __init__(self, runs):
        self.runs = [run for run in runs if run.depth is not None]
        self.readable = [run for run in self.runs if run.config]
        keys = varied(self.readable)
        groups = {}
        for run in self.readable:
            precision = str(table_of(run.config, "train").get("precision", "fp32"))
            key = Setting(task_of(run), precision, run.depth), form_of(run, keys)
            groups.setdefault(key, []).append(run)
        self.groups = {key: Group(*key, members) for key, members in groups.items()}
        self.forms = sorted({form for _, form in groups}, key=form_rank)
        self.settings = sorted({setting for setting, _ in groups}, key=lambda s: (s.task, s.precision, s.depth))
        self.depths = sorted({setting.depth for setting in self.settings})

    def tasks(self):
        """(task, precision) of all settings."""
        return list(dict.fromkeys((s.task, s.precision) for s in self.settings))

    def group(self, setting, form):
        return self.groups.get((setting, form))

    def of_form(self, form):
        """Its groups, shallow first."""
        found = [group for (_, name), group in self.groups.items() if name == form]
        return sorted(found, key=lambda g: (g.setting.depth, g.setting.task, g.setting.precision))

    def waiting(self):
        """Runs that are not there, or have not come to their end."""
        return [run for run in self.runs if not finished(run)]

    def learnt(self, setting):
        """Whether any form learnt something there; None where guessing is not known."""
        groups = [group for (where, _), group in self.groups.items() if where == setting]
        chance = guessing(groups[0].runs[0])
        best = min((loss for group in groups for loss in group.finite()), default=float("inf"))
        return None if chance is None else best < LEARNT * chance
