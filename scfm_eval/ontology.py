"""The Cell Ontology: its terms, their is_a graph, and which term a label stands for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from scfm_eval.bounds import read_text
from scfm_eval.errors import InvalidInputError

UNREACHED = 2**14
"""Distance to a term that is no ancestor; farther than any ontology is deep."""

_PREFIX = "CL:"
_GUIDE = "cellxgene-ontology-guide"
_ID = re.compile(r"[^\s{!]+")
_EXACT = re.compile(r'"((?:[^"\\]|\\.)*)"\s+EXACT\b')
_BREAKS = re.compile(r"[\s_,\-]+")


@dataclass(frozen=True, eq=False)
class Ontology:
    """Terms of the Cell Ontology that are in use, and their is_a graph.

    Parameters
    ----------
    release
        Which ontology this is.
    names
        Name by term id, obsolete terms left out.
    parents
        Direct is_a parents by term id, as written in the source.
    synonyms
        Exact synonyms by term id.
    replaced
        Term by alternative id, and by id of an obsolete term that names its replacement.

    Raises
    ------
    InvalidInputError
        There is no term, a parent is not among the terms, or the graph has a cycle.
    """

    release: str
    names: Mapping[str, str]
    parents: Mapping[str, tuple[str, ...]]
    synonyms: Mapping[str, tuple[str, ...]]
    replaced: Mapping[str, str]

    def __post_init__(self) -> None:
        unknown = {parent for parents in self.parents.values() for parent in parents if parent not in self.names}
        if not self.names:
            raise self._refused(f"no term whose id starts with {_PREFIX}")
        if unknown:
            raise self._refused(f"is_a names terms that are missing or obsolete: {', '.join(sorted(unknown)[:3])}")
        try:
            tuple(self._parents_first)
        except CycleError as error:
            raise self._refused(f"terms that are their own ancestors: {', '.join(error.args[1])}") from error

    @cached_property
    def terms(self) -> tuple[str, ...]:
        """Ids in use, sorted."""
        return tuple(sorted(self.names))

    @cached_property
    def position(self) -> dict[str, int]:
        """Position of each id in ``terms``."""
        return {term: i for i, term in enumerate(self.terms)}

    @cached_property
    def distances_up(self) -> NDArray[np.int16]:
        """Edges of the shortest is_a path from each term (row) up to each ancestor (column), ``(n_terms, n_terms)``.

        0 on the diagonal, ``UNREACHED`` where the column is no ancestor.
        """
        up = np.full((len(self.terms), len(self.terms)), UNREACHED, dtype=np.int16)
        for term in self._parents_first:
            row = up[self.position[term]]
            for parent in self.parents.get(term, ()):
                np.minimum(row, up[self.position[parent]] + np.int16(1), out=row)
            np.minimum(row, UNREACHED, out=row)
            row[self.position[term]] = 0
        up.flags.writeable = False
        return up

    @cached_property
    def n_descendants(self) -> NDArray[np.int64]:
        """Number of descendants of each term, itself among them, ``(n_terms,)``."""
        return np.asarray((self.distances_up < UNREACHED).sum(axis=0), dtype=np.int64)

    @cached_property
    def root(self) -> str:
        """The term that most terms descend from."""
        return self.terms[int(np.argmax(self.n_descendants))]

    def neighbors(self) -> sparse.csr_array:
        """Return which terms an is_a edge joins, in either direction, as a symmetric 0/1 matrix."""
        edges = [
            (self.position[term], self.position[parent]) for term, above in self.parents.items() for parent in above
        ]
        below, above = np.array(edges, dtype=np.intp).reshape(-1, 2).T
        one_way = sparse.csr_array((np.ones(len(below)), (below, above)), shape=(len(self.terms),) * 2)
        return (one_way + one_way.T).sign()

    def resolve(self, term: str) -> str | None:
        """Return the term in use that ``CL:0000000`` or ``CL_0000000`` stands for; ``None`` where there is none."""
        found = term.strip().upper().replace("_", ":")
        seen: set[str] = set()
        while found not in self.names and found in self.replaced and found not in seen:
            seen.add(found)
            found = self.replaced[found]
        return found if found in self.names else None

    @cached_property
    def by_name(self) -> Mapping[str, frozenset[str]]:
        """Terms by name, spelled as labels are compared."""
        return _grouped((_plain(name), term) for term, name in self.names.items())

    @cached_property
    def by_synonym(self) -> Mapping[str, frozenset[str]]:
        """Terms by exact synonym, spelled as labels are compared."""
        return _grouped((_plain(name), term) for term, names in self.synonyms.items() for name in names)

    @property
    def _parents_first(self) -> Iterable[str]:
        return TopologicalSorter({term: self.parents.get(term, ()) for term in self.names}).static_order()

    def _refused(self, found: str) -> InvalidInputError:
        return InvalidInputError(
            asked=f"the ontology {self.release}", found=found, remedy="pass an .obo release of the Cell Ontology"
        )


@dataclass(frozen=True)
class LabelMap:
    """Which term each label stands for.

    Parameters
    ----------
    terms
        Term id by label.
    how
        By label: ``"given"`` in a table, or found as an ``"id"``, a ``"name"`` or a ``"synonym"``.
    unmapped
        Labels that no term matches, or several.
    """

    terms: Mapping[str, str]
    how: Mapping[str, str]
    unmapped: tuple[str, ...]


def map_labels(labels: Iterable[str], ontology: Ontology, *, table: Mapping[str, str] | None = None) -> LabelMap:
    """Find the term of each label.

    A table decides for the labels in it. Else a label is an id, a term's name or an exact synonym, without regard to
    case, blanks, underscores, hyphens, commas and a plural s of the last word; ``CD14+`` is ``CD14-positive``. Names go
    before synonyms, and nothing is guessed: a spelling that fits several terms fits none.

    Parameters
    ----------
    labels
        Labels, each once or more.
    ontology
        The terms.
    table
        Term id by label; an id that the ontology does not have leaves its label unmapped.
    """
    given = table or {}
    found = {label: _found(label, ontology, given=given.get(label)) for label in sorted(set(labels))}
    return LabelMap(
        terms={label: term for label, (term, _) in found.items() if term is not None},
        how={label: how for label, (term, how) in found.items() if term is not None},
        unmapped=tuple(label for label, (term, _) in found.items() if term is None),
    )


def load_ontology(path: str = "") -> Ontology:
    """Return the ontology in an .obo file, or the packaged Cell Ontology for ``""``; read once.

    Raises
    ------
    InvalidInputError
        The file cannot be read, or is no .obo of the Cell Ontology.
    """
    return read_obo(Path(path)) if path else packaged()


@cache
def packaged() -> Ontology:
    """Return the newest Cell Ontology in the installed ``cellxgene-ontology-guide``; nothing is downloaded.

    That package gives each term's ancestors with their distance: those one edge away are its parents.
    """
    from cellxgene_ontology_guide.supported_versions import CXGSchema

    schema = CXGSchema()
    stated = schema.ontology("CL")
    live = {term: facts for term, facts in stated.items() if not facts["deprecated"]}
    return Ontology(
        release=f"CL {schema.supported_ontologies['CL']['version']} ({_GUIDE} {version(_GUIDE)})",
        names={term: facts["label"] for term, facts in live.items()},
        parents={
            term: tuple(sorted(above for above, edges in facts["ancestors"].items() if edges == 1))
            for term, facts in live.items()
        },
        synonyms={term: tuple(facts.get("synonyms", ())) for term, facts in live.items()},
        replaced={term: facts["replaced_by"] for term, facts in stated.items() if "replaced_by" in facts},
    )


@cache
def read_obo(path: Path) -> Ontology:
    """Read the terms of the Cell Ontology from an .obo file.

    Parents are the ``is_a`` lines of terms whose id starts with ``CL:``, kept as written; terms of other ontologies,
    relationships and intersections are left out.

    Raises
    ------
    InvalidInputError
        The file cannot be read, has no such term, names a parent that it does not have, or has a cycle.
    """
    try:
        header, *stanzas = re.split(r"(?m)^(?=\[\w+\])", read_text(path))
    except InvalidInputError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            asked=f"the ontology {path}", found=str(error), remedy="pass the path of an .obo file"
        ) from error
    tags = [_tags(stanza) for stanza in stanzas if stanza.startswith("[Term]")]
    cells = {_id(facts["id"][0]): facts for facts in tags if facts.get("id", [""])[0].startswith(_PREFIX)}
    live = {term: facts for term, facts in cells.items() if facts.get("is_obsolete") != ["true"]}
    return Ontology(
        release=" ".join([path.name, *_tags(header).get("data-version", [])]),
        names={term: facts.get("name", [term])[0] for term, facts in live.items()},
        parents={term: _cell_ids(facts.get("is_a", [])) for term, facts in live.items()},
        synonyms={term: _exact(facts.get("synonym", [])) for term, facts in live.items()},
        replaced=_replaced(cells, live),
    )


def _tags(stanza: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in stanza.splitlines():
        tag, colon, value = line.partition(":")
        if colon:
            found.setdefault(tag.strip(), []).append(value.strip())
    return found


def _id(value: str) -> str:
    """Return the id that a value begins with, without the qualifiers ``{…}`` and the comment ``! …`` behind it."""
    match = _ID.match(value)
    return match.group() if match else ""


def _cell_ids(values: list[str]) -> tuple[str, ...]:
    return tuple(sorted({_id(value) for value in values if value.startswith(_PREFIX)}))


def _exact(values: list[str]) -> tuple[str, ...]:
    matches = (_EXACT.match(value) for value in values)
    return tuple(re.sub(r"\\(.)", r"\1", match.group(1)) for match in matches if match)


def _replaced(cells: Mapping[str, dict[str, list[str]]], live: Mapping[str, dict[str, list[str]]]) -> dict[str, str]:
    alternative = {_id(other): term for term, facts in live.items() for other in facts.get("alt_id", [])}
    obsolete = {
        term: _id(facts["replaced_by"][0])
        for term, facts in cells.items()
        if term not in live and "replaced_by" in facts
    }
    return alternative | obsolete


def _found(label: str, ontology: Ontology, *, given: str | None) -> tuple[str | None, str]:
    if given is not None:
        return ontology.resolve(given), "given"
    by_id = ontology.resolve(label)
    if by_id is not None:
        return by_id, "id"
    plain = _plain(label)
    for spelled in (plain, plain.removesuffix("s")):
        for terms, how in ((ontology.by_name, "name"), (ontology.by_synonym, "synonym")):
            candidates = terms.get(spelled, frozenset())
            if candidates:
                return (next(iter(candidates)) if len(candidates) == 1 else None), how
    return None, ""


def _plain(name: str) -> str:
    return _BREAKS.sub(" ", name.casefold().replace("+", " positive ")).strip()


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    groups: dict[str, set[str]] = {}
    for name, term in pairs:
        groups.setdefault(name, set()).add(term)
    return {name: frozenset(terms) for name, terms in groups.items()}
