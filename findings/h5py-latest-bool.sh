#!/usr/bin/env bash
# h5py 3.16.0 (HDF5 2.0.0) and h5py 3.14.0 (HDF5 1.14), last seen 2026-11-27
#
# Guess:  libver="latest" changes the object headers and indices, and a plain dataset of booleans written with it is readable by
#         the HDF5 release line before, which is still what most installations have.
# Seen:   HDF5 1.14 refuses the dataset, while a float64 one of the same file reads.
# Matters: masks and flags of a run written with "latest" are lost to colleagues with last year's h5py. Write
#         libver=("v110", "v114") or leave it at the default.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
for version in 3.16.0 3.14.0; do
    python3 -m venv --without-pip "$place/$version"
    python3 -m pip --python "$place/$version" install --quiet "h5py==$version" numpy==2.4.1
done
"$place/3.16.0/bin/python" - "$place" <<'PY'
import sys
import h5py
import numpy as np

assert h5py.version.hdf5_version.startswith("2."), h5py.version.hdf5_version
for libver in ("latest", "v114"):
    with h5py.File(f"{sys.argv[1]}/{libver}.h5", "w", libver=libver) as file:
        file["losses"] = np.array([1.0, 0.5])
        file["correct"] = np.array([True, False])
PY
"$place/3.14.0/bin/python" - "$place" <<'PY'
import sys
import h5py

assert h5py.version.hdf5_version.startswith("1.14"), h5py.version.hdf5_version
outcomes = {}
for libver in ("latest", "v114"):
    with h5py.File(f"{sys.argv[1]}/{libver}.h5") as file:
        for name in ("losses", "correct"):
            try:
                outcomes[libver, name] = file[name][:].tolist()
            except Exception as error:
                outcomes[libver, name] = type(error).__name__
for key, outcome in outcomes.items():
    print(*key, outcome)
assert outcomes["latest", "losses"] == outcomes["v114", "losses"] == [1.0, 0.5]
assert outcomes["v114", "correct"] == [True, False]
assert isinstance(outcomes["latest", "correct"], str), "the behavior has changed"
PY
