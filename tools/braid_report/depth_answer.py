# SPDX-License-Identifier: Apache-2.0
"""What a study of depth says, in sentences that follow from its numbers by the rules written here.

A form is finite up to a depth when no run of it, there or shallower, had a step that was not finite. Its loss differs from
the plain residual's in a setting when the means are further apart than two standard errors of their difference; that takes
two seeds of both. Settings in which no form learnt anything are not compared."""

import dataclasses
import math

from .depth_study import LEARNT, largest


@dataclasses.dataclass
class Contest:
    """A form against the plain residual, in settings."""

    better: int = 0
    worse: int = 0
    alike: int = 0
    unjudged: int = 0  # too few seeds

    def judged(self):
        return self.better + self.worse + self.alike


def verdict(form, residual):
    """better, worse, alike or unjudged."""
    if len(residual.finite()) < 2 or (len(form.finite()) < 2 and not form.broken()):
        return "unjudged"
    if form.broken() and not form.finite():
        return "worse"
    if len(form.finite()) < 2:
        return "unjudged"
    error = math.sqrt(form.deviation() ** 2 / len(form.finite()) + residual.deviation() ** 2 / len(residual.finite()))
    difference = form.mean() - residual.mean()
    return "alike" if abs(difference) <= 2 * error else "better" if difference < 0 else "worse"


def contest(study, form):
    counts = Contest()
    for group in study.of_form(form):
        residual = study.group(group.setting, "residual")
        if residual is not None and study.learnt(group.setting) is not False:
            what = verdict(group, residual)
            setattr(counts, what, getattr(counts, what) + 1)
    return counts


def finite_to(study, form):
    """(the depth up to which every run stayed finite or None, the first depth at which one did not or None)."""
    good = None
    for depth in study.depths:
        groups = [group for group in study.of_form(form) if group.setting.depth == depth and group.losses()]
        if any(group.broken() for group in groups):
            return good, depth
        good = depth if groups else good
    return good, None


def number(value):
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinite"
    return f"{value:.3g}" if abs(value) >= 1e5 else f"{value:,.4g}"


def gains(study, form):
    runs = [run for group in study.of_form(form) for run in group.runs]
    found = {name: [v for run in runs if (v := largest(run, name)) is not None] for name in ("amax_gain_forward", "amax_gain_backward")}
    return {name: max(values, key=lambda v: math.inf if math.isnan(v) else v) for name, values in found.items() if values}


def stability(study, form):
    good, bad = finite_to(study, form)
    runs = sum(len(group.losses()) for group in study.of_form(form))
    if bad is None:
        return f"all {runs} finished runs stayed finite, the deepest of {good} layers" if runs else "no run has finished"
    broken = sum(len(group.broken()) for group in study.of_form(form) if group.setting.depth == bad)
    of = sum(len(group.losses()) for group in study.of_form(form) if group.setting.depth == bad)
    first = f"finite up to {good} layers; " if good is not None else ""
    return f"{first}at {bad} layers {broken} of {of} runs had numbers that were not finite"


def quality(study, form):
    counts = contest(study, form)
    if not counts.judged():
        return "its loss is not judged against the plain residual, for want of seeds or of settings in which something was learnt"
    words = (f"its held-out loss is better than the plain residual's in {counts.better}, worse in {counts.worse} and not to be told "
             f"apart in {counts.alike} of {counts.judged()} settings")  # fmt: skip
    return words + (f" ({counts.unjudged} more have too few seeds)" if counts.unjudged else "")


def sentence(study, form):
    parts = [stability(study, form)]
    if form != "residual":
        parts.append(quality(study, form))
        found = gains(study, form)
        if len(found) == 2:
            parts.append("largest Amax gain forward {}, backward {}".format(*map(number, found.values())))
    return f"{form}: " + "; ".join(parts) + "."


def plural(count, word):
    return f"{count} {word}{'s' * (count != 1)}"


def sizes(study, table, key):
    found = sorted({run.config.get(table, {}).get(key) for run in study.readable} - {None})
    return ", ".join(map(str, found))


def limits(study):
    """What the numbers above do not say."""
    seeds = sorted({len(group.losses()) for group in study.groups.values()})
    spread = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    yield (f"Finished runs of a setting and form: {spread}. Width {sizes(study, 'model', 'width')}, {sizes(study, 'train', 'steps')} "
           f"steps of {sizes(study, 'train', 'batch')} samples: other widths and longer training may come out otherwise.")  # fmt: skip
    unlearnt = [s for s in study.settings if study.learnt(s) is False]
    if unlearnt:
        names = "; ".join(f"{s.task} at {s.depth} layers, {s.precision}" for s in unlearnt)
        yield f"No form came below {LEARNT:g} of the loss of guessing, so that losses there compare nothing: {names}."
    if study.waiting():
        yield f"{plural(len(study.waiting()), 'run')} of {len(study.runs)} are missing or have not come to their end."
    if "residual" not in study.forms:
        yield "There is no plain residual among the runs to compare with."


def answer(study):
    """Sentences, one a form, then the limits."""
    return [sentence(study, form) for form in study.forms], list(limits(study))
