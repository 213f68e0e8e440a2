"""Gold rewards, annotators, the n-gram author, prompts, selection, best of n: closed forms."""

import math

import numpy as np
import pytest
from scipy.special import expit

from bench.config.errors import UserError
from bench.data.tokenizer import ByteVocabulary
from bench.stats import frontiers
from bench.tasks.preferences import selection
from bench.tasks.preferences.annotators import Annotators
from bench.tasks.preferences.gold import Gold, gold_class
from bench.tasks.preferences.ngram_author import NgramAuthor
from bench.tasks.preferences.prompts import is_prompt

TEXT = b"the house sleeps " * 6 + b"rare "


class Short(Gold):
    """A user's own gold reward."""

    def score(self, response: bytes, ended: bool) -> float:
        return -float(len(response))


def test_words_counts_distinct_words_of_the_text_and_a_word_that_the_room_cuts_off() -> None:
    gold = gold_class("words")(TEXT, 20)
    assert gold.score(b"the house", True) == pytest.approx(8 / 20)
    assert gold.score(b"the the THE house", True) == pytest.approx(8 / 20)
    assert gold.score(b"rare invented", True) == 0  # once in the text, and not in it
    assert gold.score(b"the hous", False) == pytest.approx(7 / 20)
    assert gold.score(b"the hous", True) == pytest.approx(3 / 20)
    assert gold.words(b"the the hous") == 2


def test_prose_and_a_gold_of_the_users_own() -> None:
    gold = gold_class("prose")(TEXT, 10)
    assert gold.score(b"ab  C d", True) == pytest.approx(4 / 10)  # a, b, one space, d
    own = gold_class(f"{__name__}.Short")(TEXT, 10)
    assert own.score(b"abc", True) == -3


@pytest.mark.parametrize(
    ("name", "code"), [("wordz", "unknown-choice"), ("no.such.Gold", "invalid-value"),
                       (f"{__name__}.TEXT", "invalid-value"), ("pathlib.Path", "invalid-value")],
)  # fmt: skip
def test_a_gold_that_is_none(name: str, code: str) -> None:
    with pytest.raises(UserError) as error:
        gold_class(name)
    assert error.value.code == code


def test_annotators_follow_bradley_and_terry_with_flips_and_biases() -> None:
    gold, draw = np.tile([[0.3, 0.2]], (40_000, 1)), np.random.default_rng(0)
    even = np.ones((40_000, 2))
    shares = {
        "clean": Annotators(0.1).answer(gold, even, draw)[0].mean(),
        "flipped": Annotators(0.1, flip=0.2).answer(gold, even, draw)[0].mean(),
        "placed": Annotators(0.1, position_bias=1.0).answer(gold, even, draw)[0].mean(),
    }
    p = expit(1.0)
    assert shares["clean"] == pytest.approx(p, abs=0.01)
    assert shares["flipped"] == pytest.approx(0.8 * p + 0.2 * (1 - p), abs=0.01)
    assert shares["placed"] == pytest.approx(expit(2.0), abs=0.01)


def test_a_pool_disagrees_and_has_the_given_bias_in_the_mean() -> None:
    equal, lengths = np.zeros((60_000, 2)), np.tile([[1.0, 0.0]], (60_000, 1))
    pool = Annotators(0.1, count=3, length_bias=0.5)
    labels, annotators = pool.answer(equal, lengths, np.random.default_rng(0))
    by_member = [labels[annotators == member].mean() for member in range(3)]
    assert by_member == pytest.approx([0.5, expit(0.5), expit(1.0)], abs=0.015)


def test_the_author_follows_witten_and_bell() -> None:
    """After "ab" of "abac…": 2 occurrences of a with successors b, c: weight 2 / (2 + 2)."""
    vocabulary = ByteVocabulary()
    tokens = vocabulary.encode("abacadab")
    author = NgramAuthor(tokens, vocabulary)
    prompts = np.tile(vocabulary.encode("a"), (50_000, 1))
    after = author.write(prompts, 1, np.random.default_rng(0))[:, 0]
    # of 4 a's: successors b, c, d, b: bigram weight 4 / (4 + 3), unigram 8 / (8 + 4), then uniform
    unigram = 8 / 12 * 2 / 8 + 4 / 12 / 257
    expected = 4 / 7 * 2 / 4 + 3 / 7 * unigram
    assert (after == ord("b")).mean() == pytest.approx(expected, abs=0.008)


def test_prompts_hold_no_separator_and_end_before_a_word() -> None:
    vocabulary = ByteVocabulary()
    encode = vocabulary.encode
    assert is_prompt(encode("the house "), ord("s"), vocabulary)
    assert not is_prompt(encode("the house"), ord("s"), vocabulary)
    assert not is_prompt(encode("12 34 (x) "), ord("s"), vocabulary)
    assert not is_prompt(np.array([104, 105, 256, 32]), ord("s"), vocabulary)


def test_best_of_n_by_order_statistics() -> None:
    values = np.array([[1.0, 5.0, 3.0, 2.0]])
    assert frontiers.best_of_n(values, values, 1)[0] == pytest.approx(values.mean())
    assert frontiers.best_of_n(values, values, 4)[0] == 5
    pairs = [max(a, b) for n, a in enumerate(values[0]) for b in values[0][n + 1 :]]
    assert frontiers.best_of_n(values, values, 2)[0] == pytest.approx(np.mean(pairs))
    assert frontiers.best_of_n(values, -values, 4)[0] == 1  # by a proxy that is wrong


@pytest.mark.parametrize("n", [2, 8, 64])
def test_the_kl_of_best_of_n_for_many_equal_outcomes(n: int) -> None:
    """Of M outcomes the k-th is the best of n with probability (k/M)^n - ((k-1)/M)^n."""
    outcomes = 200_000
    law = np.diff((np.arange(outcomes + 1) / outcomes) ** n)
    law = law[law > 0]
    assert (law * np.log(law * outcomes)).sum() == pytest.approx(
        float(frontiers.best_of_n_kl(n)), abs=1e-6
    )


def test_the_value_at_a_kl_is_linear_in_its_root_and_missing_beyond_the_last_look() -> None:
    kl, gold = np.array([0.0, 4.0, 1.0]), np.array([0.3, 0.7, 0.5])
    assert frontiers.value_at_kl(kl, gold, 1.0) == pytest.approx(0.5)
    assert frontiers.value_at_kl(kl, gold, 2.25) == pytest.approx(0.6)
    assert math.isnan(frontiers.value_at_kl(kl, gold, 4.1))


@pytest.mark.parametrize(("form", "gain"), [
    ("best_of", lambda d: d * (0.4 - 0.1 * d)), ("rl", lambda d: d * (0.4 - 0.2 * np.log(d))),
])  # fmt: skip
def test_forms_of_over_optimisation_are_recovered(form: str, gain) -> None:
    kl = np.array([0.0, 0.5, 1.0, 4.0, 9.0, 16.0])
    gains = np.concatenate([[0.0], gain(np.sqrt(kl[1:]))])
    fit = frontiers.fit_frontier(form, kl, gains)
    assert fit is not None
    assert fit.slope == pytest.approx(0.4)
    assert fit.r_squared == pytest.approx(1)
    around = np.array([0.999, 1.001]) * fit.peak_kl
    assert gain(math.sqrt(fit.peak_kl)) > gain(np.sqrt(around)).max()
    assert frontiers.fit_frontier(form, kl[:3], gains[:3]) is None


def test_labels_needed_between_sizes() -> None:
    assert frontiers.labels_needed([64, 256], [0.5, 0.7], 0.6) == pytest.approx(128)
    assert math.isnan(frontiers.labels_needed([64, 256], [0.5, 0.7], 0.8))


def world_of_pairs() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(1)
    features = draw.normal(size=(600, 12)) * np.geomspace(0.3, 3, 12)
    truth = draw.normal(size=12)
    return selection.standardise(features), (draw.random(600) < expit(features @ truth)).astype(
        float
    )


def test_the_head_has_the_gradient_zero() -> None:
    features, labels = world_of_pairs()
    weights = selection.fit_head(features, labels, ridge=1.0)
    gradient = features.T @ (expit(features @ weights) - labels) + weights
    assert np.abs(gradient).max() < 1e-2
    assert selection.fit_head(features, labels, ridge=1e6) == pytest.approx(0, abs=1e-3)


def test_each_strategy_chooses_what_its_name_says() -> None:
    features, labels = world_of_pairs()
    labelled = np.arange(40)
    pool = selection.Pool(features, labelled, labels[labelled])
    head = selection.fit_head(features[labelled], labels[labelled])
    chosen = {
        name: choose(pool, 50, np.random.default_rng(0))
        for name, choose in selection.STRATEGIES.items()
    }
    for rows in chosen.values():
        assert len(set(rows)) == 50
        assert not set(rows) & set(labelled)

    def margin(name: str) -> float:
        return float(np.abs(features[chosen[name]] @ head).mean())

    def information(name: str, weighted: bool) -> float:
        rows = features[np.concatenate([labelled, chosen[name]])]
        p = expit(rows @ head) if weighted else np.full(len(rows), 0.5)
        matrix = np.eye(12) + (rows * (p * (1 - p))[:, None]).T @ rows
        return float(np.linalg.slogdet(matrix)[1])

    assert margin("margin") == min(map(margin, chosen))
    assert information("fisher", True) == max(information(name, True) for name in chosen)
    assert information("distant", False) == max(information(name, False) for name in chosen)
    assert margin("disagreement") < margin("random")
