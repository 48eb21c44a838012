"""The page's own files: styles, scripts and the icon. Their address has the release in it, so browsers keep them."""

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from eventkit.web.site import HERE


class Files(StaticFiles):
    """Serve the files of `static/`; browsers may keep them for a day."""

    def __init__(self) -> None:
        super().__init__(directory=HERE / "static")

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=86400"
        return response
