# SPDX-License-Identifier: Apache-2.0
"""What an Engram report knows, as JSON."""

from .comparison import plain
from .compare import strict
from .engram_published import PUBLISHED, REMARK
from .engram_tables import seed_groups

RECORDS = ("parameters", "parameters_trainable", "device", "world_size", "host", "git_commit")


def share_json(share):
    return {"right": share.right, "of": share.of, "share": share.value, "low": share.low, "high": share.high}


def latency_json(found):
    return {"mean": found.mean, "median": found.median, "p95": found.p95}


def training_json(each):
    run, (first, last) = each.run, each.losses()
    if run is None:
        return None
    said = {name: plain(run.attributes.get(name)) for name in RECORDS}
    return {"folder": str(run.folder), "state": run.state, "steps": run.steps_done(), "epochs": each.epochs(),
            "seconds": each.seconds(), "first_loss": first, "last_loss": last,
            "held_out_loss": run.final("loss", "eval"), "train_examples": each.train_examples, "seed": run.seed, **said}  # fmt: skip


def evaluation_json(each):
    scores = [{"model": model, "items": items, "match": match, **share_json(share)}
              for (model, items, match), share in each.scores.items()]  # fmt: skip
    latencies = [{"model": model, "phase": phase, **latency_json(found)} for (model, phase), found in each.latency.items()]
    categories = [{"category": c.name, "of": c.of, "base_right": c.base_right, "tuned_right": c.tuned_right}
                  for c in each.categories]  # fmt: skip
    return {"name": each.name, "protocol": each.protocol, "file": str(each.path), "message": each.message,
            "attributes": each.attributes, "scores": scores, "p_value": each.p_value(), "categories": categories,
            "latency_ms": latencies, "tokens": each.tokens, "training": training_json(each)}  # fmt: skip


def published_json(said):
    first, last = said.losses
    return {"protocol": said.protocol, "source": said.source, "base": share_json(said.base),
            "tuned": share_json(said.tuned), "p_value_unpaired": said.p_value(), "train_examples": said.examples,
            "epochs": said.epochs, "steps": said.steps, "seconds": said.seconds, "first_loss": first, "last_loss": last,
            "held_out_loss": said.held_out, "latency_ms": {model: found.mean for model, found in said.latency.items()},
            "parameters_trainable": said.parameters_trained, "hardware": said.hardware}  # fmt: skip


def as_json(evaluations):
    """Places in groups count from 0 in the order of "evaluations"."""
    place = {id(each): at for at, each in enumerate(evaluations)}
    groups = [[place[id(each)] for each, _ in group] for group in seed_groups(evaluations)]
    return strict({"format": "braid-engram-report", "format_version": 1,
                   "evaluations": [evaluation_json(each) for each in evaluations],
                   "seed_groups": [group for group in groups if len(group) > 1],
                   "published": [published_json(said) for said in PUBLISHED.values()], "remark": REMARK})  # fmt: skip
