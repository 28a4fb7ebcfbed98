"""The command line as a user meets it: in this process for speed, or as a process of its own."""

from __future__ import annotations

import hashlib
import io
import os
import random
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from jobs.main import main

REPOSITORY = Path(__file__).resolve().parents[2]
TAGS = {
    "the": "DET",
    "a": "DET",
    "cat": "NOUN",
    "dog": "NOUN",
    "lid": "NOUN",
    "big": "ADJ",
    "cold": "ADJ",
    "dig": "VERB",
    "bite": "VERB",
    ".": "PUNCT",
}


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The message after `error: `, once it is certain that there is exactly one and no traceback."""
        assert "Traceback" not in self.err + self.out, self.err
        assert self.err.count("error: ") == 1, self.err
        return self.err.partition("error: ")[2].strip()


def neuronmill(*arguments: object) -> Result:
    """`neuronmill ARGUMENTS` in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return Result(int(code or 0), *texts)


def done(*arguments: object) -> Result:
    """The same, and it must succeed."""
    result = neuronmill(*arguments)
    assert result.code == 0, result.err
    return result


def process(*arguments: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """`neuronmill ARGUMENTS` as a process, with bytes for output."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), **options.pop("env", {})}
    command = [sys.executable, "-m", "jobs", *(a if isinstance(a, bytes) else str(a) for a in arguments)]
    return subprocess.run(command, env=environment, capture_output=True, timeout=120, check=False, **options)


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def unchanged(before: dict[str, str], folder: Path) -> bool:
    """Every file that was there is there, as it was."""
    after = hashes(folder)
    return all(after.get(path) == digest for path, digest in before.items())


def sentences(n: int, seed: int = 0) -> list[list[str]]:
    """``n`` sentences of the words of :data:`TAGS`, each ended by a full stop."""
    rng = random.Random(seed)
    words = [word for word in TAGS if word != "."]
    return [[*(rng.choice(words) for _ in range(rng.randint(2, 7))), "."] for _ in range(n)]


def conllu(n: int, seed: int = 0, per_document: int = 3) -> str:
    """``n`` sentences as CoNLL-U with UPOS, a feature that has one value, and an entity layer."""
    lines: list[str] = []
    for number, words in enumerate(sentences(n, seed)):
        if number % per_document == 0:
            lines.append(f"# newdoc id = d{number}")
        lines.append(f"# sent_id = s{number}")
        for index, word in enumerate(words, 1):
            upos = TAGS[word]
            feature = "Poss=Yes" if word == "the" else "_"
            entity = "Entity=B-PET" if word in ("cat", "dog") else "_"
            lines.append("\t".join((str(index), word, word, upos, "_", feature, "0", "dep", "_", entity)))
        lines.append("")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Workplace:
    """A folder with a corpus and a model, and configs over them."""

    folder: Path
    corpus: Path
    model: Path

    def config(self, path: Path, store: object, **sections: Any) -> Path:
        """Write a config; ``sections`` are merged into the usual ones, None drops one."""
        data: dict[str, Any] = {
            "store": str(store),
            "corpus": {"sources": [str(self.corpus)], "split": {"by": "sentence", "test": 0.4}},
            "model": {"name": str(self.model), "alias": "tiny", "device": "cpu"},
            "dump": {"rows_per_shard": 400, "token_budget": 256},
            "concepts": {"include": [{"layer": "upos"}, {"name": "long", "sql": "length(word) > 3"}]},
            "contexts": {"k": 3, "window": 2},
            "executor": {"threads": 1},
        }
        for name, values in sections.items():
            if isinstance(values, dict) and isinstance(data.get(name), dict):
                data[name] = {**data[name], **values}
            else:
                data[name] = values
        path.write_text(yaml.safe_dump({key: value for key, value in data.items() if value is not None}))
        return path
