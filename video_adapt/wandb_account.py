"""Whether runs can reach Weights & Biases from here: the mode, the key, the way to the server."""

import netrc
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

_DEFAULT_SERVER = "https://api.wandb.ai"


def wandb_mode() -> str:
    """What ``WANDB_MODE`` says; without it, offline if there is no key or no way to the server.

    W&B itself would read that variable only once in a process.
    """
    if given := os.environ.get("WANDB_MODE"):
        return given
    server = wandb_server()
    return "online" if has_wandb_key(server) and is_reachable(server) else "offline"


def wandb_server() -> str:
    """Address of the service: ``WANDB_BASE_URL``, or the public one."""
    return os.environ.get("WANDB_BASE_URL", _DEFAULT_SERVER)


def has_wandb_key(server: str) -> bool:
    """Whether somebody logged in here; the key itself is looked at by W&B alone."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    path = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    host = urlsplit(server).hostname or ""
    try:
        return netrc.netrc(path).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def is_reachable(server: str, timeout_s: float = 3.0) -> bool:
    """Whether a server answers within a time, in seconds."""
    parts = urlsplit(server)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=timeout_s):
            return True
    except OSError:
        return False
