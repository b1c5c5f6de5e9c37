"""Who uses the package with a type checker meets no unknown type."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.timeout(300)
def test_every_public_symbol_has_a_known_type(tmp_path: Path) -> None:
    folder = str(Path(sys.executable).parent)
    environment = os.environ | {
        "PATH": folder + os.pathsep + os.environ["PATH"],  # pyright asks the first `python`
        "PYTHONPATH": str(ROOT),
        "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1",
    }
    command = ["pyright", "--verifytypes", "penguiflow", "--ignoreexternal", "--outputjson"]
    done = subprocess.run(  # in a folder of its own, or the package would count as the project
        [sys.executable, "-m", *command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    found = json.loads(done.stdout)["typeCompleteness"]
    assert found["packageName"] == "penguiflow", done.stderr
    assert found["exportedSymbolCounts"]["withKnownType"] > 1000
    unknown = [
        f"{symbol['name']}: {line['message']}"
        for symbol in found["symbols"]
        if symbol["isExported"] and not symbol["isTypeKnown"] | symbol["isTypeAmbiguous"]
        for line in symbol["diagnostics"] or [{"message": "not known"}]
    ]
    # Where to write a type: what follows from one that is missing is not listed.
    unclear = {
        f"{line['file']}:{line['range']['start']['line'] + 1}: {line['message']}"
        for symbol in found["symbols"]
        if symbol["isTypeAmbiguous"]
        for line in symbol["diagnostics"]
        if "partially unknown" not in line["message"]
    }
    assert (unknown, sorted(unclear)) == ([], [])
    assert found["completenessScore"] == 1
