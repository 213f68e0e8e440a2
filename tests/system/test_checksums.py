"""JSON texts with a checksum of themselves: what was changed is not read."""

import pytest

from bench.system.checksums import checked_json, parse_checked_json

CONTENT = {"values": [1.5, None], "name": "é"}


def test_what_was_written_is_read_without_its_checksum() -> None:
    text = checked_json(CONTENT)
    assert parse_checked_json(text) == CONTENT
    assert checked_json(parse_checked_json(text)) == text


@pytest.mark.parametrize(
    ("old", "new"), [("1.5", "1.4"), ('"name"', '"nama"'), ("checksum", "checksul")]
)
def test_any_change_is_found_that_of_the_checksums_own_name_too(old: str, new: str) -> None:
    with pytest.raises(ValueError, match="content that was written"):
        parse_checked_json(checked_json(CONTENT).replace(old, new))


def test_a_file_of_an_earlier_version_has_none_and_is_read_unless_one_is_required() -> None:
    assert parse_checked_json('{"a": 1}') == {"a": 1}
    with pytest.raises(ValueError, match="content that was written"):
        parse_checked_json('{"a": 1}', required=True)
