"""Reading activations shard by shard, whatever files they are in."""

from __future__ import annotations

from collections import OrderedDict

from pipeline.run.dump_files import Series
from pipeline.run.plan_record import Plan, ShardPlan
from pipeline.store.receipts import FileEntry
from pipeline.store.store import Store
from pipeline.store.value_columns import Values


class SeriesReader:
    """Reads neurons of one shard of a series at a time.

    A compacted file is read once and handed out shard by shard, so whoever works on shards sees the same batches as
    before it was compacted. The last ``n_held`` long files, as far as they were asked for, stay in memory.
    """

    def __init__(self, store: Store, plan: Plan, n_held: int = 1) -> None:
        self._store = store
        self._plan = plan
        self._n_held = n_held
        self._reader = store.activation_reader()
        self._entries: dict[Series, dict[int, FileEntry]] = {}
        self._held: OrderedDict[tuple[str, range], Values] = OrderedDict()

    def read(self, series: Series, shard: ShardPlan, neurons: range | None = None) -> Values:
        """(n, T) values of the shard's rows as :meth:`~pipeline.store.parquet.ActivationReader.read_block` gives them.

        ``neurons``: some of the series' own; all by default.
        """
        entry = self._entry(series, shard)
        if entry.last_shard is None:
            return self._reader.read_block(entry, neurons)
        first = shard.first_row - self._plan.shards[entry.shards[0]].first_row
        return self._long(entry, neurons or entry.neurons)[:, first : first + shard.n_rows]

    def _long(self, entry: FileEntry, neurons: range) -> Values:
        key = entry.path, neurons
        if key not in self._held:
            if len(self._held) == self._n_held:  # before the next one is read
                self._held.popitem(last=False)
            self._held[key] = self._reader.read_block(entry, neurons)
        self._held.move_to_end(key)
        return self._held[key]

    def _entry(self, series: Series, shard: ShardPlan) -> FileEntry:
        """The file that has the shard's rows."""
        if series not in self._entries:
            files = self._store.files("activations", self._plan.run_id, **series._asdict())
            self._entries[series] = {number: file for file in files for number in file.shards}
        return self._entries[series][shard.shard]
