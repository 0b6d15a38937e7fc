"""Sign data with a key in the user's account; see :mod:`cifar_cnn.trust.ownership`."""

import hashlib
import hmac
import json
import os
import secrets
from typing import Any

from cifar_cnn.base.files import locked, replacing
from cifar_cnn.base.paths import user_folder


def signed(content: Any) -> str | None:
    """The user's signature of JSON-serializable data; None if the user has no folder for the key."""
    key = _key(make=True)
    return _sign(content, key) if key else None


def is_signed(content: Any, signature: Any) -> bool:
    """Whether a signature is this user's signature of the content."""
    key = _key(make=False)
    return key is not None and isinstance(signature, str) and hmac.compare_digest(_sign(content, key), signature)


def _sign(content: Any, key: bytes) -> str:
    return hmac.new(key, json.dumps(content, sort_keys=True).encode(), hashlib.sha256).hexdigest()


def _key(make: bool) -> bytes | None:
    user = user_folder("XDG_STATE_HOME", ".local/state")
    if user is None:
        return None
    folder = user / "cifar_cnn"
    path = folder / "key"
    try:
        if make and not path.exists():
            with locked(folder):
                if not path.exists():
                    with replacing(path, opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                        file.write(secrets.token_bytes(32))
        return path.read_bytes() or None
    except OSError:
        return None
