"""`python -m spanledger`: the same as the `spanledger` command."""

import sys

from spanledger.cli import main

if __name__ == "__main__":
    sys.exit(main())
