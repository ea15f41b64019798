"""What a network that is called pretrained must not be: fine-tuned elsewhere, or for another vocabulary."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scfm_eval import guards

if TYPE_CHECKING:
    from torch import Tensor

_SHOWN = 3
_LEFT_BY_FINE_TUNING = {
    r"base_model\.model\..*|(.*\.)?(lora_\w+|modules_to_save|vera_\w+)\..*": "low-rank updates, as peft saves them",
    r"(.*\.)?(adapters?|prompt_encoder|prefix_encoder)\..*": "adapters, as a fine-tuning of few parameters adds them",
    r"(.*\.)?(classifier|classification_head|score|qa_outputs|linear_head|cell_classifier)\.(.*\.)?(weight|bias)": (
        "a head for classes, as a fine-tuning on labels leaves it"
    ),
}
_OF_CLASSES = r".*For(\w*Classification|MultipleChoice|QuestionAnswering|NextSentencePrediction)|\w*Classifier"
_REMEDY = (
    "give the checkpoint as pretraining left it; one that has learned from labels is another model, "
    "to be evaluated under a name of its own"
)


def untuned(
    tensors: Mapping[str, Tensor],
    *,
    files: Sequence[Path],
    heads: Mapping[str, str] | None = None,
    outputs: Mapping[str, int] | None = None,
) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint without those that only a fine-tuning leaves in it.

    Parameters
    ----------
    tensors
        Name to tensor.
    files
        Where they were read, for the message.
    heads
        Regular expressions of further names that no pretraining of this family leaves, and what they are.
    outputs
        Rows of the heads for classes that its pretraining does leave, by the name of their weight.

    Raises
    ------
    GuardError
        There are such tensors, or a head has another number of rows.
    """
    kinds = {**_LEFT_BY_FINE_TUNING, **(heads or {})}
    found = {name: said for name in tensors for said in (_kind(name, kinds),) if said}
    found |= {
        name: f"a head of {len(tensors[name])} classes, where pretraining has {rows}"
        for name, rows in (outputs or {}).items()
        if name in tensors and len(tensors[name]) != rows
    }
    if found:
        guards.refuse(
            "pretrained",
            asked=f"a pretrained network in {_named(files)}",
            found="; ".join(_described(tensors, found)),
            remedy=_REMEDY,
        )
    return {name: value for name, value in tensors.items() if name not in found}


def _kind(name: str, kinds: Mapping[str, str]) -> str:
    return next((said for pattern, said in kinds.items() if re.fullmatch(pattern, name)), "")


def _described(tensors: Mapping[str, Tensor], found: Mapping[str, str]) -> Iterable[str]:
    for said in dict.fromkeys(found.values()):
        names = [
            f"{name} is unexpected, of shape {tuple(tensors[name].shape)}" for name, one in found.items() if one == said
        ]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield f"{', '.join(names[:_SHOWN])}{more}: {said}"


def require_untuned_settings(said: Mapping[str, Any], *, path: Path) -> None:
    """Refuse settings, as transformers writes them, of a network for classes.

    Raises
    ------
    GuardError
        The settings name such an architecture, or what it was fine-tuned for.
    """
    named = said.get("architectures")
    built = [str(one) for one in named if re.fullmatch(_OF_CLASSES, str(one))] if isinstance(named, list) else []
    tuned = [f"{key} = {said[key]!r}" for key in ("finetuning_task", "problem_type") if said.get(key)]
    if built or tuned:
        guards.refuse(
            "pretrained",
            asked=f"the settings of a pretrained network in {path}",
            found=f"those of one that was fine-tuned: {', '.join([*built, *tuned])}",
            remedy=_REMEDY,
        )


def require_table(*, rows: int, n_tokens: int, releases: Mapping[int, str], remedy: str, path: Path) -> None:
    """Refuse a dictionary of another length than the table of the network has rows.

    Parameters
    ----------
    rows, n_tokens
        Rows of the table of tokens, by the settings or the checkpoint, and tokens in the dictionary.
    releases
        Name of the release whose dictionary has that many tokens.
    remedy
        What to do about it.
    path
        The folder or file of the checkpoint.

    Raises
    ------
    GuardError
        The two differ.
    """
    if rows == n_tokens:
        return
    guards.refuse(
        "pretrained",
        asked=f"the token dictionary of the checkpoint in {path}",
        found=f"{n_tokens} tokens{_as(n_tokens, releases)}, while config.json says {rows}{_as(rows, releases)}",
        remedy=remedy,
    )


def _as(n_tokens: int, releases: Mapping[int, str]) -> str:
    return f" (as {releases[n_tokens]} has)" if n_tokens in releases else ""


def require_published(
    tokens: Mapping[str, int] | Sequence[str], *, published: Mapping[int, tuple[str, str]], path: Path
) -> None:
    """Refuse a vocabulary that has the length of a published one and is another: genes would be taken for others.

    Parameters
    ----------
    tokens
        Token of each name, or the names in order.
    published
        Name and :func:`vocabulary_sha256` of the published vocabularies, by length; one of another length is its own.
    path
        Where it was read, for the message.

    Raises
    ------
    GuardError
        Names or their tokens are not the published ones.
    """
    release, sha256 = published.get(len(tokens), ("", ""))
    if release and vocabulary_sha256(tokens) != sha256:
        guards.refuse(
            "pretrained",
            asked=f"the vocabulary of {release} in {path}",
            found=f"{len(tokens)} names, as many as {release} has, but others or in another order",
            remedy="use the file that was published with the checkpoint: under another one, genes are taken for others",
        )


def vocabulary_sha256(tokens: Mapping[str, int] | Sequence[str]) -> str:
    """Return the hash of names and tokens, whatever the kind of the file: of the lines ``<token> <name>``, by token."""
    numbered = ((int(token), name) for name, token in tokens.items()) if isinstance(tokens, Mapping) else None
    pairs = sorted(numbered) if numbered is not None else enumerate(tokens)
    return hashlib.sha256("".join(f"{token} {name}\n" for token, name in pairs).encode()).hexdigest()


def require_trained_head(tensors: Mapping[str, Tensor], *, head: str, body: str, files: Sequence[Path]) -> None:
    """Refuse a head as it is drawn before training on a body that was trained: the body is of another training.

    Parameters
    ----------
    tensors
        Name to tensor.
    head, body
        Names of a layer norm in each, without ``.weight`` and ``.bias``; as it is drawn, it is 1 and 0.
    files
        Where they were read, for the message.

    Raises
    ------
    GuardError
        The head was never trained, and the body was.
    """
    if _is_drawn(tensors, head) and not _is_drawn(tensors, body):
        guards.refuse(
            "pretrained",
            asked=f"a pretrained network in {_named(files)}",
            found=f"a head that was never trained ({head} is 1 and 0) on a body that was, as if the body came from a "
            "fine-tuning and the head had been drawn when it was loaded",
            remedy=_REMEDY,
        )


def _is_drawn(tensors: Mapping[str, Tensor], norm: str) -> bool:
    weight, bias = tensors.get(f"{norm}.weight"), tensors.get(f"{norm}.bias")
    return weight is not None and bias is not None and bool((weight == 1).all()) and bool((bias == 0).all())


def _named(files: Sequence[Path]) -> str:
    return ", ".join(str(file) for file in files) or "these tensors"
