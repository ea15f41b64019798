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
    first_in_zip,
    immune_human_without_villani,
    pbmc3k_with_labels,
    scib_pancreas_rounded,
    scperturb_combinations,
)
from scfm_eval.datasets.synthetic import synthetic_batches as _batches
from scfm_eval.datasets.synthetic import synthetic_perturbations as _perturbations
from scfm_eval.datasets.synthetic import synthetic_transfer as _transfer

_SCPERTURB = "https://zenodo.org/records/13350497/files"
_SCPERTURB_LICENCE = "CC BY 4.0 (scPerturb, 10.1038/s41592-023-02144-y)"
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
    domain_key="domain",
    ontology_terms=_SIMULATED_TERMS,
    organism="simulated",
    licence="CC0",
    note="The types of synthetic_batches, simulated in a source and in a target of another depth and chemistry.",
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
