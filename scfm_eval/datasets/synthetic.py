"""Simulated counts with a known answer, on real gene symbols so that every model can read them.

Counts are negative binomial: the mean of a gene in a cell is the cell's depth times its share of the expression of the
cell's type, shifted by batch, domain or perturbation on the log scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.datasets.genes import protein_coding_symbols

N_GENES = 500
_DISPERSION = 0.3
_TYPES = ("alpha", "beta", "gamma", "delta", "delta-like")
_TYPE_SHARES = (0.30, 0.25, 0.20, 0.20, 0.05)
_BATCH_SIZES = (300, 180, 120)
_TYPE_EFFECT = 0.35
_CLOSE_EFFECT = 0.28
_BATCH_EFFECT = 0.20
_DEPTH = 600.0
_DOMAINS = ("source", "target")
_N_PER_DOMAIN = 300
_DOMAIN_EFFECT = 0.60
_TARGET_DEPTH = 240.0
_N_SINGLE = 12
_N_DOUBLE = 6
_N_CONTROL = 200
_N_PER_PERTURBATION = 60
_N_RESPONDING = 40
_RESPONSE = 0.8
_N_REGULATORS = 20
_N_TARGETS = 25
_REGULATION = 0.6
_ACTIVITY = 0.8
_NETWORK_CELLS = 600
_NETWORK_DEPTH = 2000.0


@dataclass(frozen=True)
class BatchTruth:
    """What :func:`synthetic_batches`, or :func:`synthetic_transfer` with domains for batches, was made of.

    Parameters
    ----------
    types, batches
        Names, ``(n_types,)`` and ``(n_batches,)``.
    type_log_means
        Natural logarithm of relative expression without batch effect, ``(n_types, n_genes)``.
    batch_shifts
        Natural logarithm of the factor of each batch, ``(n_batches, n_genes)``; the first batch has none.
    """

    types: tuple[str, ...]
    batches: tuple[str, ...]
    type_log_means: NDArray[np.float64]
    batch_shifts: NDArray[np.float64]

    @property
    def type_distances(self) -> NDArray[np.float64]:
        """Euclidean distances between the log means of types, ``(n_types, n_types)``."""
        apart = self.type_log_means[:, None, :] - self.type_log_means[None, :, :]
        distances: NDArray[np.float64] = np.linalg.norm(apart, axis=2)
        return distances


@dataclass(frozen=True)
class PerturbationTruth:
    """What :func:`synthetic_perturbations` was made of.

    Parameters
    ----------
    perturbations
        Names without the control, ``(n,)``; a combination is ``"A+B"``.
    effects
        Natural logarithm of the factor on each gene, ``(n, n_genes)``; a combination is the sum of its parts.
    """

    perturbations: tuple[str, ...]
    effects: NDArray[np.float64]


@dataclass(frozen=True)
class NetworkTruth:
    """What :func:`synthetic_network` was made of.

    Parameters
    ----------
    regulators
        Names, ``(n_regulators,)``.
    genes
        Names, ``(n_genes,)``.
    weights
        Natural logarithm of the factor on each gene at an activity of 1, ``(n_regulators, n_genes)``; 0 for most.
    """

    regulators: tuple[str, ...]
    genes: tuple[str, ...]
    weights: NDArray[np.float64]

    @property
    def edges(self) -> list[tuple[str, str]]:
        """Regulator and target of each edge."""
        return [(self.regulators[i], self.genes[j]) for i, j in np.argwhere(self.weights)]


def synthetic_batches(*, seed: int = 0) -> AnnData:
    """Return 600 cells × 500 genes of five types (one rare and close to another) in three batches of uneven make-up.

    ``obs`` has ``cell_type`` and ``batch``; see :func:`simulate_batches` for the truth behind it.
    """
    return simulate_batches(seed=seed)[0]


def synthetic_transfer(*, seed: int = 0) -> AnnData:
    """Return 600 cells × 500 genes of five types in two domains, the target strongly shifted and less deeply sequenced.

    ``obs`` has ``cell_type`` and ``domain``; see :func:`simulate_transfer` for the truth behind it.
    """
    return simulate_transfer(seed=seed)[0]


def synthetic_perturbations(*, seed: int = 0) -> AnnData:
    """Return 1,280 cells × 500 genes: 200 controls, 12 single perturbations and 6 additive combinations of them.

    ``obs`` has ``perturbation``; see :func:`simulate_perturbations` for the truth behind it.
    """
    return simulate_perturbations(seed=seed)[0]


def synthetic_network(*, seed: int = 0) -> AnnData:
    """Return 600 cells × 500 genes, 20 of which regulate 25 others each; see :func:`simulate_network`."""
    return simulate_network(seed=seed)[0]


def network_edges(*, seed: int = 0) -> list[tuple[str, str]]:
    """Return regulator and target of each edge behind :func:`synthetic_network`."""
    return simulate_network(seed=seed)[1].edges


def simulate_batches(*, seed: int) -> tuple[AnnData, BatchTruth]:
    """Return the cells of :func:`synthetic_batches` and what they were made of."""
    rng = np.random.default_rng(seed)
    base = rng.normal(0.0, 1.0, N_GENES)
    means = _type_means(rng, base)
    shifts = rng.normal(0.0, _BATCH_EFFECT, (len(_BATCH_SIZES), N_GENES))
    shifts[0] = 0.0
    batches = tuple(f"batch{i + 1}" for i in range(len(_BATCH_SIZES)))
    truth = BatchTruth(types=_TYPES, batches=batches, type_log_means=means, batch_shifts=shifts)
    cell_type = np.concatenate([_types_of_batch(rng, size, turn=i) for i, size in enumerate(_BATCH_SIZES)])
    batch = np.repeat(np.arange(len(_BATCH_SIZES)), _BATCH_SIZES)
    counts = _counts(rng, log_means=means[cell_type] + shifts[batch])
    obs = {"cell_type": np.array(_TYPES)[cell_type], "batch": np.array(batches)[batch]}
    return _cells(counts, obs=obs, genes=_genes(rng)), truth


def simulate_transfer(*, seed: int) -> tuple[AnnData, BatchTruth]:
    """Return the cells of :func:`synthetic_transfer` and what they were made of.

    Each gene of the target has a factor of its own, as if it were another technology, and two fifths of the depth; the
    frequent types change places, the rare one stays rare.
    """
    rng = np.random.default_rng(seed)
    base = rng.normal(0.0, 1.0, N_GENES)
    means = _type_means(rng, base)
    shifts = np.stack([np.zeros(N_GENES), rng.normal(0.0, _DOMAIN_EFFECT, N_GENES)])
    truth = BatchTruth(types=_TYPES, batches=_DOMAINS, type_log_means=means, batch_shifts=shifts)
    cell_type = np.concatenate([_types_of_batch(rng, _N_PER_DOMAIN, turn=i) for i in range(len(_DOMAINS))])
    domain = np.repeat(np.arange(len(_DOMAINS)), _N_PER_DOMAIN)
    depth = np.array([_DEPTH, _TARGET_DEPTH])[domain]
    counts = _counts(rng, log_means=means[cell_type] + shifts[domain], depth=depth)
    obs = {"cell_type": np.array(_TYPES)[cell_type], "domain": np.array(_DOMAINS)[domain]}
    return _cells(counts, obs=obs, genes=_genes(rng)), truth


def simulate_perturbations(*, seed: int) -> tuple[AnnData, PerturbationTruth]:
    """Return the cells of :func:`synthetic_perturbations` and what they were made of."""
    rng = np.random.default_rng(seed)
    base = rng.normal(0.0, 1.0, N_GENES)
    genes = _genes(rng)
    singles = np.zeros((_N_SINGLE, N_GENES))
    targets = np.argsort(base)[-_N_SINGLE:]
    for effect, target in zip(singles, targets, strict=True):
        responding = rng.choice(N_GENES, _N_RESPONDING, replace=False)
        effect[responding] = rng.normal(0.0, _RESPONSE, _N_RESPONDING)
        effect[target] = -_RESPONSE * 2
    pairs = [(i, i + _N_DOUBLE) for i in range(_N_DOUBLE)]
    doubles = np.array([singles[a] + singles[b] for a, b in pairs])
    names = [genes[i] for i in targets]
    perturbations = (*names, *(f"{names[a]}+{names[b]}" for a, b in pairs))
    effects = np.concatenate([singles, doubles])
    which = np.repeat(np.arange(len(perturbations) + 1), [_N_CONTROL] + [_N_PER_PERTURBATION] * len(perturbations))
    counts = _counts(rng, log_means=base + np.concatenate([np.zeros((1, N_GENES)), effects])[which])
    obs = {"perturbation": np.array(["control", *perturbations])[which]}
    return _cells(counts, obs=obs, genes=genes), PerturbationTruth(perturbations=perturbations, effects=effects)


def simulate_network(*, seed: int) -> tuple[AnnData, NetworkTruth]:
    """Return the cells of :func:`synthetic_network` and what they were made of.

    Each regulator has an activity in each cell, which its own expression shows and its targets follow, up or down. Who
    regulates whom is drawn: the symbols are real, the network is not.
    """
    rng = np.random.default_rng(seed)
    base, genes = rng.normal(0.0, 1.0, N_GENES), _genes(rng)
    regulators = np.sort(rng.choice(np.flatnonzero(base > np.median(base)), _N_REGULATORS, replace=False))
    weights = np.zeros((_N_REGULATORS, N_GENES))
    for row, own in zip(weights, regulators, strict=True):
        targets = rng.choice(np.delete(np.arange(N_GENES), own), _N_TARGETS, replace=False)
        row[targets] = _REGULATION * rng.choice([-1, 1], _N_TARGETS)
    activity = rng.normal(0.0, 1.0, (_NETWORK_CELLS, _N_REGULATORS))
    log_means = base + activity @ weights
    log_means[:, regulators] += _ACTIVITY * activity
    counts = _counts(rng, log_means=log_means, depth=_NETWORK_DEPTH)
    truth = NetworkTruth(tuple(genes[i] for i in regulators), tuple(genes), weights)
    return _cells(counts, obs={}, genes=genes), truth


def _type_means(rng: np.random.Generator, base: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log means of the types ``(n_types, n_genes)`` around ``base``; the last is close to the one before."""
    means = base + rng.normal(0.0, _TYPE_EFFECT, (len(_TYPES), N_GENES))
    means[-1] = means[-2] + rng.normal(0.0, _CLOSE_EFFECT, N_GENES)
    return means


def _types_of_batch(rng: np.random.Generator, size: int, *, turn: int) -> NDArray[np.int64]:
    """Return the types of the cells of a batch: the frequent ones change places, the rare one stays rare."""
    shares = np.array([*np.roll(_TYPE_SHARES[:-1], turn), _TYPE_SHARES[-1]])
    sizes = np.round(shares * size).astype(int)
    sizes[0] += size - sizes.sum()
    return rng.permutation(np.repeat(np.arange(len(_TYPES)), sizes))


def _counts(
    rng: np.random.Generator, *, log_means: NDArray[np.float64], depth: float | NDArray[np.float64] = _DEPTH
) -> NDArray[np.int64]:
    share = np.exp(log_means)
    of_cell = rng.lognormal(np.log(depth), 0.4, len(log_means))
    mean = share / share.sum(axis=1, keepdims=True) * of_cell[:, None]
    counts: NDArray[np.int64] = rng.poisson(mean * rng.gamma(1 / _DISPERSION, _DISPERSION, mean.shape))
    return counts


def _genes(rng: np.random.Generator) -> list[str]:
    return sorted(rng.choice(protein_coding_symbols(), N_GENES, replace=False).tolist())


def _cells(counts: NDArray[np.int64], *, obs: dict[str, NDArray[np.str_]], genes: list[str]) -> AnnData:
    names = [f"cell{i:04d}" for i in range(len(counts))]
    X = sp.csr_matrix(counts.astype(np.float32))
    return AnnData(X=X, obs=pd.DataFrame(obs, index=names), var=pd.DataFrame(index=genes))
