"""`python -m bench.report` on records whose YAML holds values of another type."""

from pathlib import Path

import yaml

from bench import report
from tests import fake_records


def test_a_report_of_records_with_values_of_another_type(tmp_path: Path) -> None:
    root = tmp_path / "suite"
    for name, more in (
        ("lstm", {"card": 7}),
        ("gru", {"family": [1, 2]}),
        ("decoder", {"tune": {"trials": "many"}}),
    ):
        fake_records.write_run(root, name, 0)
        config = next(root.glob(f"runs/{name}-*/config.yaml"))
        tree = yaml.safe_load(config.read_text())
        tree["arch"] |= more
        tree["train"]["learning_rate"] = None
        config.write_text(yaml.safe_dump(tree))
    assert report.main([str(root)]) == 0
    page = (root / "report" / "index.html").read_text(encoding="utf-8")
    assert all(folder.name in page for folder in root.glob("runs/*"))
