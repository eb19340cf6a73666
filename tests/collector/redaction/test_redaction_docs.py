"""docs/redaction.md against the rules and the loader."""

import re
from pathlib import Path

from collector.redaction.policy_file import read_policy
from collector.redaction.rules import built_in

PAGE = Path(__file__).parents[3] / "docs" / "redaction.md"


def test_the_page_has_every_rule_with_what_it_does_by_default() -> None:
    listed = dict(re.findall(r"^\| `(\w+)` \| (\w+) \| [^|]+ \|$", PAGE.read_text(), re.MULTILINE))
    assert listed == {rule.name: str(rule.action) if rule.on else "off" for rule in built_in().rules.values()}


def test_the_policy_on_the_page_can_be_used(tmp_path: Path) -> None:
    example = re.search(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert example
    path = tmp_path / "policy.yaml"
    path.write_text(example[1])
    policy = read_policy(path, has_key=True)
    assert policy.of("acme").general.drops.content
    assert policy.others.of(["support-7"]).drops.tools == ("read_mail", "crm_*")
    assert policy.others.general.is_allowed("email", b"x@example.org")
    assert "phone" not in policy.others.general.rules
