"""Compositional explanations: time per neuron of the bit-packed beam search and of one with dense masks in numpy.

    python -m benchmarks.explain [--rows 25000] [--concepts 500] [--neurons 256] [--sample 6]

Concepts hold for 0.05 % to 15 % of the rows (log-spaced). A third of the neurons is noise, the others have noise and a
planted formula of one to three concepts. Both search the same beam (10 formulas of each length up to 5) on one thread.
Times are CPU time from the activations to the best formula, the threshold included; ours also has its share of what is
done once for all neurons, packing the concepts and counting their overlaps. The peer makes every candidate's mask and
counts it, on the first `--sample` neurons; its beams are compared with ours, formula by formula.

The limits are of this run: how fast one core ANDs and counts words, of the masks and from memory. To count all
candidates at that rate is the best that a search without bounds could come to; to count the words that this one counts
is the best that it could come to itself.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.search import formula_kernel as k
from pipeline.search.bit_masks import ConceptMasks, Words, n_words, pack
from pipeline.search.explanation import Explainer, FormulaSettings
from pipeline.search.formula_beam import Beam, Work, search_beam
from pipeline.stats.label_matrix import LabelMatrix

Mask = NDArray[np.bool_]
Steps = tuple[tuple[str, int], ...]


def planted(n_neurons: int, concepts: Mask, seed: int = 0) -> NDArray[np.float64]:
    """Activations (N, T)."""
    random = np.random.default_rng(seed)
    values = random.standard_normal((n_neurons, concepts.shape[1]))
    for neuron in range(n_neurons):
        a, b, c = concepts[random.integers(len(concepts), size=3)]
        formula = (np.zeros_like(a), a, a | b, (a | b) & ~c, a & ~c, (a & b) | c)[neuron % 6]
        values[neuron] += 4 * formula * (neuron % 3 > 0)
    return values


def numpy_beam(target: Mask, concepts: Mask, beam: int, length: int) -> list[list[tuple[float, Steps]]]:
    """IoU and formula of the best candidates of each length; the definition is that of `formula_beam`."""
    levels: list[list[tuple[float, Steps]]] = []
    kept: list[Mask] = []
    masks: list[Mask] = []
    for level in range(length):
        scored = []
        for steps, mask in _candidates(levels[-1], masks, concepts) if level else _single(concepts):
            n_both = np.count_nonzero(mask & target)
            if n_both:
                scored.append((n_both / np.count_nonzero(mask | target), steps))
        scored.sort(key=lambda candidate: -candidate[0])
        best: list[tuple[float, Steps]] = []
        masks = []
        for iou, steps in scored:
            mask = _mask(steps, concepts)
            if len(best) < beam and not any(np.array_equal(mask, other) for other in kept + masks):
                best.append((iou, steps))
                masks.append(mask)
            if len(best) == beam:
                break
        levels.append(best)
        kept += masks
    return levels


def _single(concepts: Mask) -> Iterator[tuple[Steps, Mask]]:
    for c, mask in enumerate(concepts):
        yield (("OR", c),), mask


def _candidates(parents: list[tuple[float, Steps]], masks: list[Mask], concepts: Mask) -> Iterator[tuple[Steps, Mask]]:
    sizes = np.count_nonzero(concepts, axis=1)
    for (_, steps), parent in zip(parents, masks, strict=True):
        used = {c for _, c in steps}
        n_parent = np.count_nonzero(parent)
        for c, concept in enumerate(concepts):
            if c in used:
                continue
            both = parent & concept
            n_both = np.count_nonzero(both)
            if n_both not in (n_parent, sizes[c]):
                yield (*steps, ("AND", c)), both
                yield (*steps, ("OR", c)), parent | concept
            elif n_both == 0 < sizes[c]:
                yield (*steps, ("OR", c)), parent | concept
            if 0 < n_both < n_parent:
                yield (*steps, ("AND NOT", c)), parent & ~concept


def _mask(steps: Steps, concepts: Mask) -> Mask:
    mask = concepts[steps[0][1]]
    for operator, c in steps[1:]:
        mask = mask | concepts[c] if operator == "OR" else mask & (concepts[c] if operator == "AND" else ~concepts[c])
    return mask


def compare(beam: Beam, expected: list[list[tuple[float, Steps]]], neuron: int) -> None:
    """Stop unless both kept the same formulas."""
    for level, kept in enumerate(expected):
        found = [beam.found(level, rank) for rank in range(int(beam.n_kept[level]))]
        ours = [(one.iou, tuple((step.operator, step.concept) for step in one.formula.steps)) for one in found]
        if ours != kept:
            raise SystemExit(f"neuron {neuron}, length {level + 1}: numpy keeps {kept}, the kernel {ours}")


def count_rate(words: Words) -> float:
    """Words a second that one core ANDs with a mask and counts, the fastest of some rounds."""
    into, fastest = np.empty(len(words), np.int64), np.inf
    for _ in range(7):
        start = time.process_time()
        k.count_with_each(words[0], words, into)
        fastest = min(fastest, time.process_time() - start)
    return float(words.size / fastest)


def limits(masks: ConceptMasks, work: Work, n_active: int, n_neurons: int, seconds: float) -> None:
    """Print what the machine could do, and what share of it we come to."""
    cached = count_rate(masks.words)
    memory = count_rate(np.random.default_rng(0).integers(0, 2**64, (256, 1 << 16), np.uint64))
    width, short = masks.words.shape[1], n_words(n_active)
    print(f"AND and count, masks      {cached / 1e9:10.2f} G words/s   ({masks.words.nbytes / 2**20:.1f} MiB)")
    print(f"AND and count, memory     {memory / 1e9:10.2f} G words/s   ({memory * 8 / 1e9:.1f} GB/s)")
    every = work.n_pairs / n_neurons * (width + short) / cached
    needed = (work.n_in_full / n_neurons * width + work.n_pairs / n_neurons * 2 * short) / cached
    print(f"limit, all candidates     {every * 1e3:10.3f} ms/neuron   we take {seconds / every:.2f} of it")
    print(f"limit, words counted      {needed * 1e3:10.3f} ms/neuron   our share {needed / seconds:.2f}")
    print(f"pairs counted in full     {work.n_in_full / work.n_pairs:10.2%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rows", 25_000), ("concepts", 500), ("neurons", 256), ("sample", 6), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    settings, random = FormulaSettings(), np.random.default_rng(1)
    rates = np.geomspace(0.0005, 0.15, options.concepts)
    concepts = random.random((options.concepts, options.rows)) < rates[:, None]
    values, labels = planted(options.neurons, concepts), LabelMatrix.from_dense(concepts.T)
    names = tuple(f"c{concept}" for concept in range(options.concepts))
    Explainer(ConceptMasks.of(labels), names, settings).explain(0, values[0])  # compiles

    fastest = np.inf
    for _ in range(options.rounds):
        start = time.process_time()
        explainer = Explainer(ConceptMasks.of(labels), names, settings)
        for neuron in range(options.neurons):
            explainer.explain(neuron, values[neuron])
        fastest = min(fastest, time.process_time() - start)
    ours, work, n_active = fastest / options.neurons, Work(), 0
    for neuron in range(options.neurons):
        active = pack(values[neuron] > np.quantile(values[neuron], 1 - settings.alpha))
        n_active = search_beam(explainer.overlaps, active, beam=10, length=5, work=work).n_active
    peer = 0.0
    for neuron in range(options.sample):
        start = time.process_time()
        target = values[neuron] > np.quantile(values[neuron], 1 - settings.alpha)
        expected = numpy_beam(target, concepts, settings.beam, settings.length)
        peer += (time.process_time() - start) / options.sample
        compare(search_beam(explainer.overlaps, pack(target), beam=10, length=5), expected, neuron)

    print(f"rows {options.rows:,}  concepts {options.concepts}  neurons {options.neurons}  active rows {n_active}")
    print(f"packed                    {ours * 1e3:10.3f} ms/neuron")
    print(f"numpy, dense masks        {peer * 1e3:10.1f} ms/neuron   ({options.sample} neurons, the same formulas)")
    print(f"ratio                     {peer / ours:10,.0f}")
    limits(explainer.masks, work, n_active, options.neurons, ours)


if __name__ == "__main__":
    main()
