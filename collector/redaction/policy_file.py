"""placeholder"""

from pathlib import Path

from collector.redaction.policy import Policy, built_in_policy


def read_policy(path: Path, *, has_key: bool) -> Policy:
    return built_in_policy()
