"""How answers are sent as JSON."""

from __future__ import annotations

import json
from typing import Any

from fastapi.responses import Response


class JSONResponse(Response):
    """JSON in plain ASCII, because file names may contain characters that UTF-8 cannot encode."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The bytes of the response."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")
