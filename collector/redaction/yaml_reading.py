"""YAML read with the line of everything, so that what is wrong can be shown where it stands.

Anchors and aliases are refused: a policy needs none, and with them a page of text can stand for gigabytes.
"""

from collections.abc import Iterator
from typing import Any, Final

import yaml

from collector.redaction.errors import PolicyUnusable

BYTES_MAX: Final = 1024 * 1024
_TRUTH: Final = {"true": True, "false": False}


class Node:
    """A value of a YAML file. Every method raises PolicyUnusable, with the line, where the value is of another kind."""

    def __init__(self, node: Any, path: str, name: str) -> None:
        self._node = node
        self._path = path
        self._name = name

    def refused(self, what: str, remedy: str) -> PolicyUnusable:
        """The error that this value is."""
        line = self._node.start_mark.line + 1
        return PolicyUnusable(f"policy {self._path}, line {line}: {what}; {remedy}")

    @property
    def place(self) -> int:
        """Which value of the file this is."""
        return int(self._node.start_mark.index)

    def members(self, allowed: frozenset[str] | None = None) -> dict[str, "Node"]:
        """Of a mapping, in order. `allowed` are the names that it may have; None for any."""
        if not isinstance(self._node, yaml.MappingNode):
            raise self.refused(f"`{self._name}` is not a mapping", "write `name: value` lines below it, indented")
        found: dict[str, Node] = {}
        for key, value in self._node.value:
            name = str(key.value)
            member, at = Node(value, self._path, name), Node(key, self._path, name)
            if not isinstance(key, yaml.ScalarNode) or (allowed is not None and name not in allowed):
                raise at.refused(f"`{name}` is not known here", f"known are {', '.join(sorted(allowed or ()))}")
            if name in found:
                raise at.refused(f"`{name}` stands here twice", "keep one of the two")
            found[name] = member
        return found

    def items(self) -> Iterator["Node"]:
        """Of a list; a single value is a list of one."""
        if isinstance(self._node, yaml.SequenceNode):
            return (Node(item, self._path, self._name) for item in self._node.value)
        return iter([self])

    def text(self) -> str:
        """A string, or a number as it is written."""
        if not isinstance(self._node, yaml.ScalarNode) or self._node.tag == "tag:yaml.org,2002:null":
            raise self.refused(f"`{self._name}` has no text", "write one behind the colon, in quotes")
        return str(self._node.value)

    def texts(self) -> list[str]:
        return [item.text() for item in self.items()]

    def truth(self) -> bool:
        """True or false."""
        if isinstance(self._node, yaml.ScalarNode) and self._node.value in _TRUTH:
            return _TRUTH[self._node.value]
        raise self.refused(f"`{self._name}` is neither true nor false", "write `true` or `false`")

    def choice(self, *choices: str) -> str:
        """One of some words."""
        # YAML 1.1 reads the word `off` as false; the text is what was written.
        said = self.text()
        if said not in choices:
            raise self.refused(f"`{self._name}` cannot be {said!r}", f"allowed are {', '.join(choices)}")
        return said


def read_yaml(text: bytes, path: str) -> Node:
    """The root of a YAML file. Raises PolicyUnusable."""
    if len(text) > BYTES_MAX:
        raise PolicyUnusable(f"policy {path} has {len(text):,} bytes; {BYTES_MAX:,} are allowed: is it the right file?")
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                line = event.start_mark.line + 1
                raise PolicyUnusable(f"policy {path}, line {line}: anchors and aliases are not allowed; write it out")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.MarkedYAMLError, yaml.reader.ReaderError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "nested too deep"
        raise PolicyUnusable(f"policy {path}{line}: not YAML: {problem}; correct it there or just before") from error
    if root is None:
        raise PolicyUnusable(f"policy {path} is empty; leave the setting away for the built-in policy")
    return Node(root, path, "policy")
