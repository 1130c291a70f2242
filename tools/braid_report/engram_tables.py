# SPDX-License-Identifier: Apache-2.0
"""The tables of an Engram report as texts, the same for the terminal and the page: a row an evaluation, and below those
of a protocol what was published of it."""

import dataclasses
import math
import re

from . import comparison
from .compare import group_name
from .engram_published import PUBLISHED
from .engram_results import KINDS, MODELS, PHASES, PROTOCOLS
from .records import commit
from .terminal import ABSENT, number

IDLE_KEYS = ("train.log_every", "train.eval_every", "train.eval_samples", "checkpoint.every",
             "checkpoint.keep")  # no part of a recipe  # fmt: skip


@dataclasses.dataclass
class Table:
    title: str
    note: str
    headings: list
    rows: list  # of (kind, cells): kind is "" or "public"


def by_number(name):
    """A key that puts r8 before r16."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def in_order(evaluations):
    def place(each):
        known = PROTOCOLS.index(each.protocol) if each.protocol in PROTOCOLS else len(PROTOCOLS)
        return known, each.family, by_number(each.name)

    return sorted(evaluations, key=place)


def percent(value, digits=2):
    return ABSENT if value is None or math.isnan(value) else f"{100 * value:.{digits}f} %"


def share_words(share):
    """9.38 % (12/128) [5.4, 15.7]."""
    if share is None or share.of == 0:
        return ABSENT
    return f"{percent(share.value)} ({share.right}/{share.of}) [{100 * share.low:.1f}, {100 * share.high:.1f}]"


def points(base, tuned):
    return ABSENT if base is None or tuned is None or not base.of else f"{100 * (tuned.value - base.value):+.2f}"


def relative(before, after):
    """The change in percent of what was before; nothing to relate to where that is zero."""
    if before is None or after is None or not before or not math.isfinite(before):
        return ABSENT
    return f"{100 * (after / before - 1):+.1f} %"


def relative_shares(base, tuned):
    return ABSENT if base is None or tuned is None else relative(base.value, tuned.value)


def p_words(value):
    return ABSENT if value is None else f"{value:.2g}"


def rounded(value, digits):
    return ABSENT if value is None else number(value, digits)


def whole(value):
    return ABSENT if value is None else f"{value:,}"


def with_public(evaluations, own, public):
    """Rows of evaluations by own(each), and of public figures by public(figures) below the last of their protocol."""
    rows = []
    for at, each in enumerate(evaluations):
        rows += [("", [each.title, *cells]) for cells in own(each)]
        last = at + 1 == len(evaluations) or evaluations[at + 1].protocol != each.protocol
        if last and each.protocol in PUBLISHED:
            rows.append(("public", [f"public: {each.protocol}", *public(PUBLISHED[each.protocol])]))
    return rows


def evaluated(evaluations):
    return [each for each in evaluations if not each.message]


def accuracy(evaluations):
    def own(each):
        base, tuned = (each.share(model) for model in MODELS)
        strict = [share_words(each.share(model, "strict")) for model in MODELS]
        yield [share_words(base), share_words(tuned), points(base, tuned), relative_shares(base, tuned),
               p_words(each.p_value()), *strict]  # fmt: skip

    def public(said):
        return [share_words(said.base), share_words(said.tuned), points(said.base, said.tuned),
                relative_shares(said.base, said.tuned), p_words(said.p_value()), ABSENT, ABSENT]  # fmt: skip

    note = ("Share of right answers (right/asked) [Wilson's 95 % interval]. Prefix: the answer begins with what is "
            "expected, as the public programs judge; strict: it is that. Change: percentage points, then relative to "
            "base. p: of no change by the prefix match, McNemar's exact test.")  # fmt: skip
    headings = ["evaluation", "base, prefix", "tuned, prefix", "change", "relative", "p", "base, strict",
                "tuned, strict"]  # fmt: skip
    return Table("Accuracy", note, headings, with_public(evaluated(evaluations), own, public))


def seen(evaluations):
    def own(each):
        for match in ("prefix", "strict"):
            yield [match, *(share_words(each.share(model, match, kind)) for kind in KINDS for model in MODELS)]

    note = ("Verbatim: the prompt itself was trained on, so recall is measured; variant: the same behind another "
            "opening; unseen: neither, so only this is generalisation. The public experiment does not tell them apart: "
            "103 of its 128 prompts (mlx: 80 of 104) were trained on.")  # fmt: skip
    headings = ["evaluation", "match", *(f"{kind}, {model}" for kind in KINDS for model in MODELS)]
    return Table("Accuracy by what was trained on", note, headings,
                 [("", [each.title, *cells]) for each in evaluated(evaluations) for cells in own(each)])  # fmt: skip


def machines(attributes):
    """2 x NVIDIA H200, 2 ranks; of files that do not name the hardware: cpu on host, 2 ranks."""
    device = f"{attributes['device']} on {attributes.get('host', '?')}" if attributes.get("device") else ""
    ranks = attributes.get("world_size", 1)
    where = attributes.get("hardware") or device
    return f"{where}, {ranks} rank{'' if ranks == 1 else 's'}" if where else ABSENT


def training(evaluations):
    def own(each):
        run, (first, last) = each.run, each.losses()
        if run is None:
            trained = whole(each.attributes.get("adapter_parameters") or None)
            yield [whole(each.train_examples), *[ABSENT] * 7, trained, *[ABSENT] * 2]
            return
        yield [whole(each.train_examples), rounded(each.epochs(), 2), str(run.steps_done()), rounded(each.seconds(), 1),
               rounded(first, 4), rounded(last, 4), relative(first, last), rounded(run.final("loss", "eval"), 4),
               whole(run.attributes.get("parameters_trainable")), machines(run.attributes), commit(run)]  # fmt: skip

    def public(said):
        first, last = said.losses
        return [whole(said.examples), said.epochs, said.steps, said.seconds, rounded(first, 3), rounded(last, 3),
                relative(first, last), rounded(said.held_out, 3), whole(said.parameters_trained), said.hardware, ABSENT]  # fmt: skip

    note = ("Examples and epochs are of train.jsonl; seconds are spent in training steps. First and last loss: means "
            "over ten steps (of a run shorter than twenty over half of it), in nats per trained token; in protocol "
            "ours these are the answers' tokens alone.")  # fmt: skip
    headings = ["evaluation", "examples", "epochs", "steps", "seconds", "first loss", "last loss", "reduction",
                "held-out loss", "parameters trained", "hardware", "commit"]  # fmt: skip
    trained = [each for each in evaluations if each.run or not each.message]
    return Table("Training", note, headings, with_public(trained, own, public))


def latency_words(found):
    return ABSENT if found is None else f"{found.mean:.1f} / {found.median:.1f} / {found.p95:.1f}"


def latency(evaluations):
    def own(each):
        for model in MODELS:
            if any((model, phase) in each.latency for phase in PHASES):
                yield [model, *(latency_words(each.latency.get((model, phase))) for phase in PHASES),
                       rounded(each.tokens.get(model), 1), machines(each.attributes),
                       str(each.attributes.get("precision", ABSENT))]  # fmt: skip

    def public(said):
        base, tuned = said.latency["base"].mean, said.latency["tuned"].mean
        return ["base, tuned", ABSENT, ABSENT, f"mean {base:g}, {tuned:g}", ABSENT, said.hardware, ABSENT]

    note = ("ms for an answer, one prompt at a time: mean / median / 95th percentile. Prefill: up to the first new "
            "token; decode: from there to the last; tokens: mean number of new ones.")  # fmt: skip
    headings = ["evaluation", "model", "prefill", "decode", "whole", "tokens", "hardware", "precision"]
    return Table("Latency", note, headings, with_public(evaluated(evaluations), own, public))


def conditions(each):
    """How it was asked: evaluations that differ in it are no seeds of one another."""
    names = ("model", "data", "data_format", "max_new_tokens", "precision")
    return [each.family, *(each.attributes.get(name) for name in names)]


def equal_settings(one, its_settings, other, others_settings):
    """But for the seed."""
    configs = [its_settings.without_seed(), others_settings.without_seed()]
    return conditions(one) == conditions(other) and not comparison.differing(configs)


def seed_groups(evaluations):
    """Lists of evaluations of equal settings, each seed once."""
    groups = []
    for each in evaluated(evaluations):
        if each.run is None or not each.run.config:
            continue
        settings = comparison.compared(each.run)
        group = next((group for group in groups if equal_settings(*group[0], each, settings)), None)
        if group is None:
            groups.append([(each, settings)])
        elif all(settings.seed != other.seed for _, other in group):
            group.append((each, settings))
    return groups


def range_words(values, words):
    """Mean [least, most]."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return ABSENT
    mean = words(sum(known) / len(known))
    return mean if len(known) == 1 else f"{mean} [{words(min(known))}, {words(max(known))}]"


def value_of(share):
    return None if share is None else share.value


def settings_told(groups):
    """The keys in which groups of one protocol differ."""
    by_protocol = {}
    for group in groups:
        by_protocol.setdefault(group[0][0].family, []).append(group[0][1].without_seed())
    keys = dict.fromkeys(key for tables in by_protocol.values() for key in comparison.differing(tables))
    idle = (*IDLE_KEYS, "train.steps") if "train.epochs" in keys else IDLE_KEYS
    return [key for key in keys if key not in idle]


def group_names(groups):
    """The protocol and what tells a group from the others of its protocol."""
    keys = settings_told(groups)

    def name(group):
        each, settings = group[0]
        told = [f"{key.split('.')[-1]}={settings.config.get(key, ABSENT)}" for key in keys]
        return " ".join([each.family, *told]).strip() or group_name([each for each, _ in group])

    return [name(group) for group in groups]


def row_of_seeds(group, keys):
    members, settings = [each for each, _ in group], group[0][1].config
    wanted = [("base",), ("tuned",), ("tuned", "strict"), *(("tuned", "prefix", kind) for kind in KINDS)]
    values = [[value_of(each.share(*which)) for each in members] for which in wanted]
    shares = [range_words(each, lambda value: f"{100 * value:.2f}") for each in values]
    losses = range_words([each.losses()[1] for each in members], lambda value: number(value, 4))
    return [members[0].family or group_name(members), str(len(members)), *(str(settings.get(key, ABSENT)) for key in keys),
            rounded(members[0].epochs(), 2), *shares, losses]  # fmt: skip


def over_seeds(evaluations):
    """A row for each group of equal settings; None where no group has several seeds."""
    groups = seed_groups(evaluations)
    if all(len(group) < 2 for group in groups):
        return None
    keys = settings_told(groups)
    rows = [("", row_of_seeds(group, keys)) for group in groups]
    headings = ["setting", "seeds", *keys, "epochs", "base", "tuned", "tuned, strict",
                *(f"tuned, {kind}" for kind in KINDS), "last loss"]  # fmt: skip
    note = ("A row a setting: mean [least, most] over runs that differ in train.seed only. Shares in percent, by the "
            "prefix match but for strict.")  # fmt: skip
    return Table("Mean and range over seeds", note, headings, rows)


def all_tables(evaluations):
    """In the order of a report; `evaluations` are in order."""
    made = (make(evaluations) for make in (accuracy, seen, training, latency, over_seeds))
    return [table for table in made if table is not None and table.rows]
