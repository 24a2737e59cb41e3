"""Talking to the Hugging Face Hub: whom to ask, how long to wait, and how to say what went wrong.

What huggingface_hub raises differs between its versions (httpx in 1.x, httpx2 in 2.x), so errors are told apart by the
classes of `huggingface_hub.errors`, by status codes and by class names, never by importing an HTTP library.
`HF_ENDPOINT` is read at each call (huggingface_hub itself reads it once, at import).
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import huggingface_hub  # its names load on first use, so this line is cheap
from huggingface_hub import constants

T = TypeVar("T")
TOKENS_PAGE = "https://huggingface.co/settings/tokens"
REFUSED = f"The Hub refused the token (mistyped, expired or revoked); make a new one at {TOKENS_PAGE}."
_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w][\w./+-]*))?")
UNCHANGED = "nothing on the Hub was changed"
UNSURE = "it may have arrived all the same: try again, nothing is written twice"
PUSH_SILENCE = 60.0  # seconds without a byte after which an upload counts as stuck


class HubError(RuntimeError):
    """The Hub, or what it holds, cannot be used; the message is one sentence for a person."""


def split_id(text: str) -> tuple[str, str | None]:
    """ "user/name@revision" -> ("user/name", "revision" or None). Raises HubError for anything else."""
    match = _ID.fullmatch(text.strip())
    if match is None or ".." in text:
        raise HubError(f"{text!r} is no Hub model: write user/name or user/name@revision.")
    return match[1], match[2]


def endpoint() -> str:
    """The Hub's address, without a slash at the end."""
    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def client(token: str | None = None) -> huggingface_hub.HfApi:
    return huggingface_hub.HfApi(endpoint=endpoint(), token=token, library_name="brain-mri-demo")


def find_token(token: str | None = None) -> str | None:
    """The given token, else HF_TOKEN, the saved login, or the secret of a Colab notebook."""
    return token or huggingface_hub.get_token()


def within(seconds: float, work: Callable[[], T]) -> T:
    """What `work()` returns or raises; TimeoutError when that takes longer than `seconds`.

    The Hub library's own time-outs are per request, and it retries; this bounds the whole. Work that is late goes on
    in a daemon thread, which neither blocks the page nor the end of the program.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="hub", daemon=True).start()
    return future.result(timeout=max(seconds, 0.0))


def status_of(error: BaseException) -> int | None:
    """HTTP status code behind an exception of huggingface_hub, where there is one."""
    return getattr(getattr(error, "response", None), "status_code", None)


def explain(
    error: BaseException, repo: str, *, token: str | None, seconds: float = 5.0, kind: str = "model"
) -> HubError:
    """One sentence about an exception that huggingface_hub raised while `repo` ("user/name[@revision]") was read."""
    return error if isinstance(error, HubError) else HubError(_sentence(error, repo, token, seconds, kind))


def _sentence(error: BaseException, repo: str, token: str | None, seconds: float, kind: str) -> str:
    chain = _chain(error)
    names = {cls.__name__ for one in chain for cls in type(one).__mro__}
    status = next((code for one in chain if (code := status_of(one)) is not None), None)
    page = f"{endpoint()}/{'' if kind == 'model' else f'{kind}s/'}{repo.split('@')[0]}"
    message = " ".join(str(one) for one in chain)
    if "OfflineModeIsEnabled" in names:
        return f"The Hub was not asked for {repo} because HF_HUB_OFFLINE is set."
    if "GatedRepoError" in names:
        return f"{repo} is gated: ask for access at {page} and set HF_TOKEN to a token of the account that was let in."
    if "DisabledRepoError" in names:
        return f"{repo} has been disabled on the Hub; see {page}."
    if "RevisionNotFoundError" in names:
        name, _, revision = repo.partition("@")
        return f"{name} has no branch, tag or commit named {revision or 'main'}; see {page}/commits."
    if status == 401 and "Invalid credentials" in message:
        return REFUSED
    if "RepositoryNotFoundError" in names or status in (401, 404):
        if token:
            return (
                f"There is no {kind} {repo} that this token may read: check the name, or use a token of an account "
                "that has access."
            )
        return (
            f"There is no public {kind} {repo}: check the name or, if it is private, set HF_TOKEN to a token that may "
            "read it."
        )
    if status == 403:
        return f"The Hub refuses access to {repo} with this token; see {page} and {TOKENS_PAGE}."
    if status == 429:
        return f"The Hub has had too many requests from here and refuses {repo} for now; try again later."
    if status is not None and status >= 500:
        return f"The Hub has a fault of its own (HTTP {status}) and did not give {repo}; try again later."
    if names & {"TimeoutError", "TimeoutException"}:
        return f"The Hub did not answer within {seconds:.0f} s when asked for {repo}."
    if names & {"ConnectError", "NetworkError", "RemoteProtocolError", "ProxyError", "ConnectionError"}:
        return f"The Hub ({endpoint()}) cannot be reached for {repo}: no network, or it is down."
    if names & {"UnicodeDecodeError", "JSONDecodeError"}:
        return f"The answer of {endpoint()} about {repo} is not readable; it may come from a proxy."
    if "Consistency check failed" in message:
        return f"{repo} arrived truncated; try again."
    first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, OSError):
        return f"{repo} could not be stored on this machine ({first_line})."
    return f"{repo} could not be fetched from the Hub ({type(error).__name__}: {first_line})."


def explain_write(
    error: BaseException, repo: str, *, account: str, kind: str = "model", left: str = UNCHANGED
) -> HubError:
    """One sentence about an exception that huggingface_hub raised while `repo` was written.

    left: what the Hub holds now, for the end of the sentence. UNSURE: a commit was under way, and only a refusal (4xx)
    shows that it did not arrive.
    """
    if isinstance(error, HubError):
        return error
    status = status_of(error)
    if status in (401, 403, 404):
        return HubError(
            f"The account {account} may not write the {kind} {repo} with this token: use your own user name or an "
            f"organisation you belong to, and a token with write access from {TOKENS_PAGE}."
        )
    if status in (409, 412):
        return HubError(f"{repo} changed on the Hub while it was being written; nothing was overwritten, push again.")
    if isinstance(error, ValueError) and "metadata" in str(error):
        detail = " ".join(str(error).split())
        return HubError(f"The Hub refuses the header of README.md, so nothing was pushed ({detail}).")
    if left == UNSURE and any((status_of(one) or 500) < 500 for one in _chain(error)):
        left = UNCHANGED
    sentence = str(explain(error, repo, token=account, kind=kind))
    return HubError(f"{sentence.rstrip('.')}; {left}.")


def writer(token: str | None, name: str, no_revision: str) -> tuple[huggingface_hub.HfApi, str, str]:
    """(client that may write, its account, repository) for "user/name", or for "name" of the account's own.

    Raises HubError with what to do otherwise; no_revision: with this sentence for "user/name@revision".
    """
    found = find_token(token)
    if not found:
        raise HubError(
            f"No Hugging Face token was found: make one with write access at {TOKENS_PAGE} and set it as HF_TOKEN (in "
            "Colab: add it under the key symbol as the secret HF_TOKEN and run the notebook's push cell), or run "
            "`hf auth login`."
        )
    try:
        account = within(15.0, lambda: client(found).whoami())
    except Exception as error:
        if status_of(error) == 401:
            raise HubError(REFUSED) from None
        raise explain(error, "your account", token=found, seconds=15) from None
    access = (account.get("auth") or {}).get("accessToken") or {}
    if access.get("role") == "read":
        raise HubError(
            f"The token {access.get('displayName', '')!r} of {account.get('name')} may only read: make one with write "
            f"access at {TOKENS_PAGE} and set it as HF_TOKEN."
        )
    huggingface_hub.get_session().timeout = PUSH_SILENCE  # by default a request without its own limit waits for ever
    owner = str(account["name"])
    repo_id, revision = split_id(name if "/" in name else f"{owner}/{name}")
    if revision:
        raise HubError(no_revision)
    return client(found), owner, repo_id


def _chain(error: BaseException) -> list[BaseException]:
    """The exception and its causes: huggingface_hub wraps "down", "5xx" and "hanging" into LocalEntryNotFoundError."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__
    return chain
