"""Attention by random features: against the definition written out, and cell by cell."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scfm_eval.models.performer import performer_attention

B, H, L, D, M = 3, 2, 5, 4, 6


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    return [torch.randn(B, H, L, D) for _ in range(3)], torch.randn(M, D)


def written_out(q, k, v, P, largest_key):
    made = np.zeros((L, D))
    c = D**-0.25

    def features(t, largest):
        return M**-0.5 * (np.exp(c * P @ t - (t @ t) * c**2 / 2 - largest) + 1e-4)

    for i in range(L):
        phi_q = features(q[i], (c * P @ q[i]).max())
        weight = np.array([phi_q @ features(k[j], largest_key) for j in range(L)])
        made[i] = weight @ v / weight.sum()
    return made


@pytest.mark.parametrize("stabiliser", ["cell", "batch"])
def test_is_the_definition(inputs, stabiliser):
    (q, k, v), P = inputs
    made = performer_attention(q, k, v, projection=P, stabiliser=stabiliser).numpy()
    projected = np.einsum("bhld,md->bhlm", k.numpy() * D**-0.25, P.numpy())
    for b in range(B):
        largest = projected.max() if stabiliser == "batch" else projected[b].max()
        for h in range(H):
            parts = [part[b, h].numpy().astype(float) for part in (q, k, v)]
            np.testing.assert_allclose(made[b, h], written_out(*parts, P.numpy(), largest), atol=2e-6)


def test_a_cell_depends_on_its_batch_only_where_upstream_has_it_so(inputs):
    (q, k, v), P = inputs
    k[1] *= 3
    alone = performer_attention(q[:1], k[:1], v[:1], projection=P)
    torch.testing.assert_close(performer_attention(q, k, v, projection=P)[:1], alone, atol=1e-6, rtol=0)
    shared = performer_attention(q, k, v, projection=P, stabiliser="batch")[:1]
    assert (shared - alone).abs().max() > 1e-3
