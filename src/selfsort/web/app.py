"""The page's server: which address gives what."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Body, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from selfsort.errors import InputError, SelfsortError, one_line
from selfsort.web import exporting, trying
from selfsort.web.guard import Guard, Rules
from selfsort.web.learning import NotNowError, Trainer
from selfsort.web.studio import MOST_AT_ONCE, Studio

STATIC = Path(__file__).parent / "static"
MOST_SUGGESTED = 200
SHARES = {"ge": 0.0, "le": 1.0}
GUARDED = {
    "/": "GET",
    "/static": "GET",
    "/image/{name}": "GET",
    "/prototype/{number}": "GET",
    "/api/state": "GET",
    "/api/images": "GET",
    "/api/suggest": "GET",
    "/api/style": "GET",
    "/api/labels.csv": "GET",
    "/api/train": "GET POST",
    "/api/train/cancel": "POST",
    "/api/train/keep": "POST",
    "/api/train/discard": "POST",
    "/api/correct": "POST",
    "/api/classify": "POST",
    "/api/decode": "POST",
    "/api/export": "POST",
    "/health": "GET",
}
"""Every address with its methods. All but ``/health`` need the token (see `Guard`)."""

Asked = Annotated[dict[str, Any], Body()]


def make_app(studio: Studio, trainer: Trainer, rules: Rules) -> Guard:
    """Return the server's application.

    Raises
    ------
    RuntimeError
        If an address is served that `GUARDED` does not list, or with other methods.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    _add_pages(app)
    _add_images(app, studio)
    _add_corrections(app, studio, trainer)
    _add_training(app, studio, trainer)
    _add_trying(app, studio)
    _add_errors(app)
    check_routes(app)
    return Guard(app, rules)


def check_routes(app: FastAPI) -> None:
    """Raise where an address has no rule: nothing is served that nobody thought about."""
    found: dict[str, set[str]] = {}
    for route in app.routes:
        if isinstance(route, Mount):
            found.setdefault(route.path, set()).add("GET")
        elif isinstance(route, APIRoute):
            found.setdefault(route.path, set()).update(route.methods or ())
        else:
            raise RuntimeError(f"{route} is served, and has no rule.")
    if found != {path: set(methods.split()) for path, methods in GUARDED.items()}:
        raise RuntimeError(f"The rules are for {sorted(GUARDED)}, but there are {sorted(found)}.")


def _state(studio: Studio, trainer: Trainer) -> dict[str, Any]:
    return {
        **studio.state(),
        "training": trainer.told(),
        "export_folder": str(exporting.next_folder(studio)),
    }


def _add_pages(app: FastAPI) -> None:
    @app.get("/")
    def index() -> Response:
        return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})

    @app.get("/health")
    def health() -> dict[str, bool]:
        return {"ok": True}

    app.mount("/static", StaticFiles(directory=STATIC))


def _add_images(app: FastAPI, studio: Studio) -> None:
    @app.get("/image/{name}")
    def image(name: str) -> Response:
        try:
            position = studio.album.position_of(name)
        except InputError as error:
            raise HTTPException(404, str(error)) from None
        headers = {"cache-control": "private, max-age=86400, immutable"}
        return Response(studio.album.thumbnail(position), media_type="image/png", headers=headers)

    @app.get("/prototype/{number}")
    def prototype(number: int) -> Response:
        try:
            picture = trying.prototype(studio, number)
        except InputError as error:
            raise HTTPException(404, str(error)) from None
        headers = {"cache-control": "no-cache"}
        return Response(picture, media_type="image/png", headers=headers)

    @app.get("/api/images")
    def images(
        which: Annotated[str, Query(alias="class", max_length=20)] = "all",
        order: Literal["typical", "doubtful", "unusual", "file"] = "typical",
        least: Annotated[float, Query(**SHARES)] = 0.0,
        most: Annotated[float, Query(**SHARES)] = 1.0,
        outlier: Annotated[float, Query(**SHARES)] = 0.0,
        text: Annotated[str, Query(max_length=200)] = "",
        start: Annotated[int, Query(ge=0, le=10**9)] = 0,
        count: Annotated[int, Query(ge=1, le=MOST_AT_ONCE)] = 200,
    ) -> dict[str, Any]:
        return studio.listed(which, order, least, most, outlier, text, start, count)

    @app.get("/api/suggest")
    def suggest(n: Annotated[int, Query(ge=1, le=MOST_SUGGESTED)] = 20) -> dict[str, Any]:
        return studio.suggestions(n)


def _add_corrections(app: FastAPI, studio: Studio, trainer: Trainer) -> None:
    @app.get("/api/state")
    def state() -> dict[str, Any]:
        return _state(studio, trainer)

    @app.post("/api/correct")
    def correct(asked: Asked) -> dict[str, Any]:
        done = studio.correct(asked.get("key"), asked)
        return {**_state(studio, trainer), "did": done["did"]}

    @app.get("/api/labels.csv")
    def labels() -> Response:
        headers = {"content-disposition": 'attachment; filename="labels.csv"'}
        content = exporting.labels_csv(studio)
        return Response(content, media_type="text/csv; charset=utf-8", headers=headers)

    @app.post("/api/export")
    def export(asked: Asked) -> dict[str, Any]:
        folder, n_images = exporting.export_folders(studio, asked.get("how"))
        return {"folder": str(folder), "n_images": n_images}


def _add_training(app: FastAPI, studio: Studio, trainer: Trainer) -> None:
    @app.get("/api/train")
    def told() -> dict[str, Any] | None:
        return trainer.told()

    @app.post("/api/train")
    def start(asked: Asked) -> dict[str, Any] | None:
        trainer.start()
        return trainer.told()

    @app.post("/api/train/cancel")
    def cancel(asked: Asked) -> dict[str, Any]:
        trainer.cancel()
        return _state(studio, trainer)

    @app.post("/api/train/keep")
    def keep(asked: Asked) -> dict[str, Any]:
        trainer.keep()
        return _state(studio, trainer)

    @app.post("/api/train/discard")
    def discard(asked: Asked) -> dict[str, Any]:
        trainer.discard()
        return _state(studio, trainer)


def _add_trying(app: FastAPI, studio: Studio) -> None:
    @app.post("/api/classify")
    def classify(asked: Asked) -> dict[str, Any]:
        return trying.classify(studio, asked.get("image"), asked.get("drawn"))

    @app.get("/api/style")
    def style() -> dict[str, Any]:
        return trying.styles(studio)

    @app.post("/api/decode")
    def decode(asked: Asked) -> dict[str, Any]:
        return trying.decode(studio, asked)


def _add_errors(app: FastAPI) -> None:
    def answer(status: int, sentence: str) -> JSONResponse:
        return JSONResponse({"error": one_line(sentence)}, status)

    @app.exception_handler(SelfsortError)
    def wrong(request: Request, error: SelfsortError) -> JSONResponse:
        return answer(409 if isinstance(error, NotNowError) else 400, str(error))

    @app.exception_handler(RequestValidationError)
    def unreadable(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "request"
        return answer(400, f"{where}: {first['msg']}.")

    @app.exception_handler(HTTPException)
    def not_there(request: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, str(error.detail))

    @app.exception_handler(OSError)
    def disk(request: Request, error: OSError) -> JSONResponse:
        return answer(500, f"{error.filename or 'The disk'}: {error.strerror or error}.")

    @app.exception_handler(RecursionError)
    def nested(request: Request, error: RecursionError) -> JSONResponse:
        return answer(400, "The request is nested too deeply.")
