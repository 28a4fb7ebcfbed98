"""The tables of correlation: clusters of neurons, how redundant layers are, how alike layers and models are."""

from __future__ import annotations

import pyarrow as pa

from schemas.table_schema import NEURON_KEY, Column, TableSchema

_RUN = (
    Column("run_id", pa.string(), "The run."),
    Column("model", pa.string(), "Alias of the model."),
)
_CLUSTERING = (
    Column("linkage", pa.string(), "`average`, `complete` or `single`."),
    Column("signed", pa.bool_(), "Distances are 1 − r instead of 1 − |r|."),
    Column("threshold", pa.float64(), "Largest distance at which clusters were joined."),
)

CLUSTERS = TableSchema(
    "clusters",
    "one neuron in its cluster at one threshold. Key: run_id, linkage, signed, threshold, component, layer, neuron",
    (
        *NEURON_KEY,
        *_CLUSTERING,
        Column("cluster", pa.int32(), "Number of the cluster, from 0 in the order of first neurons."),
        Column("size", pa.int32(), "Members of the cluster."),
        Column("n_layers", pa.int32(), "Layers (of any component) with a member."),
        Column("mean_r", pa.float64(), "Mean |r| (r, where signed) of all its pairs; null for one.", nullable=True),
        Column("member_mean_r", pa.float64(), "Mean |r| of this neuron to the rest; null for one.", nullable=True),
        Column("is_representative", pa.bool_(), "Has the largest `member_mean_r` of the cluster."),
    ),
)

CLUSTER_PAIRS = TableSchema(
    "cluster_pairs",
    "two neurons of the largest clusters at one threshold, whatever their correlation, once: all pairs among the first "
    "members (the representative, then those most like the rest, 50 at most) of the first of the 40 largest clusters "
    "that have 200 neurons together",
    (
        *NEURON_KEY,
        *_CLUSTERING,
        Column("other_component", pa.string(), "Component of the other neuron."),
        Column("other_layer", pa.int32(), "Layer of the other neuron."),
        Column("other_neuron", pa.int32(), "Index of the other neuron."),
        Column("r", pa.float64(), "Pearson's r."),
    ),
)

CORRELATION_EDGES = TableSchema(
    "correlation_edges",
    "two neurons of a model whose activations are correlated at least as much as was asked for, once",
    (
        *NEURON_KEY,
        Column("other_component", pa.string(), "Component of the other neuron."),
        Column("other_layer", pa.int32(), "Layer of the other neuron."),
        Column("other_neuron", pa.int32(), "Index of the other neuron."),
        Column("r", pa.float64(), "Pearson's r."),
    ),
)

REDUNDANCY = TableSchema(
    "redundancy",
    "how many neurons could go at one threshold if one of each cluster stayed",
    (
        *_RUN,
        *_CLUSTERING,
        Column("scope", pa.string(), "`all` neurons clustered together, `layers` each by itself, or one `layer`."),
        Column("component", pa.string(), "Component of the one layer.", nullable=True),
        Column("layer", pa.int32(), "The one layer.", nullable=True),
        Column("n_neurons", pa.int64(), "Neurons."),
        Column("n_clusters", pa.int64(), "Clusters, of one neuron too."),
        Column("share", pa.float64(), "1 − n_clusters / n_neurons: the share that could go.", nullable=True),
    ),
)

CLUSTER_SPANS = TableSchema(
    "cluster_spans",
    "how many clusters of two neurons and more lie within so many adjacent layers (Dalvi et al. 2020)",
    (
        *_RUN,
        *_CLUSTERING,
        Column("component", pa.string(), "Clusters inside this component; null for all.", nullable=True),
        Column("window_size", pa.int32(), "Adjacent layers: highest − lowest layer < window_size."),
        Column("n_clusters", pa.int64(), "Clusters of two members and more."),
        Column("n_within", pa.int64(), "Of these, those within the window."),
    ),
)

SHARED_CLUSTERS = TableSchema(
    "shared_clusters",
    "how many clusters two layers share; each two layers twice, in either order",
    (
        *_RUN,
        *_CLUSTERING,
        Column("component", pa.string(), "Component of one layer."),
        Column("layer", pa.int32(), "That layer."),
        Column("other_component", pa.string(), "Component of the other layer."),
        Column("other_layer", pa.int32(), "The other layer; the same for clusters with any member in it."),
        Column("n_clusters", pa.int64(), "Clusters of two members and more with members in both."),
    ),
)

PCA_SPECTRUM = TableSchema(
    "pca_spectrum",
    "one principal component of a layer",
    (
        *_RUN,
        Column("component", pa.string(), "Component of the layer."),
        Column("layer", pa.int32(), "Layer."),
        Column("k", pa.int32(), "Number of the principal component, from 1."),
        Column("eigenvalue", pa.float64(), "Its variance (population); null without rows.", nullable=True),
        Column("share", pa.float64(), "Of the layer's variance.", nullable=True),
        Column("cumulative", pa.float64(), "Share of the first k.", nullable=True),
    ),
)

LAYER_DIMENSIONS = TableSchema(
    "layer_dimensions",
    "how many dimensions a layer's activations have",
    (
        *_RUN,
        Column("component", pa.string(), "Component of the layer."),
        Column("layer", pa.int32(), "Layer."),
        Column("n_neurons", pa.int32(), "Neurons."),
        Column("n_rows", pa.int64(), "Counted rows."),
        Column("total_variance", pa.float64(), "Σλ, the sum of the neurons' variances.", nullable=True),
        Column("rank", pa.int32(), "Principal components that are more than rounding.", nullable=True),
        Column("participation_ratio", pa.float64(), "(Σλ)² / Σλ² of the eigenvalues λ.", nullable=True),
        Column(
            "effective_rank",
            pa.float64(),
            "exp of the entropy of √λ / Σ√λ, of the singular values (Roy & Vetterli 2007).",
            nullable=True,
        ),
        Column("n_90", pa.int32(), "Fewest principal components with 90 % of the variance.", nullable=True),
        Column("n_95", pa.int32(), "With 95 %.", nullable=True),
        Column("n_99", pa.int32(), "With 99 %.", nullable=True),
    ),
)

LAYER_SIMILARITY = TableSchema(
    "layer_similarity",
    "one measure of how alike a layer of one model and a layer of the same or another model are",
    (
        *_RUN,
        Column("component", pa.string(), "Component of the layer."),
        Column("layer", pa.int32(), "Layer."),
        Column("partner_model", pa.string(), "Alias of the other model."),
        Column("partner_store", pa.string(), "Where that is, if in another store.", nullable=True),
        Column("partner_component", pa.string(), "Component of the other layer."),
        Column("partner_layer", pa.int32(), "The other layer."),
        Column(
            "measure",
            pa.string(),
            "`maxcorr` (median over neurons of the largest |r|), `linreg` (median R²), `svcca`, `pwcca`, `cka`, "
            "`cka_debiased`.",
        ),
        Column("value", pa.float64(), "The measure; null where undefined.", nullable=True),
        Column("null_value", pa.float64(), "The same with the partner's rows shuffled in blocks.", nullable=True),
        Column("n_rows", pa.int64(), "Rows both have."),
        Column("params", pa.string(), "JSON object: directions kept, rank, ridge, seed of the null, …"),
    ),
)

MATCH_NULLS = TableSchema(
    "match_nulls",
    "the null of one neuron's score across models. Its line in `rankings` has the same run_id, model, component, "
    "layer, neuron, method and params",
    (
        *NEURON_KEY,
        Column("method", pa.string(), "`maxcorr mincorr linreg svcca pwcca`."),
        Column("params", pa.string(), "As in `rankings`."),
        Column(
            "null_score",
            pa.float64(),
            "The score with the partners' rows shuffled in blocks; null where undefined.",
            nullable=True,
        ),
    ),
)

COLUMN_CORRELATIONS = TableSchema(
    "column_correlations",
    "one neuron's correlation with a number that every word has",
    (
        *NEURON_KEY,
        Column("word_column", pa.string(), "A numeric column of `words`, or `length`, `position`, `frequency`."),
        Column("r", pa.float64(), "Pearson's r; null for a constant neuron or column.", nullable=True),
        Column("rank", pa.int32(), "By |r|, from 1, for this column."),
        Column("n_rows", pa.int64(), "Rows whose word has the number."),
        Column("null_r", pa.float64(), "The same with rows shuffled in blocks.", nullable=True),
    ),
)

NEURON_MAP = TableSchema(
    "neuron_map",
    "one neuron on the map of neurons by their correlations with all others (Meyes et al. 2020)",
    (
        *NEURON_KEY,
        Column("x", pa.float64(), "First coordinate; null for a constant neuron.", nullable=True),
        Column("y", pa.float64(), "Second coordinate.", nullable=True),
        Column("map_group", pa.int32(), "Its group; null for none.", nullable=True),
        Column("method", pa.string(), "`kmeans` or `hdbscan`."),
        Column("params", pa.string(), "JSON object: seed, neighbours, groups, …"),
    ),
)

CORRELATION_TABLES = (
    CLUSTERS,
    CLUSTER_PAIRS,
    CORRELATION_EDGES,
    REDUNDANCY,
    CLUSTER_SPANS,
    SHARED_CLUSTERS,
    PCA_SPECTRUM,
    LAYER_DIMENSIONS,
    LAYER_SIMILARITY,
    MATCH_NULLS,
    COLUMN_CORRELATIONS,
    NEURON_MAP,
)
