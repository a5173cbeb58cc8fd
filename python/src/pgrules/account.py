"""The account that this process runs under, for what records who did something."""

from __future__ import annotations

import getpass


def account_name() -> str:
    """Its name; "unknown" where it has none, as in containers of an arbitrary id."""
    try:
        return getpass.getuser()
    # KeyError until Python 3.13 made it an OSError; ImportError where there are none.
    except (ImportError, KeyError, OSError):
        return "unknown"
