"""For all tests: what a shell may have set, and must not decide how a test ends."""

import signal


def pytest_configure() -> None:
    # A shell without job control has what it starts in the background ignore Ctrl-C, and all its children with it: a command
    # that a test interrupts would never hear of it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
