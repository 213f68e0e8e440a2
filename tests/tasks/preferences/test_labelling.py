"""Labels by hand: on the page of this machine, resumed, actively chosen, and what is refused."""

import json
import threading
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest

from bench import preferences
from bench.config.errors import UserError
from bench.tasks.preferences import label_page
from bench.tasks.preferences.labelling import LEAST_LABELS, Labelling, label_pairs
from bench.tasks.preferences.people import read_labels
from bench.training import TrainedModel, load
from tests.tasks.preferences.test_learning import make_base


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    _, base = make_base(tmp_path_factory.mktemp("base"))
    return load(base.folder)


class Person:
    """What a browser does with the page."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self.path, self.host = parts.path, parts.netloc

    def request(self, method: str, path: str = "", **form: str) -> tuple[int, str]:
        connection = HTTPConnection(self.host, timeout=30)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request(method, path or self.path, urlencode(form), headers)
        response = connection.getresponse()
        self.policy = response.getheader("Content-Security-Policy") or ""
        return response.status, response.read().decode()


def test_ten_labels_on_the_page(
    trained: TrainedModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    session, pages = Labelling(trained, tmp_path / "mine.jsonl", "me", False), list[str]()

    def answer(address: str) -> None:
        person = Person(address)
        assert person.request("GET", "/")[0] == 404
        assert person.request("POST", "/wrong/", number="1", answer="1")[0] == 404
        for number in range(1, 11):
            pages.append(person.request("GET")[1])
            assert "default-src 'none'" in person.policy
            if number == 5:  # a second click on the page before
                person.request("POST", number="4", answer="2")
            assert person.request("POST", number=str(number), answer="12=s1"[number % 5])[0] == 303
        pages.append(person.request("GET")[1])

    with label_page.serve() as ask:
        address = caplog.text[caplog.text.index("http://") :].split()[0]
        browser = threading.Thread(target=answer, args=(address,))
        browser.start()
        answers = list(label_pairs(session, ask, 8))  # two of ten are skipped
    browser.join()
    assert answers == ["12=s1"[number % 5] for number in range(1, 11)]
    labels = read_labels(tmp_path / "mine.jsonl")
    assert [label.tie for label in labels] == [answer in "=s" for answer in answers]
    assert "Finished" in pages[-1]
    assert all(
        "src=" not in page and "http" not in page for page in pages
    )  # nothing from elsewhere
    row = json.loads((tmp_path / "mine.jsonl").read_text().splitlines()[0])
    assert (row["chosen_first"], row["pair"]) == (False, 0)


def test_labelling_resumes_and_asks_for_what_says_most(
    trained: TrainedModel, tmp_path: Path
) -> None:
    out = tmp_path / "mine.jsonl"
    first = Labelling(trained, out, "me", False)
    assert len(list(label_pairs(first, lambda *texts: "1", LEAST_LABELS))) == LEAST_LABELS
    assert list(label_pairs(first, lambda *texts: "q", 5)) == []
    again = Labelling(trained, out, "me", True)
    chosen = again.next_pair()
    assert chosen is not None
    assert chosen >= LEAST_LABELS
    rows = again.features[np.arange(len(again.features)) >= LEAST_LABELS]
    assert np.linalg.norm(again.features[chosen]) > np.median(np.linalg.norm(rows, axis=1))
    assert Labelling(trained, out, "another", True).next_pair() == 0


def test_what_cannot_be_labelled(trained: TrainedModel, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text('{"prompt": "p"}\n')
    with pytest.raises(UserError) as error:
        Labelling(trained, other, "me", False).check()
    assert error.value.code == "unreadable-file"
    _, encoder = make_base(tmp_path, "modern_bert")
    with pytest.raises(UserError) as error:
        Labelling(load(encoder.folder), tmp_path / "x.jsonl", "me", False).check()
    assert error.value.code == "not-supported"
    (encoder.folder / "checkpoint" / "weights.pt").unlink()
    with pytest.raises(UserError) as error:
        load(encoder.folder)
    assert error.value.code == "no-records"


def test_labels_in_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, base = make_base(tmp_path)
    answers = iter(["?", "1", "=", "q"])
    monkeypatch.setattr("builtins.input", lambda question: next(answers))
    out = tmp_path / "mine.jsonl"
    assert preferences.main(["label", str(base.folder), "--out", str(out)]) == 0
    assert "2 answers" in capsys.readouterr().out
    assert len(read_labels(out)) == 2
