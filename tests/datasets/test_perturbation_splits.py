"""Conditions and splits: names that can be read, nothing of the unseen in training, everything held out once."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scfm_eval.datasets.perturbation_conditions import (
    Condition,
    perturbed,
    perturbed_genes,
    pseudobulk,
    unreadable,
)
from scfm_eval.datasets.perturbation_splits import KINDS, folds_by_seed, perturbation_folds, possible_kinds
from scfm_eval.errors import InvalidInputError

SINGLES = [f"G{i}" for i in range(8)]
PAIRS = ["G0+G1", "G2+G3", "G4+G5", "G0+G6", "G1+G7"]


def cells_of(names, *, contexts=("",), effects=None, n_cells=12):
    """Return cells of the named conditions in each context, `n_cells` of each."""
    rows = [(context, name) for context in contexts for name in ["control", *names] for _ in range(n_cells)]
    obs = pd.DataFrame(rows, columns=["context", "perturbation"], index=[f"c{i}" for i in range(len(rows))])
    if effects:
        obs["effect"] = [effects[context] for context in obs["context"]]
    obs = obs.astype("category") if contexts != ("",) else obs[["perturbation"]].astype("category")
    X = np.random.default_rng(0).poisson(3.0, size=(len(rows), 10)).astype(np.float32) + 1
    return AnnData(sparse.csr_matrix(X), obs=obs, var=pd.DataFrame(index=[f"G{i}" for i in range(10)]))


def table_of(*args, **known):
    return perturbed(cells_of(*args, **known))


@pytest.mark.parametrize(
    ("name", "genes"),
    [
        ("control", ()),
        ("ctrl", ()),
        ("A", ("A",)),
        ("A+ctrl", ("A",)),
        ("ctrl+A", ("A",)),
        ("B+A", ("A", "B")),
        ("HLA-A+AC012.1", ("AC012.1", "HLA-A")),
        ("MT_X", ("MT_X",)),
    ],
)
def test_names_are_read(name, genes):
    assert perturbed_genes(name, measured={"MT_X"}) == genes


@pytest.mark.parametrize("name", ["A_B", "A,B", "A|B", "A;B", "A B", "A/B", "A&B", "A++B", "A+A", "+A", ""])
def test_other_separators_are_refused_by_name(name):
    with pytest.raises(InvalidInputError, match="written as 'A' or 'A") as refused:
        perturbed_genes(name)
    assert refused.value.found == repr(name)
    assert unreadable(["A", name], measured=frozenset()) == [name]


def test_spellings_of_one_condition_are_one():
    table = table_of(["A+ctrl", "ctrl+A", "A+B", "B+A"])
    assert table.conditions == (Condition("", ("A",)), Condition("", ("A", "B")))
    assert table.n_cells[Condition("", ("A",))] == 24
    assert [Condition.named(condition.name) for condition in table.conditions] == list(table.conditions)


def test_conditions_of_contexts_have_names_of_their_own():
    table = table_of(["A"], contexts=("K562", "RPE1"), effects={"K562": "knockdown", "RPE1": "activation"})
    assert [condition.name for condition in table.conditions] == ["K562|A", "RPE1|A"]
    assert Condition.named("RPE1|A") == table.conditions[1]
    assert table.effect == {"K562": "knockdown", "RPE1": "activation"}
    assert len(table.controls("K562")) == len(table.cells(table.conditions[0])) == 12
    rows = table.rows_of({table.conditions[0]}, controls_of=["RPE1"])
    assert Counter(zip(table.context[rows], table.code[rows], strict=True)) == {("K562", 0): 12, ("RPE1", -1): 12}


def test_contexts_without_controls_are_refused():
    cells = cells_of(["A", "B"], contexts=("K562", "RPE1"))
    without = cells[~((cells.obs["context"] == "RPE1") & (cells.obs["perturbation"] == "control"))]
    with pytest.raises(InvalidInputError, match=r"in every context\nfound: none in RPE1"):
        perturbed(without)
    with pytest.raises(InvalidInputError, match=r"control cells\nfound: none"):
        perturbed(cells_of(["A"])[12:])


def test_two_effects_in_one_context_are_refused():
    cells = cells_of(["A", "B"])
    cells.obs["effect"] = np.where(cells.obs["perturbation"] == "A", "activation", "knockdown")
    with pytest.raises(InvalidInputError, match="activation in the only context, knockdown in the only context"):
        perturbed(cells)


def test_means_are_those_of_the_cells():
    cells = cells_of(["A", "A+B"], contexts=("x", "y"))
    means, counts = pseudobulk(cells), cells.X.toarray()
    log = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)
    names = (cells.obs["context"].astype(str) + "|" + cells.obs["perturbation"].astype(str)).to_numpy()
    control, mean = (log[names == name].mean(axis=0) for name in ("y|control", "y|A"))
    np.testing.assert_allclose(means.control["y"], control, rtol=1e-6)
    np.testing.assert_allclose(means.changes[Condition("y", ("A",))], mean - control, rtol=1e-4, atol=1e-6)
    assert set(means.known_in("y")) == {("A",), ("A", "B")}
    pooled = means.of([Condition("x", ("A",))]).known_in("y")
    np.testing.assert_allclose(pooled["A",], means.changes[Condition("x", ("A",))])
    np.testing.assert_allclose(means.of([Condition("x", ("A",))]).centroid("y"), control + pooled["A",], rtol=1e-6)


def test_an_unseen_single_is_in_no_training_condition():
    folds = perturbation_folds(table_of(SINGLES + PAIRS), kind="single", seed=1)
    assert len(folds) == 2
    for fold in folds:
        hidden = {gene for condition in fold.test for gene in condition.genes}
        assert not hidden & {gene for condition in fold.train for gene in condition.genes}
    assert sorted(c.perturbation for fold in folds for c in fold.test) == SINGLES


@pytest.mark.parametrize(("kind", "n_seen"), [("combination0", 0), ("combination1", 1), ("combination2", 2)])
def test_combinations_have_exactly_so_many_parts_seen(kind, n_seen):
    folds = perturbation_folds(table_of([*SINGLES, *PAIRS, "G0+G1+G2"]), kind=kind, n_folds=2, seed=3)
    for fold in folds:
        alone = {condition.genes[0] for condition in fold.train if len(condition.genes) == 1}
        anywhere = {gene for condition in fold.train for gene in condition.genes}
        for condition in fold.test:
            assert condition not in fold.train
            assert len(alone & set(condition.genes)) == n_seen
            if n_seen < 2:
                assert len(anywhere & set(condition.genes)) == n_seen
    assert sorted(c.perturbation for fold in folds for c in fold.test) == sorted(PAIRS)


def test_pairs_without_their_singles_are_held_out_as_unseen_only():
    table = table_of(["G0", "G1", "X", "Y", "G0+G1", "G0+G5", "G6+G7", "G8+G9"])
    held = {kind: {c.perturbation for f in perturbation_folds(table, kind=kind) for c in f.test} for kind in KINDS[1:3]}
    assert held["combination0"] == {"G0+G1", "G0+G5", "G6+G7", "G8+G9"}
    assert held["combination1"] == {"G0+G1", "G0+G5"}
    with pytest.raises(InvalidInputError, match=r"'combination2'.*both genes of each also perturbed alone"):
        perturbation_folds(table, kind="combination2")


def test_an_unseen_context_shows_its_controls_only_and_effects_are_not_mixed():
    effects = {"a": "knockdown", "b": "knockdown", "k": "activation"}
    table = table_of(SINGLES, contexts=("a", "b", "k"), effects=effects)
    folds = perturbation_folds(table, kind="context")
    assert [{c.context for c in fold.test} for fold in folds] == [{"a"}, {"b"}]
    for fold in folds:
        (context,) = {condition.context for condition in fold.test}
        seen = fold.training_cells(table)
        assert set(table.code[seen & (table.context == context)]) == {-1}
        assert not seen[table.context == "k"].any()
    for fold in perturbation_folds(table, kind="single"):
        assert len({effects[condition.context] for condition in (*fold.test, *fold.train)}) == 1
    with pytest.raises(InvalidInputError, match=r"'context'.*in two contexts or more"):
        perturbation_folds(table_of(SINGLES), kind="context")


def test_small_conditions_are_learned_from_and_not_tested():
    cells = cells_of(SINGLES)
    few = cells[(cells.obs["perturbation"] != "G3") | (np.arange(cells.n_obs) % 3 == 0)]
    folds = perturbation_folds(perturbed(few), kind="single", min_cells=10)
    assert "G3" not in {condition.perturbation for fold in folds for condition in fold.test}
    assert "G3" in {condition.perturbation for fold in folds for condition in fold.train}


def test_a_dataset_allows_what_it_has():
    known = {"n_folds": 5, "min_cells": 10}
    assert possible_kinds(table_of(SINGLES), **known) == ("single",)
    assert possible_kinds(table_of(SINGLES + PAIRS), **known) == KINDS[:4]
    assert possible_kinds(table_of(["G0", "G1"]), **known) == ()
    assert possible_kinds(table_of(SINGLES, n_cells=9), **known) == ()


@settings(max_examples=25, deadline=None)
@given(
    singles=st.sets(st.integers(0, 7), max_size=8),
    pairs=st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda p: p[0] < p[1]), max_size=8),
    n_folds=st.integers(2, 5),
    seed=st.integers(0, 50),
)
def test_nothing_is_held_out_twice_or_seen_and_the_seed_decides(singles, pairs, n_folds, seed):
    names = [f"G{i}" for i in singles] + [f"G{a}+G{b}" for a, b in pairs]
    table = table_of(names, n_cells=5)
    known = {"n_folds": n_folds, "min_cells": 1}
    for kind in possible_kinds(table, **known, seeds=(seed, seed + 1)):
        folds, others = folds_by_seed(table, kind=kind, **known, seeds=(seed, seed + 1))
        assert {c for fold in folds for c in fold.test} == {c for fold in others for c in fold.test}
        assert folds == perturbation_folds(table, kind=kind, **known, seed=seed)
        assert max(Counter(condition for fold in folds for condition in fold.test).values()) == 1
        for fold in folds:
            assert not set(fold.test) & set(fold.train)
            seen = fold.training_cells(table)
            assert set(table.code[seen]) == {-1, *(table.conditions.index(condition) for condition in fold.train)}
