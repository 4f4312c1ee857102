"""Start the stand-in for the WeChat Official Account platform: `python setup/sandbox --port 8100`."""

import argparse
import logging
from pathlib import Path

from aiohttp import web

from api import Api
from control import Control
from faults import Faults
from phone import Phone
from push import Pusher
from state import State
from storage import Storage

_logger = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
BODY_LIMIT = 1 << 20


def build(state_file: Path | None = None) -> web.Application:
    """Put the platform together.

    :param state_file: where the state outlives a restart; None keeps it in memory
    :raises ValueError, KeyError, TypeError: when that file is not one of ours
    """
    state = State()
    faults = Faults(state.changed)
    pusher = Pusher(state)
    api = Api(state, pusher, faults)
    control = Control(state, api, pusher, Phone(state, pusher), faults)
    app = web.Application(client_max_size=BODY_LIMIT)
    app.add_routes(control.routes())
    app.router.add_route("*", "/cgi-bin/{path:.*}", api.handle)
    app.router.add_get("/", page)
    app.router.add_static("/static", STATIC)

    storage = Storage(state, state_file) if state_file else None
    if storage:
        storage.load()

    async def lifetime(_app):
        if storage:
            storage.start()
        await pusher.start()
        yield
        faults.release()
        await pusher.stop()
        if storage:
            await storage.stop()

    app.cleanup_ctx.append(lifetime)
    return app


async def page(_request: web.Request) -> web.FileResponse:
    """The phone."""
    return web.FileResponse(STATIC / "index.html")


def main():
    """Serve the platform until it is told to end; the options are those of `--help`."""
    parser = argparse.ArgumentParser(prog="sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8100)
    parser.add_argument("--state", type=Path, help="file that keeps the state across restarts")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s sandbox: %(message)s")
    try:
        app = build(options.state)
    except (ValueError, KeyError, TypeError, OSError) as error:
        parser.error(f"cannot read the state in {options.state}: {error!r}")
    try:
        web.run_app(
            app,
            host=options.host,
            port=options.port,
            access_log=None,
            shutdown_timeout=1,
            print=lambda _text: _logger.info("listening on http://%s:%s", options.host, options.port),
        )
    except OSError as error:
        parser.exit(1, f"sandbox: cannot listen on {options.host}:{options.port}: {error.strerror}\n")


if __name__ == "__main__":
    main()
