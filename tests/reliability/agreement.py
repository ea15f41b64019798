"""Largest differences between metrics and second implementations: ``python -m tests.reliability.agreement``."""

from __future__ import annotations

import numpy as np
from sklearn import metrics as sk

from scfm_eval.metrics import classification, clustering, integration
from scfm_eval.metrics.gene_networks import RankedPairs, edge_auprc, edge_auroc
from scfm_eval.metrics.gene_terms import term_auprc, term_auroc
from scfm_eval.metrics.novelty import auroc
from scfm_eval.metrics.reconstruction import gene_r2

SEEDS = range(5)


def by_scikit_learn(seed):
    """Give the name of each metric, what it is checked against, our value and the other one."""
    rng = np.random.default_rng(seed)
    n, classes = 400, np.arange(5)
    truth = rng.integers(5, size=n)
    called = np.where(rng.random(n) < 0.6, truth, rng.integers(5, size=n))
    given = rng.dirichlet(np.ones(5), size=n)
    pairs = {
        "accuracy": (classification.accuracy(truth, called, classes=classes), sk.accuracy_score(truth, called)),
        "balanced_accuracy": (
            classification.balanced_accuracy(truth, called, classes=classes),
            sk.balanced_accuracy_score(truth, called),
        ),
        "macro_f1": (
            classification.macro_f1(truth, called, classes=classes),
            sk.f1_score(truth, called, average="macro"),
        ),
        "log_loss": (
            classification.log_loss(truth, probabilities=given, classes=classes),
            sk.log_loss(truth, given, labels=classes),
        ),
        "nmi": (clustering.nmi(called, labels=truth), sk.normalized_mutual_info_score(truth, called)),
        "ari": (clustering.ari(called, labels=truth), sk.adjusted_rand_score(truth, called)),
        "ami": (clustering.ami(called, labels=truth), sk.adjusted_mutual_info_score(truth, called)),
    }
    X = rng.normal(size=(n, 6)) + truth[:, None]
    pairs["asw"] = (clustering.asw(X, labels=truth), sk.silhouette_score(X, truth, metric="cosine"))
    widths = (sk.silhouette_score(X, truth) + 1) / 2
    pairs["silhouette_label"] = (integration.silhouette_label(X, labels=truth), widths)
    found, positive = rng.normal(size=n).round(1), truth == 0
    pairs["auroc"] = (auroc(found, positive=positive), sk.roc_auc_score(positive, found))
    ranked = RankedPairs(found, positive, rng.integers(8, size=n))
    pairs["edge_auprc"] = (edge_auprc(ranked), sk.average_precision_score(positive, found))
    pairs["edge_auroc"] = (edge_auroc(ranked), sk.roc_auc_score(positive, found))
    one = {"members": positive[:, None], "fold": np.zeros((n, 1))}
    pairs["term_auprc"] = (term_auprc(found[:, None], **one), sk.average_precision_score(positive, found))
    pairs["term_auroc"] = (term_auroc(found[:, None], **one), sk.roc_auc_score(positive, found))
    guess = X + rng.normal(size=X.shape)
    by_gene = sk.r2_score(X, guess, multioutput="raw_values")
    pairs["gene_r2"] = (gene_r2(X, guess), np.median(by_gene))
    return pairs


def largest():
    """Return the largest difference by metric over seeds."""
    made = [by_scikit_learn(seed) for seed in SEEDS]
    return {name: max(abs(float(each[name][0] - each[name][1])) for each in made) for name in made[0]}


if __name__ == "__main__":
    print("| metric | largest difference from scikit-learn |\n|---|---:|")
    for metric, difference in largest().items():
        print(f"| {metric} | {difference:.1e} |")
