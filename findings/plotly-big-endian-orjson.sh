#!/usr/bin/env bash
# plotly 7.1.0 with orjson 3.13.0, last seen 2026-11-27
#
# Guess:  a figure of a big-endian array, as many scientific formats hold them (FITS, netCDF-3, MATLAB on some machines), turns
#         into JSON the same way whichever packages are installed.
# Seen:   it does, until orjson is installed, which plotly then uses by itself: the same figure raises TypeError ("numpy array is
#         not native-endianness").
# Matters: a notebook that works breaks when some other package brings orjson (Gradio does). Pass
#         array.astype(array.dtype.newbyteorder("=")).
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv --without-pip "$place/env"
cat > "$place/draw.py" <<'PY'
import importlib.util
import numpy as np
import plotly.graph_objects as go

losses = np.array([1.0, 0.5, 0.25], dtype=">f8")
with_orjson = importlib.util.find_spec("orjson") is not None
try:
    go.Figure(go.Scatter(y=losses)).to_json()
    outcome = "drawn"
except TypeError as error:
    outcome = f"TypeError: {error}"
print(f"orjson {'installed' if with_orjson else 'absent'}: {outcome}")
assert outcome.startswith("TypeError" if with_orjson else "drawn"), "the behavior has changed"
PY
python3 -m pip --python "$place/env" install --quiet plotly==7.1.0 numpy==2.4.1
"$place/env/bin/python" "$place/draw.py"
python3 -m pip --python "$place/env" install --quiet orjson==3.13.0
"$place/env/bin/python" "$place/draw.py"
