#!/usr/bin/env bash
# safetensors 0.8.0, safetensors.numpy.save, last seen 2026-11-27
#
# Guess:  an array that is a view of another one (a transpose, every second element) is stored with its values, or refused as
#         safetensors.torch refuses a tensor that is not contiguous.
# Seen:   it is stored without a warning, with its shape and the elements of the memory it views in their order there: a
#         transposed matrix comes back with the right shape and other entries.
# Matters: weights are often transposed when they are moved between conventions (x W and W x). Pass numpy.ascontiguousarray(w).
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv --without-pip "$place/env"
python3 -m pip --python "$place/env" install --quiet safetensors==0.8.0 numpy==2.4.1
"$place/env/bin/python" - <<'PY'
import numpy as np
from safetensors.numpy import load, save

matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
transposed = load(save({"w": matrix.T}))["w"]
print("stored:  ", matrix.T.tolist())
print("read:    ", transposed.tolist())
assert transposed.shape == (3, 2)
assert transposed.tolist() == [[0, 1], [2, 3], [4, 5]], "the behavior has changed"

copied = load(save({"w": np.ascontiguousarray(matrix.T)}))["w"]
assert np.array_equal(copied, matrix.T)
PY
