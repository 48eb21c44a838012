"""The FastAPI example, which also tells its process and the prices that it holds: `gunicorn --preload` loads this."""

import os
from typing import Any

from examples.frameworks.fastapi_shop import app, prices


@app.get("/process")
async def process() -> dict[str, Any]:
    """Return the number and the prices of the process that answers."""
    return {"pid": os.getpid(), "prices": prices}
