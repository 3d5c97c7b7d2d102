"""The command behind scripts/readme-table: the README's tables, made from the code."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from prometheus_client.core import Metric

from kms.figures import ConsumerFigures, ProducerFigures
from kms.metrics import FiguresCollector
from kms.settings_table import settings_table
from kms.store import CacheFile, PageReader
from kms.topics import RECOMMENDATIONS

README = Path(__file__).resolve().parent.parent / "README.md"


def topics_table() -> str:
    """The recommended configuration of a schedule topic, with why."""
    rows = ["| Setting | Value | Why |", "| --- | --- | --- |"]
    rows += [f"| `{each.name}` | `{each.value}` | {each.why} |" for each in RECOMMENDATIONS]
    return "\n".join(rows) + "\n"


def metrics_table() -> str:
    """Every metric that a running service has, as it is scraped."""
    rows = ["| Metric | Type | Labels | Meaning |", "| --- | --- | --- | --- |"]
    for metric in _metrics():
        name = metric.name + ("_total" if metric.type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in _label_names(metric))
        rows.append(f"| `{name}` | {metric.type} | {labels} | {metric.documentation} |")
    return "\n".join(rows) + "\n"


TABLES: Mapping[str, Callable[[], str]] = {
    "settings": settings_table,
    "topics": topics_table,
    "metrics": metrics_table,
}


def with_tables(text: str) -> str:
    """The text with each table in place of what stands between its two markers.

    Raises ValueError where a marker is missing.
    """
    for name, table in TABLES.items():
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
        before, _, rest = text.partition(start)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"there is no {start.strip()} with an {end.strip()} below it")
        text = f"{before}{start}{table()}{end}{after}"
    return text


def _metrics() -> list[Metric]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cache.sqlite"
        with closing(CacheFile(path)), closing(PageReader(path)) as reader:
            collector = FiguresCollector(ConsumerFigures(), ProducerFigures(), reader)
            return list(collector.collect())


def _label_names(metric: Metric) -> list[str]:
    # A family without a sample yet still knows its labels, though not publicly.
    names: list[str] = list(getattr(metric, "_labelnames", ()))
    return names


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
