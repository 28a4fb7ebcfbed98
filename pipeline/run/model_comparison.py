"""What a search across models compares with what: the models, their neurons in blocks, and the stages of its results.

The first member is the model that is searched, the others follow as they are named. Everything it comes to is decided
here, before an activation is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from pipeline.run.alignment import Alignment
from pipeline.run.member_rows import Member
from pipeline.run.moment_tiles import TileJob, block_size, tiles_stage
from pipeline.run.neuron_blocks import NeuronAxis, NeuronBlock, neuron_blocks
from pipeline.run.other_models import OtherModel, find_others
from pipeline.run.plan_record import Plan
from pipeline.run.row_norms import norms_stage
from pipeline.store.store import Store
from schemas.amounts import human_bytes
from schemas.correlate_config import CorrelateConfig
from schemas.errors import ConfigError
from schemas.fingerprints import fingerprint

#: Raised whenever the same co-moments would give other figures.
VERSION = 1
#: Matrices as large as that of the other model's co-moments that a regression has in memory at once.
_REGRESSION_MATRICES = 3
#: The same of two layers: co-moments, principal components of both, also whitened, and how neurons load on variates.
_COMPONENT_MATRICES = 12


@dataclass(frozen=True, eq=False)
class ModelComparison:
    """One model and the others, over the words that all of them have."""

    store: Store
    plan: Plan
    """Of the model that is searched, with its settings in full."""
    settings: CorrelateConfig
    others: tuple[OtherModel, ...]

    @cached_property
    def members(self) -> tuple[Member, ...]:
        """The model itself, then the others."""
        return (Member.of_words(self.store, self.plan), *(other.member for other in self.others))

    @cached_property
    def alignment(self) -> Alignment:
        """Where the rows of common words are found."""
        return Alignment.of_words(self.members)

    @cached_property
    def axis(self) -> NeuronAxis:
        """All neurons that take part."""
        plans = [member.plan for member in self.members]
        size = block_size(plans, self.plan.config.executor.memory_mb)
        blocks: list[NeuronBlock] = []
        for number, plan in enumerate(plans):
            found = neuron_blocks(number, plan, keep_rule(self.settings, is_other=number > 0), size)
            if not found:
                raise nothing_left(plan, self.settings)
            blocks += found
        return NeuronAxis(tuple(blocks))

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """The tiles it takes, as pairs of blocks.

        All of the model with the others; of a model with itself what its layers need, and of each other one all with
        `linreg`.
        """
        wanted = []
        for a, row in enumerate(self.axis.blocks):
            for b, column in enumerate(self.axis.blocks[a:], a):
                if row.member == column.member:
                    is_wanted = bool(row.layers & column.layers) or (row.member > 0 and "linreg" in self.methods)
                else:
                    is_wanted = row.member == 0
                if is_wanted:
                    wanted.append((a, b))
        return wanted

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods asked for."""
        return self.settings.methods

    @cached_property
    def tile_job(self) -> TileJob:
        """The recipe of the co-moments."""
        settings, blocks = self.settings, self.axis.blocks
        how = (settings.precision, settings.null, settings.place)
        stage = tiles_stage(self.members, blocks, self.alignment, *how)
        return TileJob(self.store.url, stage, self.members, blocks, self.alignment, *how)

    def layers_of(self, member: int) -> list[int]:
        """Numbers of a member's layers on the axis."""
        return [number for number, layer in enumerate(self.axis.layers) if layer[0] == member]

    @property
    def needs_components(self) -> bool:
        """Whether principal components of layers are needed."""
        return bool({"svcca", "pwcca"} & set(self.methods))

    @property
    def needs_layers(self) -> bool:
        """Whether anything of a layer by itself is needed."""
        return self.needs_components or "cka" in self.methods

    @cached_property
    def layers_stage(self) -> str:
        """Stage of what is computed once per layer."""
        return self._stage("layers", components=self.needs_components)

    @cached_property
    def pairs_stage(self) -> str:
        """Stage of what is computed per pair of layers."""
        # mincorr needs nothing beside what maxcorr does
        methods = sorted({"maxcorr", *self.methods} - {"mincorr"})
        return self._stage("pairs", methods=methods, ridge=self.settings.ridge if "linreg" in methods else None)

    @cached_property
    def regression_stage(self) -> str:
        """Stage of the regressions on whole models."""
        return self._stage("linreg", ridge=self.settings.ridge)

    def _stage(self, name: str, **settings: object) -> str:
        digest = fingerprint(kind=name, version=VERSION, tiles=self.tile_job.stage, settings=settings)
        return f"{name}-{self.plan.run_id}-{digest[:12]}"

    @property
    def stages(self) -> tuple[str, ...]:
        """Stage names of all receipts of its parts."""
        tiles = self.tile_job.stage
        found = [str(self.alignment.stage), tiles, self.pairs_stage]
        found += [self.layers_stage] if self.needs_layers else []
        found += [norms_stage(tiles)] if "cka" in self.methods else []
        return (*found, *([self.regression_stage] if "linreg" in self.methods else []))

    @property
    def key(self) -> str:
        """Names the tables: everything that decides them, between dashes."""
        what = fingerprint(
            version=VERSION,
            methods=self.settings.methods,
            labels=[[other.label, other.store_url] for other in self.others],
        )
        digests = dict.fromkeys(stage.rpartition("-")[2] for stage in self.stages)
        return "-".join(["models", *digests, what[:12]])

    @property
    def bytes_of_tiles(self) -> int:
        """Bytes of the tiles on disk, those of the null too."""
        sizes = [block.n_neurons for block in self.axis.blocks]
        itemsize = 8 if self.settings.precision == "float64" else 4
        members = [block.member for block in self.axis.blocks]
        return sum(sizes[a] * sizes[b] * itemsize * (1 + (members[a] != members[b])) for a, b in self.pairs)

    def check(self) -> None:
        """Raise :class:`ConfigError` where no neuron is left, or a matrix would not fit ``correlate.memory_mb``."""
        axis = self.axis
        limit = self.settings.memory_mb * 2**20
        needs = []
        if "linreg" in self.methods:
            sizes = [(len(axis.of_member(number)), other.label) for number, other in enumerate(self.others, 1)]
            n, label = max(sizes)
            needs.append((n, _REGRESSION_MATRICES, f"`linreg` on the {n:,} neurons of {label}", "linreg"))
        if self.needs_components:
            n = max(len(axis.of_layer(number)) for number in range(len(axis.layers)))
            needs.append(
                (n, _COMPONENT_MATRICES, f"`svcca` and `pwcca` of a layer of {n:,} neurons", "svcca and pwcca")
            )
        for n, n_matrices, what, methods in needs:
            n_bytes = 8 * n_matrices * n**2
            if n_bytes > limit:
                raise ConfigError(
                    f"correlate: {what} takes {human_bytes(n_bytes)} of memory, and correlate.memory_mb allows "
                    f"{human_bytes(limit)}; compare fewer layers or components (--layers, --with-layers, "
                    f"--components), leave {methods} out of --methods, or allow --memory-mb {-(-n_bytes // 2**20)}"
                )


def compare_models(plan: Plan, store: Store) -> ModelComparison:
    """What the section ``correlate`` comes to; raises :class:`ConfigError` where it names nothing that is there."""
    settings = plan.config.correlate or CorrelateConfig()
    return ModelComparison(store, plan, settings, find_others(plan, store, settings.with_models))


def keep_rule(settings: CorrelateConfig, *, is_other: bool) -> Callable[[str, int], bool]:
    """Which components and layers of the model, or of the other ones, are compared."""
    layers: Sequence[int] | None = settings.layers
    if is_other and settings.with_layers is not None:
        layers = settings.with_layers

    def keep(component: str, layer: int) -> bool:
        is_component = settings.components is None or component in settings.components
        return is_component and (layers is None or layer in layers)

    return keep


def nothing_left(plan: Plan, settings: CorrelateConfig) -> ConfigError:
    """The error where no layer of a model is left."""
    asked = {
        "components": settings.components,
        "layers": settings.layers,
        "with_layers": settings.with_layers,
    }
    given = ", ".join(f"{name} {', '.join(map(str, some))}" for name, some in asked.items() if some is not None)
    return ConfigError(
        f"correlate.components, correlate.layers: nothing of model {plan.model!r} is left by {given}; "
        f"it has layers {', '.join(map(str, plan.capture.all_layers))} of {', '.join(plan.capture.components)}"
    )
