"""A metric is one entry of the registry."""

import pytest

from bench.records import metrics
from bench.records.metrics import describe, in_section, metric, metric_rows, register
from bench.records.schema import record_rows


@pytest.fixture
def fresh_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "REGISTRY", dict(metrics.REGISTRY))


@pytest.mark.usefixtures("fresh_registry")
def test_a_metric_from_outside_is_one_entry() -> None:
    spec = register("spam_rate", "share", "lower", "memory", "spam", "Share of spam in the text.")
    assert metric("spam_rate", 0.25).as_json() == {
        "name": "spam_rate",
        "unit": "share",
        "better": "lower",
        "values": [0.25],
        "note": "",
        "at": {},
        "rounds": [],
    }
    assert in_section("memory")[-1] == describe("spam_rate") == spec
    assert ("spam_rate", "share", "lower", "Memory and energy", spec.help) in metric_rows()


@pytest.mark.usefixtures("fresh_registry")
def test_a_name_is_registered_once_and_in_a_section_that_exists() -> None:
    with pytest.raises(ValueError, match="bits_per_byte"):
        register("bits_per_byte", "bits", "higher", "", "", "")
    with pytest.raises(ValueError, match="nowhere"):
        register("new", "bits", "higher", "nowhere", "", "")


def test_values_are_numbers_samples_or_none() -> None:
    assert metric("perplexity", 2).values == (2.0,)
    assert metric("decode_tokens_per_second", [1.0, 2.0], rounds=[3, 4]).rounds == (3, 4)
    assert metric("state_bytes", note="an encoder keeps no state").values == ()
    with pytest.raises(KeyError):
        metric("never_registered", 1.0)


def test_a_metric_that_only_a_record_knows_is_described_by_its_name() -> None:
    assert describe("old_metric").title == "old metric"


def test_each_entry_says_what_it_is() -> None:
    for spec in metrics.REGISTRY.values():
        assert spec.unit, spec
        assert spec.title, spec
        assert spec.help.endswith("."), spec


def test_the_docs_list_every_key_that_is_checked() -> None:
    keys = {(row.file, row.key) for row in record_rows()}
    assert {("result.json", "status"), ("config.yaml", "names.arch")} <= keys
    assert all(row.help for row in record_rows())
