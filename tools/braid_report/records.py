# SPDX-License-Identifier: Apache-2.0
"""Where a run came from, as HTML: what was started, from which sources, on which machines, with what. Only what the
run's file holds; files of older versions hold less."""

import html

from .runs import text

NONE = "–"
VERSIONS = {"braid_version": "Braid", "torch_version": "torch", "cuda_version": "CUDA", "driver_version": "driver",
            "nccl_version": "NCCL", "mpi_version": "MPI", "hdf5_version": "HDF5"}  # fmt: skip
UNCOMMITTED = {0: "none", 1: "yes: the sources differed from this commit when built", -1: "unknown"}
RANK_COLUMNS = {"rank": "rank", "host": "host", "device": "device", "gpu_uuid": "GPU UUID", "cpus": "CPUs",
                "threads": "threads", "pid": "process"}  # fmt: skip
START_COLUMNS = {"session": "start", "first_step": "first step", "started_utc": "when", "world_size": "ranks",
                 "mesh": "mesh", "host": "host", "git_commit": "commit"}  # fmt: skip


def uncommitted(run):
    """Whether the sources had changes; older files say so by a "+" behind the commit."""
    value = run.attributes.get("uncommitted_changes")
    if value is None:
        return 1 if str(run.attributes.get("git_commit", "")).endswith("+") else None
    return int(value)


def commit(run):
    """Short, with a "+" where the sources had changes."""
    value = str(run.attributes.get("git_commit", "")).rstrip("+")
    return value[:10] + "+" * (uncommitted(run) == 1) if value else NONE


def versions(attributes):
    there = {name: str(attributes[key]) for key, name in VERSIONS.items() if attributes.get(key, "") != ""}
    return ", ".join(f"{name} {words.removeprefix(name).strip()}" for name, words in there.items())


def parameters(attributes):
    total, trainable = attributes.get("parameters"), attributes.get("parameters_trainable")
    if total is None:
        return ""
    return f"{total:,}" + ("" if trainable is None else f", trainable {trainable:,}")


def facts(run):
    """Heading → words, without what the file does not hold."""
    attributes = run.attributes
    there = {
        "command": str(attributes.get("command_line", "")), "commit": str(attributes.get("git_commit", "")),
        "uncommitted changes": UNCOMMITTED.get(uncommitted(run), ""), "seed": str(attributes.get("seed", "")),
        "data": str(attributes.get("data_digest", "")), "parameters": parameters(attributes),
        "attention": str(attributes.get("attention_backend", "")),
        "deterministic": {0: "no", 1: "yes"}.get(attributes.get("deterministic"), ""),
        "versions": versions(attributes), "ranks": ranks_in_words(run), "starts": starts_in_words(run),
    }  # fmt: skip
    return {heading: words for heading, words in there.items() if words}


def ranks_in_words(run):
    if run.ranks is None or len(run.ranks) == 0:
        return ""
    hosts, devices = (sorted({text(value) for value in run.ranks[name]}) if name in run.ranks.dtype.names else []
                      for name in ("host", "device"))  # fmt: skip
    where = hosts[0] if len(hosts) == 1 else f"{len(hosts)} hosts"
    return f"{len(run.ranks)} on {where}" + (f" ({', '.join(devices[:4])}{' …' * (len(devices) > 4)})" if devices else "")


def starts_in_words(run):
    """Where the run went on after a stop, or where it began when not at step 0; "" for one start from step 0."""
    if run.sessions is None or "first_step" not in run.sessions.dtype.names:
        return ""
    steps = run.sessions["first_step"].tolist()
    if len(steps) == 0 or steps == [0]:
        return ""
    return f"{len(steps)}, at step{'s' * (len(steps) > 1)} " + ", ".join(map(str, steps[:8])) + " …" * (len(steps) > 8)


def grid(headings, lines):
    """A table of texts."""
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>" for line in lines)
    return f'<div class="table"><table class="plain"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def folded(summary, content):
    return f"<details><summary>{html.escape(summary)}</summary>{content}</details>"


def columns_of(table, headings):
    """The rows of a compound table as texts, the named columns only."""
    names = [name for name in headings if name in table.dtype.names]
    return [headings[name] for name in names], [[text(row[name]) for name in names] for row in table]


def ranks(run):
    if run.ranks is None or len(run.ranks) == 0:
        return ""
    return folded(f"Ranks ({len(run.ranks)})", grid(*columns_of(run.ranks, RANK_COLUMNS)))


def starts(run):
    if run.sessions is None or len(run.sessions) < 2:
        return ""
    return folded(f"Starts ({len(run.sessions)})", grid(*columns_of(run.sessions, START_COLUMNS)))


def environment(run):
    if run.environment is None or len(run.environment) == 0:
        return ""
    headings = {"rank": "rank", "name": "variable", "value": "value"}
    return folded(f"Environment ({len(run.environment)})", grid(*columns_of(run.environment, headings)))


def record(run):
    """Everything on one run, or "" where its file says nothing."""
    bad = uncommitted(run) == 1
    rows = "".join(f'<dt>{heading}</dt><dd{" class=bad" * (bad and heading == "uncommitted changes")}>'
                   f"{html.escape(words)}</dd>" for heading, words in facts(run).items())  # fmt: skip
    return (f"<dl>{rows}</dl>" if rows else "") + starts(run) + ranks(run) + environment(run)
