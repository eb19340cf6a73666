"""Who sits at the command line, as the operating system knows them: `local:USER`."""

import os
import pwd

from access.permissions import ALL_PERMISSIONS, Principal
from store.record import DEFAULT_TENANT


def local_user() -> str:
    """The name of this process's user, or its number where it has none: not what the environment says."""
    number = os.getuid()
    try:
        return f"local:{pwd.getpwuid(number).pw_name}"
    except KeyError:  # Containers run as numbers.
        return f"local:{number}"


def local_principal() -> Principal:
    """Who reads a data folder may read all of it: that it is recorded is what is left to us."""
    return Principal(kind="local", name=local_user(), tenant=DEFAULT_TENANT, role=None, permissions=ALL_PERMISSIONS)
