"""A 'pretrained' checkpoint that was fine-tuned, or that reads other genes, is refused as what it looks like."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from scfm_eval import guards
from scfm_eval.guards import GuardError
from scfm_eval.models import pretrained
from scfm_eval.models.geneformer import Geneformer, GeneformerMini, GeneformerV1
from scfm_eval.models.geneformer_tokens import GeneDictionaries
from scfm_eval.models.nicheformer_tokens import read_order
from scfm_eval.models.scfoundation_tokens import read_genes
from scfm_eval.models.scgpt import ScGPTMini
from scfm_eval.models.scgpt_tokens import read_vocabulary
from tests.guards.families import FAMILIES, PARITY, altered

CLASSES = "a head for classes"
ADDED = {
    "a sequence classifier": ({"classifier.weight": (7, 8), "classifier.bias": (7,)}, CLASSES),
    "a head called score": ({"score.weight": (7, 8)}, CLASSES),
    "LoRA": ({"base_model.model.x.lora_A.default.weight": (4, 8), "y.lora_B.weight": (8, 4)}, "peft"),
    "adapters": ({"encoder.adapters.0.down.weight": (4, 8)}, "adapters"),
}
OWN = {
    "geneformer-v1": ({"bert.pooler.dense.weight": (48, 48)}, "a pooler"),
    "geneformer-v2": ({"bert.pooler.dense.weight": (48, 48)}, "a pooler"),
    "scgpt": ({"cls_decoder.out_layer.weight": (11, 64), "cls_decoder.out_layer.bias": (11,)}, "11 classes, where"),
    "nicheformer": ({"cls_head.weight": (12, 32), "cls_head.bias": (12,)}, "12 classes, where pretraining has 164"),
    "scbert": ({"to_out.conv1.weight": (1, 1, 1, 32), "to_out.fc3.weight": (9, 100)}, "upstream's fine-tuning"),
}
BATCHES = {"batch_encoder.embedding.weight": (4, 64), "dsbn.bns.0.weight": (64,)}


def tensors_of(shapes):
    """Return tensors of these shapes."""
    return {name: torch.full(shape, 0.1) for name, shape in shapes.items()}


@pytest.mark.parametrize("fault", ADDED)
@pytest.mark.parametrize("name", FAMILIES)
def test_what_a_fine_tuning_leaves_is_named_in_every_family(name, fault, tmp_path):
    family, (shapes, said) = FAMILIES[name], ADDED[fault]
    folder = altered(family, tmp_path, lambda tensors: tensors.update(tensors_of(shapes)))
    with pytest.raises(GuardError, match=said) as told:
        family.load(folder)
    assert "--without-guard pretrained" in told.value.remedy
    with guards.without(["pretrained"]):
        made = family.load(folder)
    assert made.loaded_share < family.load(PARITY / family.folder).loaded_share


@pytest.mark.parametrize("name", OWN)
def test_the_heads_of_a_family_are_told_from_those_of_its_pretraining(name, tmp_path):
    family, (shapes, said) = FAMILIES[name], OWN[name]
    folder = altered(family, tmp_path, lambda tensors: tensors.update(tensors_of(shapes)))
    with pytest.raises(GuardError, match=said):
        family.load(folder)
    with guards.without(["pretrained"]):
        assert np.isfinite(family.load(folder).embed(family.cells())).all()


@pytest.mark.parametrize(
    ("shapes", "said"), [(BATCHES, "know batches"), ({"pert_encoder.weight": (3, 64)}, "an encoder of perturbations")]
)
def test_other_fine_tunings_of_scgpt_are_named(shapes, said, tmp_path):
    folder = altered(FAMILIES["scgpt"], tmp_path, lambda tensors: tensors.update(tensors_of(shapes)))
    with pytest.raises(GuardError, match=said):
        FAMILIES["scgpt"].load(folder)


def classify(tensors):
    """Make the tensors those of ``BertForSequenceClassification``."""
    for name in [name for name in tensors if name.startswith("cls.")]:
        tensors.pop(name)
    tensors.update(tensors_of({"bert.pooler.dense.weight": (48, 48), "classifier.weight": (7, 48)}))


def test_a_whole_geneformer_for_classes_is_named(tmp_path):
    folder = altered(FAMILIES["geneformer-v2"], tmp_path, classify)
    with pytest.raises(GuardError, match=CLASSES):
        Geneformer(weights=folder)
    with guards.without(["pretrained"]), pytest.raises(GuardError, match=r"cls\.predictions\.bias is missing"):
        Geneformer(weights=folder)
    with guards.without(["pretrained", "tensors"]):
        assert Geneformer(weights=folder).loaded_share < 1


def test_a_wrapped_nicheformer_is_named_before_its_settings_are_read(tmp_path):
    def wrap(tensors):
        for name in list(tensors):
            tensors[f"backbone.{name}"] = tensors.pop(name)
        tensors.update(tensors_of({"linear_head.weight": (5, 32)}))

    folder = altered(FAMILIES["nicheformer"], tmp_path, wrap)
    with pytest.raises(GuardError, match=r"linear_head[\s\S]*inside of another one|inside of another one"):
        FAMILIES["nicheformer"].load(folder)


def test_settings_of_a_network_for_classes_are_named(tmp_path):
    folder = Path(shutil.copytree(PARITY / "geneformer_v2", tmp_path / "v2"))
    settings = json.loads((folder / "config.json").read_text())
    for said in ({"architectures": ["BertForSequenceClassification"]}, {"problem_type": "single_label_classification"}):
        (folder / "config.json").write_text(json.dumps(settings | said))
        with pytest.raises(GuardError, match="fine-tuned"):
            Geneformer(weights=folder)
        with guards.without(["pretrained"]):
            assert Geneformer(weights=folder).loaded_share == 1


def test_a_head_that_was_never_trained_is_named(tmp_path):
    drawn, trained = "cls.predictions.transform.LayerNorm", "bert.embeddings.LayerNorm"

    def untrain(tensors):
        tensors[f"{drawn}.weight"], tensors[f"{drawn}.bias"] = torch.ones(48), torch.zeros(48)
        tensors[f"{trained}.weight"] = torch.ones(48) * 1.1

    folder = altered(FAMILIES["geneformer-v2"], tmp_path, untrain)
    with pytest.raises(GuardError, match="never trained"):
        Geneformer(weights=folder)
    with guards.without(["pretrained"]):
        assert Geneformer(weights=folder).loaded_share == 1


def other_dictionaries(folder, *, kinds):
    """Put dictionaries of Geneformer V1 into a folder of V2."""
    for kind in kinds:
        (folder / f"{kind}_gc104M.pkl").unlink()
        shutil.copy(PARITY / "geneformer_v1" / f"{kind}_gc30M.pkl", folder)
    return folder


def test_a_token_dictionary_of_another_length_is_refused(tmp_path):
    folder = Path(shutil.copytree(PARITY / "geneformer_v2", tmp_path / "v2"))
    other_dictionaries(folder, kinds=["token_dictionary", "gene_median_dictionary", "ensembl_mapping_dict"])
    with pytest.raises(GuardError, match=r"452 tokens, while config\.json says 454"):
        Geneformer(weights=folder)
    with guards.without(["pretrained", "tensors"]):
        assert Geneformer(weights=folder).loaded_share < 1


def test_medians_of_another_release_are_refused(tmp_path):
    folder = Path(shutil.copytree(PARITY / "geneformer_v2", tmp_path / "v2"))
    medians = pickle.loads((folder / "gene_median_dictionary_gc104M.pkl").read_bytes())  # noqa: S301
    tokens = pickle.loads((folder / "token_dictionary_gc104M.pkl").read_bytes())  # noqa: S301
    known = [gene for gene in medians if gene in tokens]
    for gene in known[: len(known) // 30]:
        medians.pop(gene)
    (folder / "gene_median_dictionary_gc104M.pkl").write_bytes(pickle.dumps(medians))
    with pytest.raises(GuardError, match="of another release"):
        Geneformer(weights=folder)
    with guards.without(["pretrained"]):
        assert Geneformer(weights=folder).loaded_share == 1


def test_a_vocabulary_of_scgpt_of_another_length_is_refused(tmp_path):
    folder = Path(shutil.copytree(PARITY / "scgpt", tmp_path / "scgpt"))
    tokens = json.loads((folder / "vocab.json").read_text())
    (folder / "vocab.json").write_text(json.dumps({**tokens, "NEW": len(tokens)}))
    with pytest.raises(GuardError, match=f"{len(tokens) + 1} tokens, while .* {len(tokens)}"):
        FAMILIES["scgpt"].load(folder)
    with guards.without(["pretrained", "tensors"]):
        assert FAMILIES["scgpt"].load(folder).loaded_share < 1


def test_a_vocabulary_of_the_published_length_has_the_published_genes(tmp_path):
    names = [f"GENE{i}" for i in range(40)]
    published = {40: ("the release", pretrained.vocabulary_sha256(names))}
    numbered = {name: number for number, name in enumerate(names)}
    for same in (names, numbered, dict(reversed(numbered.items()))):
        pretrained.require_published(same, published=published, path=tmp_path)
    swapped = [names[1], names[0], *names[2:]]
    with pytest.raises(GuardError, match="others or in another order"):
        pretrained.require_published(swapped, published=published, path=tmp_path)
    with guards.without(["pretrained"]):
        pretrained.require_published(swapped, published=published, path=tmp_path)
    pretrained.require_published(swapped[1:], published=published, path=tmp_path)


READERS = {
    "geneformer": (20_275, lambda tokens, folder: _geneformer(tokens, folder)),
    "scgpt": (60_697, lambda tokens, folder: read_vocabulary(_json(tokens, folder / "vocab.json"))),
    "scfoundation": (19_264, lambda tokens, folder: read_genes(_tsv(tokens, folder / "genes.tsv"))),
}


def _json(tokens, path):
    path.write_text(json.dumps(tokens))
    return path


def _tsv(tokens, path):
    path.write_text("gene_name\tindex\n" + "".join(f"{name}\t{number}\n" for name, number in tokens.items()))
    return path


def _geneformer(tokens, folder):
    _json(tokens, folder / "token_dictionary.json")
    _json(dict.fromkeys(tokens, 1.0), folder / "gene_median_dictionary.json")
    _json({name: name for name in tokens}, folder / "ensembl_mapping_dict.json")
    return GeneDictionaries.read([folder])


@pytest.mark.parametrize("name", READERS)
def test_other_genes_in_a_vocabulary_of_the_published_length_are_refused(name, tmp_path):
    size, read = READERS[name]
    names = ["<pad>", "<cls>", "<eos>", *(f"G{i}" for i in range(3, size))]
    tokens = {name: number for number, name in enumerate(names)}
    with pytest.raises(GuardError, match="others or in another order"):
        read(tokens, tmp_path)
    with guards.without(["pretrained"]):
        read(tokens, tmp_path)


def test_the_dictionary_of_another_release_than_the_name_says_is_refused(monkeypatch):
    monkeypatch.setattr("scfm_eval.models.geneformer.RELEASES", {454: "Geneformer V2 (gc104M)"})
    assert Geneformer(weights=PARITY / "geneformer_v2").name == "geneformer"
    with pytest.raises(GuardError, match=r"the gc30M release as geneformer-v1-10m[\s\S]*V2"):
        GeneformerV1(weights=PARITY / "geneformer_v2")
    with guards.without(["pretrained"]):
        assert GeneformerV1(weights=PARITY / "geneformer_v2").loaded_share == 1


@pytest.mark.parametrize("name", FAMILIES)
def test_the_published_checkpoints_in_small_are_no_false_alarm(name):
    assert FAMILIES[name].load(PARITY / FAMILIES[name].folder).n_parameters


@pytest.mark.parametrize("mini", [GeneformerMini, ScGPTMini])
def test_the_packaged_models_are_no_false_alarm(mini):
    assert mini(offline=True).loaded_share == 1


def test_the_published_vocabularies_are_no_false_alarm(real_data):
    folder = real_data.parent / "vocab"
    if not folder.is_dir():
        pytest.skip(f"no published vocabularies in {folder}")
    assert [len(GeneDictionaries.read([folder / f"geneformer_v{n}"]).token) for n in (1, 2)] == [25_426, 20_275]
    assert len(read_vocabulary(folder / "scgpt_human" / "vocab.json")) == 60_697
    assert len(read_genes(next((folder / "scfoundation").glob("*.tsv")))) == 19_264
    assert len(read_order(folder / "nicheformer" / "model.h5ad")) == 20_310
