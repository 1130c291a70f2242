# SPDX-License-Identifier: Apache-2.0
"""An evaluation of the Engram test as a value: what its engram.h5 says, and the run that trained its adapter. Tolerates
what is absent; never changes a file."""

import dataclasses
import math
import pathlib
import statistics

import numpy as np

from . import runs
from .comparison import plain
from .runs import Run, table_of, text, whole_number

FORMAT = "braid-engram"
PROTOCOLS = ("seed", "raw", "mlx", "ours", "ours-clean", "memory")  # of launch/engram, in the order of reports
KINDS = ("verbatim", "variant", "unseen")  # what a prompt was to the training data
MODELS = ("base", "tuned")
PHASES = ("prefill", "decode", "whole")
SINGLY = 6  # evaluations whose categories and answers a report shows, at most
LOGGED = 10  # steps over which a loss is averaged, as the public programs log it


@dataclasses.dataclass
class Share:
    """Right answers of those asked for, with Wilson's 95 % interval."""

    right: int
    of: int
    low: float
    high: float

    @property
    def value(self):
        return self.right / self.of if self.of else math.nan


@dataclasses.dataclass
class Latency:
    """Of one phase over the answers, in ms; None where only the mean is known."""

    mean: float
    median: float | None = None
    p95: float | None = None


@dataclasses.dataclass
class Answer:
    """What one item of the test was answered; right by the prefix match. tuned is None where no adapter was asked."""

    prompt: str
    expected: str
    category: str
    seen: str
    base: str
    base_right: bool
    tuned: str | None
    tuned_right: bool


@dataclasses.dataclass
class Category:
    name: str
    of: int
    base_right: int
    tuned_right: int | None

    @property
    def change(self):
        """Points of accuracy, as a share of 1."""
        return 0.0 if self.tuned_right is None or not self.of else (self.tuned_right - self.base_right) / self.of


@dataclasses.dataclass(eq=False)
class Evaluation:
    """One engram.h5, or the place of one that is not there or cannot be read: `message` then says why."""

    name: str
    path: pathlib.Path
    protocol: str = "?"
    message: str = ""
    attributes: dict = dataclasses.field(default_factory=dict)
    scores: dict = dataclasses.field(default_factory=dict)  # (model, items, match) → Share
    latency: dict = dataclasses.field(default_factory=dict)  # (model, phase) → Latency
    tokens: dict = dataclasses.field(default_factory=dict)  # model → mean new tokens of an answer
    categories: list = dataclasses.field(default_factory=list)
    answers: list = dataclasses.field(default_factory=list)
    train_examples: int | None = None
    run: Run | None = None

    @property
    def title(self):
        return self.name if self.name == self.protocol else f"{self.name} ({self.protocol})"

    @property
    def family(self):
        """The protocol that others may have too; "" where it is but this evaluation's own name."""
        return self.protocol if self.protocol in PROTOCOLS or self.protocol != place_of(self.path).name else ""

    def share(self, model, match="prefix", items="all"):
        return self.scores.get((model, items, match))

    def p_value(self):
        """Of no change from base to tuned, by the prefix match: McNemar's exact test."""
        if not self.answers or any(answer.tuned is None for answer in self.answers):
            return None
        gained = sum(answer.tuned_right and not answer.base_right for answer in self.answers)
        lost = sum(answer.base_right and not answer.tuned_right for answer in self.answers)
        return mcnemar_exact(lost, gained)

    def epochs(self):
        """Passes over the training data; None where its size is unknown."""
        batch = whole_number(table_of(self.run.config, "train").get("batch"), None) if self.run else None
        samples = samples_of_a_pass(self.run) or (None if packed(self.run) else self.train_examples)
        return self.run.steps_done() * batch / samples if batch and samples else None

    def seconds(self):
        """Spent in training steps."""
        return self.run.final("elapsed_seconds") if self.run else None

    def losses(self):
        """(first, last): means over as many steps as the public programs log, or over half of a shorter run."""
        loss = self.run.column("loss") if self.run else None
        if loss is None:
            return None, None
        count = max(1, min(LOGGED, len(loss) // 2))
        return float(np.mean(loss[:count])), float(np.mean(loss[-count:]))


def mcnemar_exact(lost, gained):
    """Two sides, binomial with share 1/2; 1 where no pair changed."""
    n = lost + gained
    tail = sum(math.comb(n, k) for k in range(min(lost, gained) + 1))
    return min(1.0, 2 * tail / 2**n)


def wilson(right, of):
    """Wilson's score interval of a share, 95 %."""
    z = statistics.NormalDist().inv_cdf(0.975)
    share, width = right / of, z * z / of
    reach = z * math.sqrt(share * (1 - share) / of + width / (4 * of))
    return Share(right, of, (share + width / 2 - reach) / (1 + width), (share + width / 2 + reach) / (1 + width))


def rows_of(file, name):
    """A table's rows as dicts of Python's own values; [] where there is no such table."""
    table = runs.read_table(file, name)
    return [] if table is None else [dict(zip(table.dtype.names, map(plain, row))) for row in table]


def right(row, column):
    return bool(row.get(column, 0))


def answer_of(row):
    tuned = row.get("tuned_answer")
    return Answer(row["prompt"], row["expected"], row["category"], row["seen"], row["base_answer"],
                  right(row, "base_prefix"), tuned, right(row, "tuned_prefix"))  # fmt: skip


def fill_from_file(found, file):
    found.attributes = {name: plain(value) for name, value in file.attrs.items()}
    if found.attributes.get("format") != FORMAT:
        raise ValueError(f"no evaluation of the Engram test (format is not {FORMAT})")
    for row in rows_of(file, "scores"):
        found.scores[row["model"], row["items"], row["match"]] = Share(row["right"], row["of"], row["low"], row["high"])
    for row in rows_of(file, "latency"):
        found.latency[row["model"], row["phase"]] = Latency(row["mean"], row["median"], row["p95"])
    found.categories = [Category(row["category"], row["of"], row["base_right"], row.get("tuned_right"))
                        for row in rows_of(file, "categories")]  # fmt: skip
    items = rows_of(file, "examples")
    found.answers = [answer_of(row) for row in items]
    counts = {model: [row[f"{model}_tokens"] for row in items if f"{model}_tokens" in row] for model in MODELS}
    found.tokens = {model: statistics.fmean(tokens) for model, tokens in counts.items() if tokens}


def protocol_of(found, folder):
    """As the file says; else the nearest folder that has a protocol's name, else the evaluation's own name."""
    said = str(found.attributes.get("protocol", ""))
    near = (place.name for place in [folder, *folder.parents][:3] if place.name in PROTOCOLS)
    return said or next(near, found.name)


def run_beside(path):
    """The run of an evaluation: the folder run beside the file, or the folder that the file is in; or None."""
    places = [path.parent / "run", path.parent] if path.name == "engram.h5" else []
    return next((place for place in places if (place / "run.h5").exists()), None)


def packed(run):
    """Whether several examples share a sample."""
    return run is not None and bool(table_of(run.config, "data").get("packs"))


def samples_of_a_pass(run):
    """As the run says; None where it does not, or the data has no end."""
    said = whole_number(plain(run.attributes.get("epoch_samples")), 0) if run is not None else 0
    return said if said > 0 else None


def train_examples(found):
    """As the run says, else the lines of train.jsonl where the data still is; None where neither is known."""
    said = samples_of_a_pass(found.run)
    if said and not packed(found.run):
        return said
    data = table_of(found.run.config, "data").get("path") if found.run else None
    for place in filter(None, (data, found.attributes.get("data"))):
        try:
            with open(pathlib.Path(str(place)) / "train.jsonl", "rb") as lines:
                return sum(bool(line.strip()) for line in lines)
        except OSError:
            continue
    return None


def place_of(path):
    """What an evaluation is named after: its folder, or a file that has a name of its own."""
    if path.name != "engram.h5":
        return path.with_suffix("")
    return path.parent.parent if path.parent.name == "run" else path.parent


def read_evaluation(path):
    """The evaluation in a file. Raises what h5py raises, and ValueError for a file of another kind."""
    path = pathlib.Path(path).resolve()
    found = Evaluation(place_of(path).name, path)
    try:
        with runs.open_readonly(path) as file:
            fill_from_file(found, file)
    except KeyError as problem:  # a column or a table
        raise ValueError(f"damaged, at {problem.args[0]}") from problem
    found.protocol = protocol_of(found, path.parent)
    run = run_beside(path)
    found.run = runs.read_run(run) if run else None
    found.train_examples = train_examples(found)
    return found


def read_unevaluated(folder):
    """The place of an evaluation whose run is there and trains on examples; None for other runs."""
    run = runs.read_run(folder)
    if table_of(run.config, "data").get("kind") != "examples" and run.state != "unreadable":
        return None
    path = run.folder.parent / "engram.h5"
    found = Evaluation(place_of(path).name, path, message=f"not evaluated (its run: {run.verdict()})", run=run)
    found.protocol = protocol_of(found, path.parent)
    return found


def missing(path, why):
    path = pathlib.Path(path).resolve()
    found = Evaluation(place_of(path).name, path, message=text(why))
    found.protocol = protocol_of(found, path.parent)
    return found


def complaints(evaluations):
    """A line for each evaluation, or run of one, that is not there or could not be read."""
    for each in evaluations:
        if each.message:
            yield f"{each.title}: {each.message}"
        elif each.run is None:
            yield f"{each.title}: no run beside it, so nothing on its training"
        elif each.run.state == "unreadable":
            yield f"{each.title}: its run cannot be read: {each.run.message}"


def shown_singly(evaluations):
    """Those whose categories and answers are shown: of many the first of each protocol, then others, in their order."""
    seen = set()
    firsts = [each for each in evaluations if not (each.protocol in seen or seen.add(each.protocol))]
    others = [each for each in evaluations if each not in firsts]
    chosen = {id(each) for each in [*firsts, *others][:SINGLY]}
    return [each for each in evaluations if id(each) in chosen]
