"""Redaction: secrets and personal data are taken out of a request before its first durable byte, failing closed.

    one scan of the body -> nothing: as it came
                         -> candidates -> the texts they lie in -> verified -> records rewritten, scanned again, marked

The body is protobuf as the official runtime writes it, so it holds every text there is, wherever it stands: values, keys,
names, nested arrays and maps, bytes, fields that OTLP does not know. Nearly every request has no hit and goes on as it came.

What the data causes is redacted for good: a record that still has hits after it was rewritten becomes a stub. What we cause
(an engine that fails) refuses the request, retryably.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from collector.boundary import Passed
from collector.errors import RedactionUnavailable
from collector.redaction.agents import Agents
from collector.redaction.class_drops import drop_classes
from collector.redaction.errors import Unredactable
from collector.redaction.finding import Found
from collector.redaction.holders import Holder, Path, holder_of
from collector.redaction.marking import Redaction, rename_sent_mark, write_mark
from collector.redaction.places import Text, Unknown, texts_with
from collector.redaction.policy import Policy, RuleSet, TenantPolicy
from collector.redaction.pseudonyms import Pseudonyms
from collector.redaction.rewriting import Record
from collector.redaction.rules import Rule
from collector.redaction.splicing import RECORD_STEPS, spliced
from collector.redaction.stubs import empty
from store.otlp.decode import Decoded, decode
from store.otlp.redaction import MARK
from store.otlp.schema import REQUEST_MESSAGES
from store.record import Signal

PASSES_MAX: Final = 4
"""Over one record. The first takes out what was found; what shows only then (a value that was split by another) takes the
second. One that needs more was made to need them."""
ENTRIES_MAX: Final = 4096
"""Of one record's mark. Each is about 150 bytes and is read with the record: what has more becomes a stub."""
UNKNOWN_FIELDS: Final = "unknown_fields"
"""The name under which a mark says that fields which OTLP does not know were dropped."""
_MARK: Final = MARK.encode()
_KEY: Final = ("key", -1)
_VALUE: Final = ("value", -1)


@dataclass(slots=True)
class _Work:
    """What is to be done to one holder. Paths are from it on."""

    holder: Holder
    rules: RuleSet
    texts: list[tuple[Text, list[Found]]] = field(default_factory=list[tuple[Text, list[Found]]])
    pairs: list[tuple[Path, Rule]] = field(default_factory=list[tuple[Path, Rule]])
    unknown: list[tuple[Path, int]] = field(default_factory=list[tuple[Path, int]])
    has_mark: bool = False


class RedactingBoundary:
    """A `collector.boundary.Boundary` that applies a policy. Thread-safe."""

    def __init__(self, policy: Callable[[], Policy], pseudonyms: Pseudonyms | None = None) -> None:
        """`policy` is asked for each request. Without `pseudonyms` a policy must have no rule that needs them."""
        self._policy = policy
        self._pseudonyms = pseudonyms

    def prepare(self) -> None:
        """Compile the rules, so that the first request need not wait for it. Raises ExpressionRefused where that fails."""
        for policy in self._policy().every():
            policy.finder.candidates(b"")

    def apply(self, tenant: str, decoded: Decoded) -> Passed:
        """Raises RedactionUnavailable where the redaction itself fails."""
        policy = self._policy().of(tenant)
        candidates = policy.finder.candidates(decoded.body)
        if not candidates and not policy.drops:
            return Passed(decoded)
        return _Request(tenant, policy, decoded, self._pseudonyms).redacted(candidates)


class _Request:
    """One request while it is redacted."""

    def __init__(self, tenant: str, policy: TenantPolicy, decoded: Decoded, pseudonyms: Pseudonyms | None) -> None:
        self._tenant = tenant
        self._policy = policy
        self._finder = policy.finder
        self._decoded = decoded
        self._signal: Signal = decoded.signal
        self._agents = Agents(policy, decoded)
        self._pseudonyms = pseudonyms
        self._counts: Counter[str] = Counter()

    def redacted(self, candidates: list[tuple[int, int, int]]) -> Passed:
        """The request with everything taken out that is to be."""
        body, request = self._decoded.body, None
        is_as_decoded = self._decoded.plain
        dropped: dict[Path, list[Redaction]] = {}
        if self._policy.drops:
            request = self._own()
            dropped = drop_classes(self._signal, request, self._agents.rules_at)
            if dropped:
                is_as_decoded = False
                body = request.SerializeToString()
                candidates = self._finder.candidates(body)
        works = self._works(texts_with(self._signal, body, candidates))
        if not works and not dropped:
            return Passed(self._decoded)
        request = request or self._own()
        for path in dropped:
            works.setdefault(Holder(path, path), _Work(Holder(path, path), self._agents.rules_at(path)))
        # The innermost first: a metric is looked at when its points are done.
        for work in sorted(works.values(), key=lambda work: -len(work.holder.path)):
            self._redact(request, work, dropped.get(work.holder.path, []))
        if is_as_decoded:
            written = spliced(body, request, [work.holder.path[:RECORD_STEPS] for work in works.values()])
        else:
            written = request.SerializeToString()
        if self._decoded.plain:
            redacted = Decoded(self._signal, written, request, plain=True, shallow=self._decoded.shallow)
        else:
            redacted = decode(self._signal, written)
        return Passed(redacted, dict(self._counts))

    def _own(self) -> Any:
        """The request to be changed. The decoded one has no unknown fields: where there are some it is read again."""
        if self._decoded.plain:
            return self._decoded.request
        return REQUEST_MESSAGES[self._signal].FromString(self._decoded.body)

    def _works(self, texts: Iterator[Text | Unknown]) -> dict[Holder | None, _Work]:
        works: dict[Holder | None, _Work] = {}

        def work_for(path: Path) -> tuple[_Work, int]:
            holder = holder_of(self._signal, path)
            if holder not in works:
                works[holder] = _Work(holder or Holder((), ()), self._agents.rules_at(path))
            return works[holder], len(holder.path) if holder else 0

        for text in texts:
            if isinstance(text, Unknown):
                work, depth = work_for(text.path)
                work.unknown.append((text.path[depth:], len(text.content)))
                continue
            rules = self._agents.rules_at(text.path)
            found = self._found(text, rules)
            key_rule = _key_rule(text, rules) if text.path[-1] == _KEY else None
            is_mark = text.path[-1] == _KEY and text.content == _MARK
            if not (found or key_rule or is_mark):
                continue
            work, depth = work_for(text.path)
            work.has_mark |= is_mark
            if found:
                work.texts.append((Text(text.path[depth:], text.content, text.candidates), found))
            if key_rule:
                work.pairs.append((text.path[depth:-1], key_rule))
        return works

    def _found(self, text: Text, rules: RuleSet) -> list[Found]:
        found = self._finder.found_in(text.content, text.candidates, rules.rules)
        if rules.allowed:
            return [one for one in found if not rules.is_allowed(one.rule.name, one.value)]
        return found

    def _redact(self, request: Any, work: _Work, dropped: list[Redaction]) -> None:
        message = _at(request, work.holder.path)
        marked = _at(request, work.holder.mark_path)
        if work.has_mark:
            _rename_sent_marks(message)
        try:
            redacted = dropped + self._taken_out(message, work)
        except Unredactable:
            redacted = [empty(marked)]
        if not redacted:
            return
        self._counts.update(one.rule for one in redacted)
        if work.holder.path:
            write_mark(getattr(marked, work.holder.marks), redacted, self._policy.version)

    def _taken_out(self, message: Any, work: _Work) -> list[Redaction]:
        """Take out of a message what was found, and what shows then. Raises Unredactable."""
        record = Record(message, self._token)
        redacted: list[Redaction] = []
        texts, pairs, unknown = work.texts, work.pairs, work.unknown
        is_record = work.holder.path == work.holder.mark_path
        for _ in range(PASSES_MAX):
            redacted += record.redact(texts)
            for path, rule in pairs:
                redacted += record.redact_value(path, rule)
            for path, length in unknown:
                record.at(path).DiscardUnknownFields()
                redacted.append(Redaction(record.place(path), UNKNOWN_FIELDS, "drop", length))
            if len(redacted) > ENTRIES_MAX and len({(one.place, one.rule) for one in redacted}) > ENTRIES_MAX:
                raise Unredactable("more of it is to be redacted than a mark may say")
            # A request, and what is outside of resources and scopes, has schema URLs and no other text.
            if not texts or not is_record:
                break
            texts = self._left(record, texts, pairs, work.rules)
            pairs, unknown = [], []
            if not texts:
                break
        else:
            raise Unredactable("what is to be redacted does not come to an end")
        record.finish()
        return redacted

    def _left(
        self,
        record: Record,
        rewritten: list[tuple[Text, list[Found]]],
        replaced: list[tuple[Path, Rule]],
        rules: RuleSet,
    ) -> list[tuple[Text, list[Found]]]:
        """What shows in the texts that were rewritten. What is found in a text follows from it alone: no other is asked."""
        left: list[tuple[Text, list[Found]]] = []
        gone = {(*path, _VALUE) for path, _ in replaced}
        for text, _ in rewritten:
            if gone and any(text.path[: len(path)] == path for path in gone):
                continue
            content = record.text_at(text.path)
            now = Text(text.path, content, self._finder.candidates(content))
            if now.candidates and (found := self._found(now, rules)):
                left.append((now, found))
        return left

    def _token(self, value: bytes) -> str:
        if self._pseudonyms is None:
            raise RedactionUnavailable("the policy wants pseudonyms and there is no key: set pseudonym_key_file")
        return self._pseudonyms.token(self._tenant, value)


def _key_rule(text: Text, rules: RuleSet) -> Rule | None:
    return next((rule for rule in rules.rules.values() if text.content in rule.keys), None)


def _at(message: Any, path: Path) -> Any:
    for name, index in path:
        message = getattr(message, name) if index < 0 else getattr(message, name)[index]
    return message


def _rename_sent_marks(message: Any) -> None:
    """In a record, and in what it holds that has attributes."""
    for name in ("attributes", "metadata", "filtered_attributes"):
        if name in message.DESCRIPTOR.fields_by_name:
            rename_sent_mark(getattr(message, name))
    for name in ("events", "links", "exemplars"):
        for item in getattr(message, name, ()):
            _rename_sent_marks(item)
