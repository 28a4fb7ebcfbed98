"""NeuroX's two formats, per sentence: JSON lines of words with their layers, and HDF5 of (layers, words, neurons).

JSON: ``{"linex_index": 0, "features": [{"token": "The", "layers": [{"index": 0, "values": […]}, …]}, …]}`` a line.
HDF5: a dataset ``"0"``, ``"1"``, … per sentence, and ``sentence_to_index``: one string, the JSON object from each
sentence's words joined by spaces (a sentence that comes again has `` (Occurrence 2)`` behind it) to its dataset.
NeuroX numbers layers from 0 in the order they were written.
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from pipeline.exchange.row_batch import RowBatch
from pipeline.exchange.source import ActivationSource, Array
from schemas.errors import ExchangeError

_OCCURRENCE = re.compile(r" \(Occurrence \d+\)$")


class _BySentence(ActivationSource):
    """Rows in sentences that are read one at a time."""

    @abstractmethod
    def _sentences(self) -> Iterator[tuple[int, list[str], Array]]:
        """Line or number of each sentence, its words, and its values (layers, words, N)."""

    def _measure(self, file: Path) -> None:
        """Read the file once: rows, neurons and layers, all the same in every sentence."""
        self.name, self._file = str(file), file
        self.n_rows = 0
        shape: tuple[int, int] | None = None
        for line, words, values in self._sentences():
            found = (values.shape[0], values.shape[2])
            if shape is not None and found != shape:
                raise ExchangeError(
                    f"{file}:{line}: every sentence must have the same layers and neurons; this one has {found[0]} × "
                    f"{found[1]}, those before it {shape[0]} × {shape[1]}"
                )
            shape = found
            self.n_rows += len(words)
        if shape is None or 0 in shape or not self.n_rows:
            raise ExchangeError(f"{file}: there must be a word with activations; there is none")
        self.n_neurons = shape[1]
        self._current: Iterator[tuple[int, list[str], Array]] = iter(())
        self._block, self._start = np.empty((shape[0], 0, shape[1]), np.float32), self.n_rows

    def read(self, start: int, stop: int) -> list[Array]:
        """See :meth:`ActivationSource.read`."""
        if start < self._start:
            self._current, self._start = self._sentences(), 0
            self._block = self._block[:, :0]
        blocks, n_before = [self._block], self._start
        end = n_before + self._block.shape[1]
        while end < stop:
            _, _, values = next(self._current)
            if end + values.shape[1] <= start:
                blocks, n_before = [], end + values.shape[1]
            else:
                blocks.append(values)
            end += values.shape[1]
        whole = np.concatenate(blocks, axis=1)
        self._block, self._start = whole[:, stop - n_before :], stop
        return list(whole[:, start - n_before : stop - n_before])

    def rows(self) -> Iterator[RowBatch]:
        """One batch a sentence, named by its number from 0."""
        for number, (line, words, _) in enumerate(self._sentences()):
            columns = {
                "sentence": [str(number)] * len(words),
                "position": [str(position) for position in range(len(words))],
                "word": words,
            }
            yield RowBatch(self.name, [line] * len(words), columns)

    def files(self) -> list[Path]:
        """See :meth:`ActivationSource.files`."""
        return [self._file]


class NeuroxJson(_BySentence):
    """A NeuroX JSON file; ``layers`` are its indices."""

    dtype = "float64"

    def __init__(self, file: Path) -> None:
        self._measure(file)

    def _sentences(self) -> Iterator[tuple[int, list[str], Array]]:
        try:
            with self._file.open("rb") as handle:
                for line, content in enumerate(handle, start=1):
                    if content.strip():
                        yield (line, *self._sentence(line, json.loads(content)["features"]))
        except OSError as error:
            raise ExchangeError(f"{self.name}: cannot be read: {error.strerror}; check the path") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ExchangeError(
                f"{self.name}:{line}: a line must be NeuroX JSON (linex_index, features: token, layers: index, "
                f"values); {error!r}; restore the file"
            ) from error

    def _sentence(self, line: int, features: list[dict[str, Any]]) -> tuple[list[str], Array]:
        words = [feature["token"] for feature in features]
        indices = tuple(int(layer["index"]) for layer in features[0]["layers"]) if features else self.layers
        self.layers = self.layers or indices
        for word, feature in enumerate(features):
            if tuple(int(layer["index"]) for layer in feature["layers"]) != self.layers:
                raise ExchangeError(f"{self.name}:{line}: word {word} must have the layers {self.layers} in this order")
            if not isinstance(feature["token"], str):
                raise TypeError(f"token {feature['token']!r} is no text")
        values = np.array([[layer["values"] for layer in feature["layers"]] for feature in features], np.float64)
        if not features:
            values = np.empty((0, len(self.layers), self.n_neurons if hasattr(self, "n_neurons") else 0))
        return words, values.swapaxes(0, 1)


class NeuroxHdf5(_BySentence):
    """A NeuroX HDF5 file; ``layers`` are its own if this program wrote it, else 0, 1, …."""

    def __init__(self, file: Path) -> None:
        self._h5py = _import_h5py()
        self.dtype = "float32"
        self._measure(file)
        with self._h5py.File(file, "r") as opened:
            first = opened[self._index(opened)[0][1]]
            self.dtype = np.dtype(first.dtype).newbyteorder("=").name
            named = opened.attrs.get("layers")
            self.layers = tuple(range(first.shape[0])) if named is None else tuple(int(layer) for layer in named)

    def _index(self, opened: Any) -> list[tuple[str, str]]:
        """Sentence and dataset, in the order of the datasets' numbers."""
        content = opened["sentence_to_index"][0]
        pairs = json.loads(content.decode() if isinstance(content, bytes) else content)
        return sorted(((text, str(name)) for text, name in pairs.items()), key=lambda pair: int(pair[1]))

    def _sentences(self) -> Iterator[tuple[int, list[str], Array]]:
        try:
            with self._h5py.File(self._file, "r") as opened:
                for text, name in self._index(opened):
                    values = opened[name][()]
                    if values.ndim != 3:
                        raise ExchangeError(f"{self.name}:{name}: must be (layers, words, neurons); is {values.shape}")
                    yield int(name), self._words(name, text, values.shape[1]), values
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise ExchangeError(
                f"{self.name}: cannot be read as NeuroX HDF5 (datasets 0, 1, … and sentence_to_index): {error}; "
                "restore the file"
            ) from error

    def _words(self, name: str, text: str, n_words: int) -> list[str]:
        """The sentence's words; one that comes again has a count behind it."""
        words = text.split(" ") if text else []
        if len(words) == n_words + 2:
            words = _OCCURRENCE.sub("", text).split(" ")
        if len(words) != n_words:
            raise ExchangeError(
                f"{self.name}:{name}: the sentence {text[:100]!r} has {len(words)} words between single spaces, and "
                f"its activations {n_words}; import the JSON format instead"
            )
        return words


def _import_h5py() -> Any:
    try:
        import h5py  # noqa: PLC0415 - an optional dependency
    except ImportError as error:
        raise ExchangeError("NeuroX HDF5 needs h5py: install `neuronmill[hdf5]`, or use the JSON format") from error
    return h5py


class NeuroxJsonWriter:
    """Writes NeuroX JSON; every value with as many digits as give it back exactly."""

    def __init__(self, handle: IO[bytes], layers: Sequence[int]) -> None:
        self._handle, self._layers, self._n = handle, list(layers), 0

    def write(self, words: Sequence[str], values: Array) -> None:
        """Append a sentence: its words, and values (layers, words, N)."""
        features = [
            {
                "token": word,
                "layers": [
                    {"index": layer, "values": values[i, at].astype(np.float64).tolist()}
                    for i, layer in enumerate(self._layers)
                ],
            }
            for at, word in enumerate(words)
        ]
        line = json.dumps({"linex_index": self._n, "features": features}, allow_nan=False)
        self._handle.write(line.encode() + b"\n")
        self._n += 1

    def close(self) -> None:
        """Nothing is left to write."""


class NeuroxHdf5Writer:
    """Writes NeuroX HDF5 in float32, with the numbers of the layers as an attribute that NeuroX does not look at."""

    def __init__(self, file: Path, layers: Sequence[int]) -> None:
        self._h5py = _import_h5py()
        self._opened = self._h5py.File(file, "w")
        self._opened.attrs["layers"] = list(layers)
        self._index: dict[str, str] = {}

    def write(self, words: Sequence[str], values: Array) -> None:
        """Append a sentence: its words, and values (layers, words, N)."""
        wrong = next((word for word in words if not word or " " in word), None)
        if wrong is not None:
            raise ExchangeError(
                f"--format neurox-hdf5: the format joins words by spaces, so a word has none and is not empty; "
                f"got {wrong[:100]!r}; write neurox-json instead"
            )
        name, text, count = str(len(self._index)), " ".join(words), 1
        sentence = text
        while sentence in self._index:
            count += 1
            sentence = f"{text} (Occurrence {count})"
        self._index[sentence] = name
        self._opened.create_dataset(name, data=np.ascontiguousarray(values, np.float32), track_times=False)

    def close(self) -> None:
        """Write the index and close the file."""
        index = self._opened.create_dataset("sentence_to_index", (1,), dtype=self._h5py.string_dtype())
        index[0] = json.dumps(self._index)
        self._opened.close()
