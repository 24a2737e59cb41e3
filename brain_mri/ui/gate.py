"""What every request meets before Gradio: headers that keep the page to its own host, passwords at a slow pace, and no
way through to other hosts.

Words of a model or a file could try to bring a picture, a script or a form of another host into the page, which would
then learn who looks at it. They are shown as plain text everywhere; the headers see to it that the browser fetches
nothing from elsewhere even where a piece of Gradio takes text for Markdown.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import re
import time
from collections.abc import Awaitable, Callable

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Gradio's page has scripts and styles in its text, makes functions of text (gr.HTML), and keeps files as blobs.
# No frame-ancestors: Spaces and notebooks show the page in a frame.
POLICY = {
    "default-src": "'self'",
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval' blob:",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self' data: blob:",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
}
SHARED_FROM = "https://gradio.s3-us-west-2.amazonaws.com"  # the scripts of a page behind a link of gradio.live
# Gradio would fetch what this names and hand it on, so that anybody could browse through this server.
ELSEWHERE = re.compile(r"/(file|proxy)\W*https?:", re.IGNORECASE)
NOT_FETCHED = "This server fetches nothing from other addresses."
LONGEST_WAIT = 30.0  # seconds that an attempt to sign in may have to wait for its turn
REMEMBERED = 1000  # addresses, before those without a debt are forgotten


def policy(shared: bool) -> str:
    """The Content-Security-Policy. shared: behind a link of gradio.live, whose page has its scripts from one host."""
    listed = ("script-src", "style-src", "font-src", "img-src", "connect-src") if shared else ()
    return "; ".join(f"{name} {allowed}{f' {SHARED_FROM}' * (name in listed)}" for name, allowed in POLICY.items())


class Pace:
    """`burst` turns at once, then one every `seconds`, for each name (the "generic cell rate algorithm")."""

    def __init__(self, burst: int, seconds: float):
        self._ahead, self._seconds = (burst - 1) * seconds, seconds
        self._paid: dict[str, float] = {}  # when the turns that were taken are paid off

    def wait(self, name: str, now: float) -> float:
        """Seconds until the next turn of this name."""
        return max(0.0, self._paid.get(name, now) - self._ahead - now)

    def take(self, name: str, now: float) -> None:
        if len(self._paid) >= REMEMBERED:
            self._paid = {one: paid for one, paid in self._paid.items() if paid > now}
        self._paid[name] = max(self._paid.get(name, now), now) + self._seconds

    def give_back(self, name: str) -> None:
        self._paid[name] = self._paid.get(name, 0.0) - self._seconds


class Gate:
    """Middleware of the page's server."""

    def __init__(
        self,
        app: ASGIApp,
        shared: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ):
        """shared: is the page behind a link of gradio.live now? It is known only once the server runs."""
        self._app, self._shared, self._clock, self._sleep = app, shared, clock, sleep
        # Wrong passwords: of one address, and of all together, for addresses can be made up or rented.
        self._paces = (Pace(5, 6.0), Pace(60, 1.0))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] == "POST" and scope["path"].rstrip("/").endswith("/login"):
            await self._sign_in(scope, receive, send)
        elif ELSEWHERE.search(scope["path"]):
            refusal = JSONResponse({"detail": NOT_FETCHED}, 403)
            await refusal(scope, receive, self._with_headers(send))
        else:
            await self._app(scope, receive, self._with_headers(send))

    def _with_headers(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = policy(self._shared())
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
            await send(message)

        return sending

    async def _sign_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An attempt takes a turn, which a right password gives back. Who is too fast waits, or is refused."""
        now, names = self._clock(), (_network(scope), "all")
        turns = list(zip(self._paces, names, strict=True))
        wait = max(pace.wait(name, now) for pace, name in turns)
        if wait > LONGEST_WAIT:
            seconds = math.ceil(wait)
            sentence = f"Too many wrong passwords; please try again in {seconds} seconds."
            refusal = JSONResponse({"detail": sentence}, 429, {"Retry-After": str(seconds)})
            await refusal(scope, receive, self._with_headers(send))
            return
        for pace, name in turns:
            pace.take(name, now)
        await self._sleep(wait)

        async def sending(message: Message) -> None:
            if (
                message["type"] == "http.response.start" and message["status"] != 400
            ):  # Gradio's "Incorrect credentials."
                for pace, name in turns:
                    pace.give_back(name)
            await send(message)

        await self._app(scope, receive, self._with_headers(sending))


def _network(scope: Scope) -> str:
    """Whose attempt it is: the address, of IPv6 the first half, of which one person has the rest."""
    host = scope["client"][0] if scope.get("client") else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a socket of the file system
        return host
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else host
