"""The other models of a comparison, as a config names them: of the same store, or of another one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.run.fold import require_dump
from pipeline.run.member_rows import Member
from pipeline.run.plan_record import Plan
from pipeline.run.plans import load_plan, planned_models
from pipeline.store.store import Store
from schemas.errors import ConfigError, StoreLocationError

#: Between a store's path and the alias of a model in it.
SEPARATOR = "::"
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class OtherModel:
    """One model that another one is compared with."""

    member: Member
    store_url: str | None
    """Where it is, if in another store."""
    label: str
    """Its alias; ``STORE::ALIAS`` where another model of the comparison has the same."""

    @property
    def plan(self) -> Plan:
        """Its plan."""
        return self.member.plan

    @property
    def text(self) -> str:
        """As a config names it, wherever the command is started."""
        return self.plan.model if self.store_url is None else f"{self.store_url}{SEPARATOR}{self.plan.model}"


def find_others(plan: Plan, store: Store, named: Sequence[str]) -> tuple[OtherModel, ...]:
    """The models that ``named`` says: an alias of ``store``, a store's path or URL, or ``PATH::ALIAS``.

    Raises :class:`ConfigError` for one that is not there or is named twice, :class:`IncompleteError` for one that is
    not dumped. ``plan``'s own model need not be dumped yet.
    """
    found = [_find(plan, store, text) for text in named]
    seen = Counter((other.store_url, other.plan.run_id) for other in found)
    twice = [other.text for other in found if seen[other.store_url, other.plan.run_id] > 1]
    if twice:
        raise ConfigError(f"correlate.with: {twice[0]!r} is named twice; name each model once")
    aliases = Counter(other.plan.model for other in found)
    return tuple(
        replace(other, label=other.text)
        if aliases[other.plan.model] > 1 or (other.store_url is not None and other.plan.model == plan.model)
        else other
        for other in found
    )


def check_others_of_new_store(named: Sequence[str], own: str) -> None:
    """Raise as :func:`find_others` for a store that is not there yet, and so has the model ``own`` alone."""
    for text in named:
        path, separator, alias = text.rpartition(SEPARATOR)
        if not separator or not _ALIAS.fullmatch(alias):
            path, alias = ("", text) if text == own else (text, "")
        if path:
            _load(_open(path, own), alias, text)


def _find(plan: Plan, store: Store, text: str) -> OtherModel:
    path, separator, alias = text.rpartition(SEPARATOR)
    if not separator or not _ALIAS.fullmatch(alias):
        path, alias = ("", text) if text in planned_models(store) else (text, "")
    there = _open(path, ", ".join(planned_models(store))) if path else Store.open(store.url)
    other = _load(there, alias, text)
    is_same = there.url == store.url
    if not (is_same and other.run_id == plan.run_id):
        require_dump(other, there)
    return OtherModel(Member.of_words(there, other), None if is_same else there.url, other.model)


def _open(path: str, models: str) -> Store:
    """The store at ``path``; ``models`` are those of the store at work."""
    try:
        return Store.open(path)
    except StoreLocationError as error:
        raise ConfigError(
            f"correlate.with: {path!r} is neither a model of this store, which has {models}, nor the path or URL of "
            "another store; name one of these"
        ) from error


def _load(store: Store, alias: str, text: str) -> Plan:
    models = planned_models(store)
    if (alias and alias not in models) or not models:
        raise ConfigError(
            f"correlate.with: {text!r}: store {store.url} has no model {alias!r}; it has {', '.join(models) or 'none'}"
        )
    if not alias and len(models) > 1:
        raise ConfigError(
            f"correlate.with: {text!r}: that store holds several models; name one of "
            + ", ".join(f"{text}{SEPARATOR}{model}" for model in models)
        )
    return load_plan(store, alias or models[0])
