import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_column_readers import JSON_VALUES

from store.model.content import ContentSink, cut_array, join_pieces
from store.model.ids import content_id

WHITESPACE = st.text(alphabet=" \n\t\r", max_size=2)
TENANT = "acme"


@st.composite
def array_texts(draw: st.DrawFn) -> str:
    """JSON arrays with whatever whitespace JSON allows between their items."""
    items = draw(st.lists(JSON_VALUES, max_size=5))
    ascii_only, spread = draw(st.booleans()), draw(st.booleans())
    text = draw(WHITESPACE) if spread else ""
    for nth, item in enumerate(items):
        text += ("," if nth else "") + (
            draw(WHITESPACE) if spread else draw(st.sampled_from(["", " "]) if nth else st.just(""))
        )
        text += json.dumps(item, ensure_ascii=ascii_only, allow_nan=False) + (draw(WHITESPACE) if spread else "")
    return f"[{text}]"


def _again(sink: ContentSink, pieces: Any) -> Any:
    texts = {piece.content_id: piece.text for piece in sink.take()}
    return join_pieces(json.loads(json.dumps(pieces.as_json())), texts)


@given(array_texts())
def test_an_array_cut_into_pieces_and_joined_is_the_same_text(text: str) -> None:
    sink = ContentSink()
    assert _again(sink, sink.put_array(TENANT, text)) == text


@given(array_texts())
def test_an_array_is_cut_only_where_joining_gives_it_back(text: str) -> None:
    cut = cut_array(text)
    if cut is not None:
        raws, separator = cut
        assert "[" + separator.join(raw.decode() for raw in raws) + "]" == text
        assert [json.loads(raw) for raw in raws] == json.loads(text)


@given(st.text())
def test_any_text_is_given_back(text: str) -> None:
    whole, cut = ContentSink(), ContentSink()
    assert _again(cut, cut.put_array(TENANT, text)) == text
    assert _again(whole, whole.put_value(TENANT, text)) == text


@given(JSON_VALUES)
def test_any_value_is_given_back(value: Any) -> None:
    whole, cut = ContentSink(), ContentSink()
    assert _again(cut, cut.put_array(TENANT, value)) == value
    assert _again(whole, whole.put_value(TENANT, value)) == value


@given(st.lists(st.one_of(array_texts(), st.text(alphabet='[]{}",: 1a', max_size=12)), max_size=4), st.data())
def test_a_history_that_grows_is_given_back_at_every_turn(texts: list[str], data: st.DataObject) -> None:
    """Each turn is a new text, or the one before with something behind it, JSON or not."""
    sink, known, turn = ContentSink(), dict[str, str](), "[]"
    for text in texts:
        tails = [",]", ",,1]", ', {"a": 1}]', ",2,3]", ", 4, 5]", ",6, 7]", " ]", "]]", text[1:], "," + text[1:]]
        turn = data.draw(st.sampled_from([text, turn, *(turn[:-1] + tail for tail in tails)]))
        pieces = sink.put_array(TENANT, turn, ("history",))
        known |= {piece.content_id: piece.text for piece in sink.take()}
        assert join_pieces(pieces.as_json(), known) == turn
        assert pieces.ids == ContentSink().put_array(TENANT, turn).ids


@pytest.mark.parametrize("tail", [",]", ", ]", ",,2]", ", 2]", ",2, 3]", ",2,3]", ",2]]", "]", "2]", ",2] "])
@pytest.mark.parametrize("before", ["[1]", "[0,1]", "[0, 1]"])
def test_a_tail_that_is_no_item_does_not_continue_a_history(before: str, tail: str) -> None:
    sink = ContentSink()
    sink.put_array(TENANT, before, ("history",))
    turn = before[:-1] + tail
    assert _again(sink, sink.put_array(TENANT, turn, ("history",))) == turn


@pytest.mark.parametrize("text", ["[1,]", "[1,,2]", "[1 2]", "[1", "1]", "{}", "", "[]]", "nonsense", "[" * 10_000])
def test_what_is_no_array_is_kept_whole(text: str) -> None:
    assert cut_array(text) is None
    sink = ContentSink()
    pieces = sink.put_array(TENANT, text)
    assert (pieces.form, len(pieces.ids)) == ("text", 1)
    assert _again(sink, pieces) == text


def test_a_piece_is_given_out_once_and_remembered_when_it_is_stored() -> None:
    sink = ContentSink()
    ids = sink.put_array(TENANT, '["a","b","a"]').ids
    assert ids == [content_id(TENANT, b'"a"'), content_id(TENANT, b'"b"'), content_id(TENANT, b'"a"')]
    taken = sink.take()
    assert [piece.text for piece in taken] == ['"a"', '"b"']
    assert sink.put_value(TENANT, "a").ids != ids[:1]  # The text a is not the JSON string "a".
    sink.take()
    sink.put_array(TENANT, '["a"]')
    assert sink.take() == []  # On its way into the view: a batch that comes meanwhile need not carry it, too.
    sink.put_array(TENANT, '["b","a"]')
    assert sink.take() == []


def test_two_tenants_do_not_share_content() -> None:
    sink = ContentSink()
    assert sink.put("acme", b"secret", "text/plain") != sink.put("globex", b"secret", "text/plain")
    assert {piece.tenant for piece in sink.take()} == {"acme", "globex"}
