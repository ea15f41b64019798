"""Write what pertpy gives: ``pip install pertpy==1.0.3``, then ``python write_pertpy.py > pertpy.json``."""

from __future__ import annotations

import json
from importlib.metadata import version

from inputs import PERTURBATIONS, WIDTH, perturbed
from pertpy.tools._distances import _distances as distances

real, predicted = perturbed()
kinds = {
    "edistance": (distances.Edistance(), {}),
    "mean_pairwise": (distances.MeanPairwiseDistance(), {}),
    "mmd": (distances.MMD(), {"kernel": "rbf", "gamma": 1 / WIDTH}),
    "euclidean": (distances.EuclideanDistance(), {}),
    "mean_absolute": (distances.MeanAbsoluteDistance(), {}),
    "mse": (distances.MeanSquaredDistance(), {}),
}
values = {
    kind: {name: float(distance(real[name], predicted[name], **how)) for name in PERTURBATIONS}
    for kind, (distance, how) in kinds.items()
}
apart, how = kinds["mean_pairwise"]
for side, cells in (("real", real), ("predicted", predicted)):
    values[f"mean_pairwise_within_{side}"] = {name: float(apart(cells[name], cells[name])) for name in PERTURBATIONS}
print(json.dumps({"package": "pertpy", "version": version("pertpy"), "values": values}, indent=1))
