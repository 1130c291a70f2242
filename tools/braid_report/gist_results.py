# SPDX-License-Identifier: Apache-2.0
"""An evaluation of compressed contexts as braid eval OUT --output left it, and its tables."""

import dataclasses
import math
import pathlib

KINDS = ("right", "late", "other_key", "distractor", "hallucination", "partial", "empty", "malformed")


@dataclasses.dataclass
class Evaluation:
    path: pathlib.Path
    attributes: dict
    scores: list  # rows as dictionaries
    answers: list
    targets: list
    probe: list

    @property
    def title(self):
        suites = list(dict.fromkeys(row["suite"] for row in self.scores))
        return f"{self.path.stem}: {suites[0] if suites else 'nothing'}"

    def anywhere(self):
        """Rows of whole suites, not of single depths."""
        return [row for row in self.scores if math.isnan(row["depth"])]

    def by_step(self):
        """Rows of gist with more than one step, by suite and length."""
        groups = {}
        for row in self.anywhere():
            if row["system"] == "gist":
                groups.setdefault((row["suite"], row["length"]), []).append(row)
        return {key: rows for key, rows in groups.items() if len({row["step"] for row in rows}) > 1}


@dataclasses.dataclass
class Table:
    title: str
    headings: list
    rows: list
    note: str


def plain(value):
    value = value.item() if hasattr(value, "item") else value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def rows_of(file, name):
    if name not in file:
        return []
    table = file[name][:]
    return [{column: plain(row[column]) for column in table.dtype.names} for row in table]


def read_evaluation(path):
    import h5py

    with h5py.File(path, "r", locking=False) as file:
        attributes = {name: plain(value) for name, value in file.attrs.items()}
        if attributes.get("format") != "braid-gist":
            raise ValueError('the root attribute format is not "braid-gist"')
        return Evaluation(pathlib.Path(path), attributes, *(rows_of(file, name) for name in ("scores", "answers", "targets", "probe")))


def percent(share):
    return f"{100 * share:.1f} %"


def interval(row, low="low", high="high"):
    return f"{percent(row[low])} to {percent(row[high])}"


def with_steps(each, table):
    """The step of each row where there is more than one."""
    steps = [row["step"] for row in each.anywhere()]
    if len(set(steps)) > 1:
        table.headings.insert(0, "step")
        table.rows = [[str(step), *row] for step, row in zip(steps, table.rows)]
    return table


def score_table(each):
    headings = ["suite", "context", "system", "strict", "95 % interval", "of", "contains", "recall", "stored", "read",
                "ratio", "KV read", "compress", "answer"]  # fmt: skip
    rows = [[row["suite"], f"{row['length']:,}", row["system"], percent(row["share"]), interval(row), str(row["of"]),
             percent(row["contains"]), percent(row["recall"]), f"{row['stored_tokens']:.4g}", f"{row['read_tokens']:.4g}",
             f"{row['ratio']:.0f}x" if row["ratio"] else "", f"{row['read_bytes'] / 1024:,.1f} KiB",
             f"{1e3 * row['compress_seconds']:.2f} ms", f"{1e3 * row['answer_seconds']:.2f} ms"]
            for row in each.anywhere()]  # fmt: skip
    note = ("Strict: what was asked for, and then the end. Contains: it stands somewhere in the answer. Positions stored of "
            "a context, and read before a question; the ratio is raw tokens for each that is read.")  # fmt: skip
    return with_steps(each, Table("Scores", headings, rows, note))


def kind_table(each):
    headings = ["suite", "context", "system", *(kind.replace("_", " ") for kind in KINDS), "hallucination rate", "95 % interval"]
    rows = [[row["suite"], f"{row['length']:,}", row["system"], *(str(row[f"kind_{kind}"]) for kind in KINDS),
             percent(row["hallucination"]), interval(row, "hallucination_low", "hallucination_high")]
            for row in each.anywhere()]  # fmt: skip
    note = "Every answer has one kind, by rule. A hallucination is a well-formed key that occurs nowhere in the context."
    return with_steps(each, Table("What answers were", headings, rows, note))


def target_table(each):
    rows = [[row["target"], row["verdict"], row["goal"], row["measured"]] for row in each.targets]
    return Table("The public experiment's six targets", ["target", "verdict", "goal", "measured"], rows, break_even(each))


def break_even(each):
    formula, measured = (each.attributes.get(f"break_even_{name}") for name in ("formula", "measured"))
    if formula is None:
        return ""
    return f"Compressing a context pays from its question {float(measured):.3g} on (counting tokens: {float(formula):.3g})."


def tables(each):
    found = [score_table(each), kind_table(each), target_table(each)]
    return [table for table in found if table.rows]
