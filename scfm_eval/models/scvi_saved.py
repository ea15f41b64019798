"""What scvi-tools saves of a model, read without running anything of it, and the network that it describes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scfm_eval.errors import InvalidInputError
from scfm_eval.models import checkpoint
from scfm_eval.models.files import refusing

if TYPE_CHECKING:
    from torch import Tensor

# tables of the training's history and indices of genes; none of them is needed
_INERT = (r"pandas\..*", r"pyarrow\..*", r"builtins\.slice")
_REMEDY = "give the model.pt of scvi-tools 0.15 or later; convert an older one with convert_legacy_save"
# arguments of the model, not of its network
_NOT_OF_THE_NETWORK = ("adata", "datamodule", "registry", "use_cuda", "pretrained_model", "unlabeled_category")


@dataclass(frozen=True, eq=False)
class Saved:
    """A model as scvi-tools saved it.

    Parameters
    ----------
    module
        ``"SCVI"`` or ``"SCANVI"``.
    genes, batches, labels
        Names of the genes, and of the batches and labels in the order of their codes; labels only of scANVI.
    settings
        Arguments of the network.
    tensors
        Name to tensor.
    """

    module: str
    genes: list[str]
    batches: list[str]
    labels: list[str]
    settings: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def encodes_batch(self) -> bool:
        """Whether the encoder reads the batch."""
        return bool(self.settings.get("encode_covariates", False))


def read_saved(path: Path, *, module: str) -> Saved:
    """Return what a ``model.pt`` holds; nothing of it is executed.

    Parameters
    ----------
    path
        The file.
    module
        Kind of model that it has to be.

    Raises
    ------
    InvalidInputError
        The file is damaged, would execute code, is of another kind of model, or its encoder reads what new cells do not
        have.
    """
    content = checkpoint.read_checkpoint(path, inert=_INERT)
    with refusing(asked=f"a model of scvi-tools in {path}", remedy=_REMEDY):
        attributes, state = content["attr_dict"], dict(content["model_state_dict"])
        registry = attributes["registry_"]
        state.pop("pyro_param_store", None)
        tensors = checkpoint.only_tensors(state, path=path)
        found = registry.get("model_name", module)
        if found != module:
            raise InvalidInputError(
                asked=f"a model of the kind {module} in {path}",
                found=f"one of the kind {found}",
                remedy=f"give it to {found.lower()}-reference" if found in ("SCVI", "SCANVI") else _REMEDY,
            )
        settings = {**_settings(attributes["init_params_"]), **_from_registry(registry, tensors)}
        saved = Saved(
            module=module,
            genes=_names(content["var_names"]),
            batches=_names(registry["field_registries"]["batch"]["state_registry"]["categorical_mapping"]),
            labels=_labels(registry, tensors) if module == "SCANVI" else [],
            settings={**settings, "n_input": len(content["var_names"])},
            tensors=tensors,
        )
    _require_readable(saved, path=path)
    return saved


def build_module(saved: Saved) -> Any:
    """Return the network that the settings describe, in evaluation mode with random weights.

    Raises
    ------
    InvalidInputError
        The installed scvi-tools knows no network of these settings.
    """
    import torch
    from scvi.module import SCANVAE, VAE

    of_kind = {"SCVI": VAE, "SCANVI": SCANVAE}[saved.module]
    remedy = "save the model anew with the installed scvi-tools"
    with refusing(asked=f"a {saved.module} of the saved settings", remedy=remedy), torch.random.fork_rng(devices=[]):
        return of_kind(**saved.settings).eval()


def _settings(said: Mapping[str, Any]) -> dict[str, Any]:
    groups = said.get("kwargs", {})
    flat = {**said["non_kwargs"], **{key: value for group in groups.values() for key, value in group.items()}}
    return {key: value for key, value in flat.items() if key not in _NOT_OF_THE_NETWORK}


def _from_registry(registry: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the sizes that the registry and the tensors tell."""
    fields = registry["field_registries"]
    covariates = fields.get("extra_categorical_covs", {}).get("state_registry", {})
    made = {
        "n_batch": fields["batch"]["summary_stats"]["n_batch"],
        "n_labels": fields["labels"]["summary_stats"]["n_labels"],
        "n_continuous_cov": fields.get("extra_continuous_covs", {})
        .get("summary_stats", {})
        .get("n_extra_continuous_covs", 0),
        "n_cats_per_cov": covariates.get("n_cats_per_key"),
        "use_size_factor_key": registry["setup_args"].get("size_factor_key") is not None,
    }
    if "y_prior" in tensors:
        made["n_labels"] = tensors["y_prior"].shape[1]
    for name in ("library_log_means", "library_log_vars"):
        if name in tensors:
            made[name] = tensors[name].numpy()
    return made


def _names(said: Any) -> list[str]:
    if (
        isinstance(said, np.ndarray)
        and said.ndim == 1
        and all(isinstance(name, str | np.generic | int) for name in said)
    ):
        return [str(name) for name in said]
    raise TypeError(f"no list of names but a {type(said).__name__}")


def _labels(registry: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> list[str]:
    # scvi-tools puts the name of unlabelled cells last, and gives it no output
    names = _names(registry["field_registries"]["labels"]["state_registry"]["categorical_mapping"])
    n_labels = tensors["y_prior"].shape[1]
    if not len(names) - 1 <= n_labels <= len(names):
        raise ValueError(f"{len(names)} names of labels for {n_labels} outputs")
    return names[:n_labels]


def _require_readable(saved: Saved, *, path: Path) -> None:
    settings = saved.settings
    faults = {
        "a latent distribution whose mean has no closed form": settings.get("latent_distribution", "normal")
        != "normal",
        "an encoder that reads continuous covariates": saved.encodes_batch and settings["n_continuous_cov"],
        "an encoder that reads further categories": saved.encodes_batch and settings["n_cats_per_cov"],
        "an encoder that reads an embedding of the batch": saved.encodes_batch
        and settings.get("batch_representation", "one-hot") != "one-hot",
        "genes that are there twice": len(set(saved.genes)) < len(saved.genes),
    }
    found = [fault for fault, there in faults.items() if there]
    if found:
        raise InvalidInputError(
            asked=f"a reference in {path} that new cells can be given to as they are",
            found=", ".join(found),
            remedy="give a reference whose encoder reads counts and, at most, the batch",
        )
