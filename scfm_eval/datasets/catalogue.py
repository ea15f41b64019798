"""The datasets that the suite knows by name.

A file ``$SCFM_EVAL_DATA/<name>.h5ad`` wins over a download; it has raw counts and the columns that the declaration
names. Where no hash is declared, that of the first download is recorded and later ones are held to it.
"""

from __future__ import annotations

from scfm_eval.datasets.dataset import Dataset
from scfm_eval.datasets.download import RemoteFile
from scfm_eval.datasets.pbmc68k import pbmc68k_reduced_with_counts
from scfm_eval.datasets.published import (
    adamson_guides,
    demuxlet_singlets,
    first_in_zip,
    immune_human_without_villani,
    pbmc3k_with_labels,
    scib_pancreas_rounded,
    scperturb_combinations,
    sorted_blood_draw,
    tumour_with_major_types,
)
from scfm_eval.datasets.synthetic import network_edges
from scfm_eval.datasets.synthetic import synthetic_batches as _batches
from scfm_eval.datasets.synthetic import synthetic_network as _network
from scfm_eval.datasets.synthetic import synthetic_perturbations as _perturbations
from scfm_eval.datasets.synthetic import synthetic_transfer as _transfer

_SCPERTURB = "https://zenodo.org/records/13350497/files"
_SCPERTURB_LICENCE = "CC BY 4.0 (scPerturb, 10.1038/s41592-023-02144-y)"
_MIXOLOGY = "https://raw.githubusercontent.com/LuyiTian/sc_mixology/7d00ffb0bd043467f365a9358d7312f294f13c9f/data/csv"
_MIXOLOGY_FILES = (
    ("sc_celseq2.count.csv.gz", "a82aa89b8995aed412f4260c0adb343967e33a801af6f2e0aa647c1d897a5a21"),
    ("sc_celseq2.metadata.csv.gz", "78429916bac394d92d8c972059a8f195c5479ce578da04f1eb3ba599585ef3d9"),
    ("sc_celseq2_5cl_p1.count.csv.gz", "577324d2fd427685144420536489202c68ae98cb22f5825c40c8cf41c5fe0a07"),
    ("sc_celseq2_5cl_p1.metadata.csv.gz", "a6f5b206f891113162d2c9af27860c187a04ccd8848f9bc29be97dfa95eeadc4"),
    ("sc_celseq2_5cl_p2.count.csv.gz", "c6ef3df82d9fa44598ee15d8a07113c44a830ee3d2e3205c93590d594240bab5"),
    ("sc_celseq2_5cl_p2.metadata.csv.gz", "06d2f3b9fd646b4a3c1e6d1af7205c7eec1017bfab9a4c68853f9a3fc97be836"),
    ("sc_celseq2_5cl_p3.count.csv.gz", "e535abac653a5a3ee44eff88345db2315693732f679156ab20ee924b21bced9a"),
    ("sc_celseq2_5cl_p3.metadata.csv.gz", "c373869c9d3bbca9dc7773a8b8ef65e6035c939d45b18cb410fede526770eadb"),
    ("sc_dropseq.count.csv.gz", "98c0bb6a9fbf4b93967ef82cef9985d7691cf59a31dc5b0b3699f70ed1a0fd08"),
    ("sc_dropseq.metadata.csv.gz", "4c48f3e13778e89192d9861095bc102cc0deb9eba1a7f47a093f5a058ce1aa6a"),
)
_GENEPT_FOLDER = "https://drive.google.com/drive/folders/1LgFvJqWNq9BqHbuxB2tYf62kXs9KqL4t"
_SIMULATED_TERMS = (
    ("alpha", "CL:0000236"),
    ("beta", "CL:0000623"),
    ("gamma", "CL:0000576"),
    ("delta", "CL:0000624"),
    ("delta-like", "CL:0000625"),
)

pbmc68k_reduced = Dataset(
    name="pbmc68k_reduced",
    build=pbmc68k_reduced_with_counts,
    label_key="bulk_labels",
    labels_from="expression",
    ontology_terms=(
        ("CD14+ Monocyte", "CL:0001054"),
        ("CD19+ B", "CL:0000236"),
        ("CD34+", "CL:0008001"),
        ("CD4+/CD25 T Reg", "CL:0000792"),
        ("CD4+/CD45RA+/CD25- Naive T", "CL:0000895"),
        ("CD4+/CD45RO+ Memory", "CL:0000897"),
        ("CD56+ NK", "CL:0000623"),
        ("CD8+ Cytotoxic T", "CL:0000794"),
        ("CD8+/CD45RA+ Naive Cytotoxic", "CL:0000900"),
        ("Dendritic", "CL:0000451"),
    ),
    licence="CC BY 4.0 (10x Genomics)",
    citation="10.1038/ncomms14049",
    note="700 cells, 765 variable genes; in scanpy's wheel; labels by correlation with sorted cells of that study.",
)

synthetic_batches = Dataset(
    name="synthetic_batches",
    build=_batches,
    label_key="cell_type",
    labels_from="independent",
    batch_key="batch",
    ontology_terms=_SIMULATED_TERMS,
    organism="simulated",
    licence="CC0",
    note="Five simulated types in three simulated batches. The types stand for Cell Ontology terms by decree: delta "
    "and delta-like are siblings.",
)

synthetic_perturbations = Dataset(
    name="synthetic_perturbations",
    build=_perturbations,
    perturbation_key="perturbation",
    effect="knockdown",
    organism="simulated",
    licence="CC0",
    note="Simulated; combinations are exactly additive on the log scale.",
)

synthetic_transfer = Dataset(
    name="synthetic_transfer",
    build=_transfer,
    label_key="cell_type",
    labels_from="independent",
    domain_key="domain",
    ontology_terms=_SIMULATED_TERMS,
    organism="simulated",
    licence="CC0",
    note="The types of synthetic_batches, simulated in a source and in a target of another depth and chemistry.",
)

synthetic_network = Dataset(
    name="synthetic_network",
    build=_network,
    network=network_edges,
    organism="simulated",
    licence="CC0",
    note="Real gene symbols, but who regulates whom is drawn at random: what a model knows of real networks is of no "
    "use, what it reads in the cells is.",
)

pbmc3k = Dataset(
    name="pbmc3k",
    remote=(
        RemoteFile(
            url="https://exampledata.scverse.org/scanpy/pbmc3k_raw.h5ad",
            name="pbmc3k_raw.h5ad",
            sha256="89a96f1beaa2dd83a687666d3f19a4513ac27a2a2d12581fcd77afed7ea653a1",
        ),
        RemoteFile(
            url="https://raw.githubusercontent.com/chanzuckerberg/cellxgene/"
            "68dfbcc2eb675e96c6a5e2a6b7a0d3465ccf46bc/example-dataset/pbmc3k.h5ad",
            name="pbmc3k_processed.h5ad",
            sha256="0db367b991dd95809732b218539ede489bea99113807f62ebd7ccc970025fe38",
        ),
    ),
    read=pbmc3k_with_labels,
    label_key="cell_type",
    labels_from="expression",
    ontology_terms=(
        ("CD4 T cells", "CL:0000624"),
        ("CD14+ Monocytes", "CL:0001054"),
        ("B cells", "CL:0000236"),
        ("CD8 T cells", "CL:0000625"),
        ("NK cells", "CL:0000623"),
        ("FCGR3A+ Monocytes", "CL:0000875"),
        ("Dendritic cells", "CL:0000451"),
        ("Megakaryocytes", "CL:0000556"),
    ),
    licence="CC BY 4.0 (10x Genomics)",
    citation="10.1038/ncomms14049",
    note="Labels are the clusters of scanpy's tutorial, matched by barcode: they are derived from the same matrix. "
    "62 cells that the tutorial filters out have none.",
)

sorted_blood = Dataset(
    name="sorted_blood",
    remote=(
        RemoteFile(
            url="https://raw.githubusercontent.com/stephenslab/fastTopics/"
            "8406f5f4de379e7ff8b43ecfee93cca42a8e7a57/data/pbmc_facs.RData",
            name="pbmc_facs.RData",
            sha256="90ae0879b8c7ba4d456f9a0d1be964213b0dda6788a7b05b48d867b9f76f2946",
        ),
    ),
    read=sorted_blood_draw,
    label_key="cell_type",
    labels_from="independent",
    ontology_terms=(
        ("CD14+ Monocyte", "CL:0001054"),
        ("CD19+ B", "CL:0000236"),
        ("CD34+", "CL:0008001"),
        ("CD4+ T Helper2", "CL:0000624"),
        ("CD4+/CD25 T Reg", "CL:0000792"),
        ("CD4+/CD45RA+/CD25- Naive T", "CL:0000895"),
        ("CD4+/CD45RO+ Memory", "CL:0000897"),
        ("CD56+ NK", "CL:0000623"),
        ("CD8+ Cytotoxic T", "CL:0000794"),
        ("CD8+/CD45RA+ Naive Cytotoxic", "CL:0000900"),
    ),
    gene_ids="ensembl",
    licence="CC BY 4.0 (10x Genomics)",
    citation="10.1038/ncomms14049",
    note="100 cells of each population, of the 3,774 that fastTopics carries, drawn with seed 0. The label is the "
    "population that beads sorted, not one read from expression; sorting is not pure, and the beads of CD4+ T Helper2 "
    "chose by CD4 alone. "
    "The donor is that of pbmc68k_reduced.",
)

breast_tumour = Dataset(
    name="breast_tumour",
    remote=(
        RemoteFile(
            url="https://raw.githubusercontent.com/omnideconv/spacedeconv/"
            "3c3317a5fd861ed4d42bb096f58a5634b0a16899/data/single_cell_data_2.RData",
            name="single_cell_data_2.RData",
            sha256="5f719b65edd292429ff69aa1a648252508298069002337c785e9688f8af150fa",
        ),
    ),
    read=tumour_with_major_types,
    label_key="cell_type",
    labels_from="expression",
    ontology_terms=(
        ("B-cells", "CL:0000236"),
        ("Endothelial", "CL:0000115"),
        ("Myeloid", "CL:0000763"),
        ("Plasmablasts", "CL:0000980"),
        ("T-cells", "CL:0000084"),
    ),
    licence="not stated for the data; GPL-3 for the repository that carries them",
    citation="10.1038/s41588-021-00911-1",
    note="Triple-negative tumour CID4465 of GSE176078, one patient. Labels are the authors' major types, derived from "
    "the same counts; CAFs, PVL and both kinds of epithelium have no one term. Ten cells are normal epithelium.",
)

mixology = Dataset(
    name="mixology",
    remote=tuple(RemoteFile(url=f"{_MIXOLOGY}/{name}", name=name, sha256=sha256) for name, sha256 in _MIXOLOGY_FILES),
    read=demuxlet_singlets,
    label_key="cell_type",
    labels_from="independent",
    batch_key="batch",
    gene_ids="ensembl",
    licence="MIT (LuyiTian/sc_mixology)",
    citation="10.1038/s41592-019-0425-8",
    note="Lung adenocarcinoma lines of GSE118767: four plates of CEL-seq2, and Drop-seq; its 10x cells and mixtures "
    "are left out. Labels by genotype (demuxlet); without doublets, spike-ins and genes that not all tables list. "
    "Two of the five batches have three of the five lines. 29 singlets come from wells that were given two cells.",
)

hao_pbmc = Dataset(
    name="hao_pbmc",
    page="https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSE164378",
    label_key="cell_type",
    batch_key="lane",
    citation="10.1016/j.cell.2021.04.048",
    ontology_terms=(
        ("B cells", "CL:0000236"),
        ("ILC", "CL:0001065"),
        ("Monocytes", "CL:0000576"),
        ("NK cells", "CL:0000623"),
        ("Plasma cells", "CL:0000786"),
        ("Platelet", "CL:0000233"),
        ("T cells CD4 conv", "CL:0000624"),
        ("T cells CD8", "CL:0000625"),
        ("Tregs", "CL:0000792"),
        ("mDC", "CL:0000990"),
        ("pDC", "CL:0000784"),
    ),
    note="PBMC CITE-seq; cell types in cell_type, the sequencing lane in lane.",
)

pancreas = Dataset(
    name="pancreas",
    page="https://cellxgene.cziscience.com",
    label_key="cell_type",
    batch_key="study",
    donor_key="donor_id",
    age_key="development_stage",
    ontology_key="cell_type_ontology_term_id",
    gene_ids="ensembl",
    licence="CC BY 4.0 (CELLxGENE)",
    citation="10.1053/j.gastro.2020.11.010; 10.1038/s42255-022-00531-x; 10.1016/j.molmet.2022.101595; "
    "10.1016/j.cels.2016.09.002",
    note="Four pancreas studies of CELLxGENE, at most 200 cells per type and study, the study in study. "
    "The pancreas of the scIB benchmark is another dataset, which downloads itself: scib_pancreas.",
)

heart = Dataset(
    name="heart",
    page="https://cellxgene.cziscience.com",
    label_key="cell_type",
    donor_key="donor_id",
    ontology_key="cell_type_ontology_term_id",
    gene_ids="ensembl",
    licence="CC BY 4.0 (CELLxGENE)",
    citation="10.1038/s41586-023-06311-1",
    note="1,000 sino-atrial node nuclei of one donor, Heart Cell Atlas v2; 61 % are fibroblasts.",
)

perturbseq_norman_mcfaline = Dataset(
    name="perturbseq_norman_mcfaline",
    page="https://github.com/altoslabs/perturbench",
    perturbation_key="condition",
    context_key="cell_type",
    effect_key="perturbation_type",
    licence="BSD-3-Clause (perturbench)",
    citation="10.1126/science.aax4438; 10.1016/j.xgen.2023.100487",
    note="500 variable genes; the context is the cell line: K562 (CRISPRa) and three glioblastoma lines (CRISPRi).",
)

scib_pancreas = Dataset(
    name="scib_pancreas",
    remote=(
        RemoteFile(url="https://figshare.com/ndownloader/files/24539828", name="human_pancreas_norm_complexBatch.h5ad"),
    ),
    read=scib_pancreas_rounded,
    counts="layers/counts",
    label_key="celltype",
    batch_key="tech",
    citation="10.1038/s41592-021-01336-8",
    page="https://doi.org/10.6084/m9.figshare.12420968",
    note="Counts of four of the nine technologies are not whole numbers in the published file: they are rounded.",
)

immune_human = Dataset(
    name="immune_human",
    remote=(RemoteFile(url="https://figshare.com/ndownloader/files/25717328", name="Immune_ALL_human.h5ad"),),
    read=immune_human_without_villani,
    counts="layers/counts",
    label_key="final_annotation",
    batch_key="batch",
    citation="10.1038/s41592-021-01336-8",
    page="https://doi.org/10.6084/m9.figshare.12420968",
    note="Without the study Villani, whose published values are no counts.",
)

tabula_sapiens_lung = Dataset(
    name="tabula_sapiens_lung",
    remote=(RemoteFile(url="https://figshare.com/ndownloader/files/34701991", name="TS_Lung.h5ad.zip"),),
    read=first_in_zip,
    counts="layers/raw_counts",
    label_key="cell_ontology_class",
    batch_key="method",
    donor_key="donor",
    licence="CC BY 4.0",
    citation="10.1126/science.abl4896",
    page="https://doi.org/10.6084/m9.figshare.14267219",
    seen_by=("scgpt", "uce"),
    note="Tabula Sapiens is part of CELLxGENE, which models trained on its census have seen.",
)

norman2019 = Dataset(
    name="norman2019",
    remote=(
        RemoteFile(
            url=f"{_SCPERTURB}/NormanWeissman2019_filtered.h5ad?download=1",
            name="NormanWeissman2019_filtered.h5ad",
            sha256="efde6f5301fe256725dce1d980f37bd96a13481a9a16135515897368e631affc",
        ),
    ),
    read=scperturb_combinations,
    perturbation_key="perturbation",
    effect="activation",
    licence=_SCPERTURB_LICENCE,
    citation="10.1126/science.aax4438",
    note="CRISPRa in K562, single genes and pairs.",
)

adamson2016 = Dataset(
    name="adamson2016",
    remote=(
        RemoteFile(
            url=f"{_SCPERTURB}/AdamsonWeissman2016_GSM2406681_10X010.h5ad?download=1",
            name="AdamsonWeissman2016_GSM2406681_10X010.h5ad",
            sha256="e70fcd49808cab8d724de8d5a332940911206e1c8ef44cc7b568d048ed795c85",
        ),
    ),
    read=adamson_guides,
    perturbation_key="perturbation",
    effect="knockdown",
    licence=_SCPERTURB_LICENCE,
    citation="10.1016/j.cell.2016.11.048",
    note="CRISPRi in K562, unfolded protein response. The published file names no controls: the guides 63(mod) and "
    "Gal4-4(mod) are taken as such.",
)

replogle2022_k562_essential = Dataset(
    name="replogle2022_k562_essential",
    remote=(
        RemoteFile(
            url=f"{_SCPERTURB}/ReplogleWeissman2022_K562_essential.h5ad?download=1",
            name="ReplogleWeissman2022_K562_essential.h5ad",
        ),
    ),
    perturbation_key="perturbation",
    effect="knockdown",
    licence=_SCPERTURB_LICENCE,
    citation="10.1016/j.cell.2022.05.013",
    note="CRISPRi of essential genes in K562.",
)

aorta = Dataset(
    name="aorta",
    page=_GENEPT_FOLDER,
    label_key="celltype",
    donor_key="patient",
    phenotype_key="phenotype",
    citation="10.1161/CIRCULATIONAHA.120.046528",
    note="sample_aorta_data_updated.h5ad: 20 % of GSE155468, as GenePT used it.",
)

cardiomyocyte = Dataset(
    name="cardiomyocyte",
    page=_GENEPT_FOLDER,
    label_key="disease",
    labels_from="independent",
    donor_key="patient",
    phenotype_key="disease",
    citation="10.1038/s41586-022-04817-8",
    note="sample_heart_data.h5ad: 10 % of SCP1303, as GenePT used it. The label is the disease: rename its columns.",
)

myeloid = Dataset(
    name="myeloid",
    page="https://drive.google.com/drive/folders/1VbpApQufZq8efFGakW3y8QDDpY9MBoDS",
    label_key="cell_type",
    batch_key="cancer_type",
    cancer_type_key="cancer_type",
    citation="10.1016/j.cell.2021.01.010",
    note="The file of scGPT is normalised: raw counts are in GSE154763.",
)

multiple_sclerosis = Dataset(
    name="multiple_sclerosis",
    page="https://drive.google.com/drive/folders/1Qd42YNabzyr2pWt9xoY4cVMTAxsNBt4v",
    label_key="celltype",
    age_key="age",
    citation="10.1038/s41586-019-1404-z",
    note="c_data.h5ad of scGPT is normalised: raw counts are in E-HCAD-35 of the Expression Atlas.",
)

hpancreas = Dataset(
    name="hpancreas",
    page="https://drive.google.com/drive/folders/1s9XjcSiPC-FYV3VeHrEa7SeZetrthQVV",
    label_key="Celltype",
    citation="10.1038/s41467-023-35923-4",
    note="demo_test.h5ad of scGPT is normalised: take raw counts from the studies that TOSICA names.",
)

artery = Dataset(
    name="artery",
    page="https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSE159677",
    label_key="cell_type",
    citation="10.1038/s42003-022-04056-7",
    note="The record has counts without cell types: those are to be had from the authors.",
)

bones = Dataset(
    name="bones",
    page="https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSE152805",
    label_key="cell_type",
    citation="10.1038/s41598-020-67730-y",
    note="The record has counts without cell types: those are to be had from the authors.",
)
