# SPDX-License-Identifier: Apache-2.0
"""braid-report clean: a copy of a run file that any reader opens.

A live or killed run file is in HDF5's newest format and marked as being written to, which some readers refuse. The copy
is closed, in the oldest format, and holds every attribute, every whole row and the dimension scales. The source is
opened for reading only.
"""

import contextlib
import os
import pathlib

from . import reading, rows, runs
from .trouble import Failure, Trouble

HELP = "Writes a plain closed copy of a run file, for readers that refuse files of live or killed runs."
EXAMPLE = """  braid-report clean runs/a --out a.h5
  h5dump -d /train a.h5"""
BLOCK_BYTES = 1 << 24
SCALE_ATTRIBUTES = {"DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS", "CLASS", "NAME"}  # made anew


def add_arguments(parser):
    parser.add_argument("run", help="run folder, or its run.h5")
    parser.add_argument("--out", required=True, metavar="FILE", help="the copy")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")


def plain_type(kind):
    """The same type made anew: a copy would keep the newer encoding that it has in its file."""
    from h5py import h5t

    if isinstance(kind, h5t.TypeCompoundID):
        made = h5t.create(h5t.COMPOUND, kind.get_size())
        for i in range(kind.get_nmembers()):
            made.insert(kind.get_member_name(i), kind.get_member_offset(i), plain_type(kind.get_member_type(i)))
        return made
    if isinstance(kind, h5t.TypeStringID) and not kind.is_variable_str():
        made = h5t.C_S1.copy()  # through numpy, UTF-8 text would become ASCII
        made.set_size(kind.get_size())
        made.set_cset(kind.get_cset())
        made.set_strpad(kind.get_strpad())
        return made
    if isinstance(kind, (h5t.TypeIntegerID, h5t.TypeFloatID)):
        return h5t.py_create(kind.dtype)
    return kind.copy()


class Copy:
    """Copies one open file into another and notes what could not be read."""

    def __init__(self, source, target):
        self.source, self.target = source, target
        self.end = rows.end_of_file(source)
        self.left_out = []

    @contextlib.contextmanager
    def noting(self, name):
        try:
            yield
        except runs.UNREADABLE as problem:
            self.left_out.append(f"{name}: {(str(problem).splitlines() or ['unreadable'])[0]}")

    def attributes(self, source, target):
        from h5py import h5a, h5s

        for name in source.attrs if source.attrs else ():
            if name in SCALE_ATTRIBUTES:
                continue
            with self.noting(f"{source.name}, attribute {name}"):
                old = h5a.open(source.id, name.encode())
                new = h5a.create(target.id, name.encode(), plain_type(old.get_type()), old.get_space())
                if old.get_space().get_simple_extent_type() != h5s.NULL:
                    values = source.attrs.get_id(name)
                    self.attribute_values(values, new)

    def attribute_values(self, old, new):
        import numpy as np

        values = np.empty(old.shape, old.dtype)
        old.read(values)
        new.write(values)

    def whole_rows(self, dataset):
        """None for a scalar."""
        if dataset.ndim == 0:
            return None
        if dataset.parent.name == "/layers" and "step" in dataset.parent and dataset.name != "/layers/layer":
            return rows.layer_rows(dataset.parent, self.end)
        if dataset.dtype.names and dataset.ndim == 1:
            return len(rows.table(dataset, self.end))
        return len(dataset) if self.end is None else rows.rows_before(dataset, self.end)

    def dataset(self, source, group, name):
        from h5py import Dataset, h5d, h5s

        count = self.whole_rows(source)
        shape = () if count is None else (count, *source.shape[1:])
        made = h5d.create(group.id, name.encode(), plain_type(source.id.get_type()), h5s.create_simple(shape) if shape
                          else h5s.create(h5s.SCALAR))  # fmt: skip
        target = Dataset(made)
        if count is None:
            target[()] = source[()]
        row_bytes = max(1, source.dtype.itemsize * (source.size // len(source) if count else 1))
        block = max(1, BLOCK_BYTES // row_bytes)
        for first in range(0, count or 0, block):
            end = min(first + block, count)
            target[first:end] = source[first:end]
        self.attributes(source, target)

    def group(self, source, target):
        import h5py

        self.attributes(source, target)
        for name in source:
            path = f"{source.name.rstrip('/')}/{name}"
            with self.noting(path):
                child = source[name]
                if isinstance(child, h5py.Group):
                    self.group(child, target.create_group(name))
                elif isinstance(child, h5py.Dataset):
                    self.dataset(child, target, name)

    def scales(self):
        """Dimension scales hold references into their own file; they are attached anew."""
        from h5py import h5ds

        names = []
        self.target.visititems(lambda name, one: names.append(name) if hasattr(one, "dims") else None)
        for name in names:
            with self.noting(f"/{name}, dimension scale"):
                if h5ds.is_scale(self.source[name].id):
                    self.target[name].make_scale(h5ds.get_scale_name(self.source[name].id).decode())
        for name in names:
            with self.noting(f"/{name}, dimension scales"):
                for old, new in zip(self.source[name].dims, self.target[name].dims):
                    for scale in old.values():
                        new.attach_scale(self.target[scale.name])
                    if old.label:
                        new.label = old.label


def copy(source_path, target_path):
    """In the child process: makes the copy; what had to be left out, a line each."""
    import h5py

    with runs.open_readonly(source_path) as source, h5py.File(target_path, "w", libver="earliest") as target:
        made = Copy(source, target)
        made.group(source, target)
        made.scales()
        if not len(target) and not len(target.attrs):
            raise OSError(made.left_out[0] if made.left_out else "holds nothing")
        return made.left_out


def source_of(path):
    path = pathlib.Path(path)
    file = path / "run.h5" if path.is_dir() else path
    if not file.exists():
        raise Trouble(f"{file}: no such file")
    return file


def check_target(source, target, force):
    if target.is_dir():
        raise Trouble(f"{target}: is a folder; --out wants a file")
    if target.exists() and os.path.samefile(source, target):
        raise Trouble(f"{target}: is the run file itself, which is never changed")
    if target.exists() and not force:
        raise Trouble(f"{target}: exists; --force overwrites it")
    if not target.parent.is_dir():
        raise Trouble(f"{target.parent}: no such folder")


def run(options):
    source, target = source_of(options.run), pathlib.Path(options.out)
    check_target(source, target, options.force)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        left_out = reading.call(options.read_timeout, "braid_report.clean", "copy", source.resolve(), temporary.resolve())
        os.replace(temporary, target)
    except reading.Unreadable as problem:
        raise Failure(f"{source}: {problem}") from problem
    except OSError as problem:
        raise Failure(f"{target}: cannot be written: {problem.strerror or problem}") from problem
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    print(f"{target}: copied" + (", except for" if left_out else ""), *left_out, sep="\n  ")
    return 0
