# SPDX-License-Identifier: Apache-2.0
"""Which rows of a run file are whole. A file cut short reads as zeros past its end, without an error, and a writer
that was killed can leave room for rows it had not written yet."""

import os

import numpy as np


def end_of_file(file):
    """Bytes present where the file is shorter than it says, else None."""
    present = os.path.getsize(file.filename)
    return present if file.id.get_filesize() > present else None


def rows_in_chunks(dataset, end):
    """Leading rows that lie in chunks before the end; chunks that span several columns of chunks count when all do."""
    chunk_rows, missing = dataset.chunks[0], len(dataset)
    row_bytes = dataset.dtype.itemsize * int(np.prod(dataset.chunks[1:], dtype=int))
    plain = dataset.id.get_create_plist().get_nfilters() == 0
    seen = set()
    for i in range(dataset.id.get_num_chunks()):
        chunk = dataset.id.get_chunk_info(i)
        seen.add(chunk.chunk_offset[0])
        if chunk.byte_offset + chunk.size > end:
            whole = max(0, end - chunk.byte_offset) // row_bytes if plain else 0
            missing = min(missing, chunk.chunk_offset[0] + whole)
    gaps = [start for start in range(0, len(dataset), chunk_rows) if start not in seen]
    return min([missing, *gaps])


def rows_before(dataset, end):
    if dataset.chunks is not None:
        return rows_in_chunks(dataset, end)
    offset = dataset.id.get_offset()
    row_bytes = dataset.dtype.itemsize * int(np.prod(dataset.shape[1:], dtype=int))
    return len(dataset) if offset is None or not row_bytes else min(len(dataset), max(0, end - offset) // row_bytes)


def never_written(rows):
    """How many rows at the end are zero in every byte; no row of a run is."""
    raw = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
    written = np.flatnonzero(raw.any(axis=1))
    return len(rows) - (int(written[-1]) + 1 if len(written) else 0)


def table(dataset, end):
    """The whole rows of a compound table."""
    rows = dataset[: len(dataset) if end is None else rows_before(dataset, end)]
    if len(rows) == 0 or rows.dtype.hasobject or dataset.chunks is None:
        return rows
    return rows[: len(rows) - never_written(rows)]


def layer_rows(group, end):
    """How many leading rows every dataset of /layers has; the steps ascend, so a zero behind them was never written."""
    metrics = [group[name] for name in group if name == "step" or group[name].ndim > 1]
    count = min(len(one) if end is None else rows_before(one, end) for one in metrics)
    steps = group["step"][:count]
    descents = np.flatnonzero(np.diff(steps) <= 0)
    return int(descents[0]) + 1 if len(descents) else count
