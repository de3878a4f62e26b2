"""`make demo`: builds a model from the sample capture and compares it with the capture's truth.

`python examples/demo.py [HOUSE] [build options]`: everything goes through the command line that users have.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CAPTURE = ROOT / "examples" / "capture"


def rilievo(*arguments: str | Path) -> str:
    """Runs one verb; its talk goes to the terminal, its result comes back. Ends the demo where the verb fails."""
    command = [sys.executable, "-m", "rilievo.cli", *map(str, arguments)]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        sys.exit(result.returncode)
    return result.stdout


def main() -> None:
    arguments = sys.argv[1:]
    house = Path(arguments.pop(0)) if arguments and not arguments[0].startswith("-") else Path("demo")
    started = time.perf_counter()
    print(rilievo("build", CAPTURE / "photos", "-o", house, *arguments), end="")
    seconds = time.perf_counter() - started
    print(f"\nagainst the truth in {CAPTURE / 'truth'} ({seconds:.0f} s after the start):")
    scores = json.loads(rilievo("evaluate", house, "--truth", CAPTURE / "truth", "--json"))
    cameras, mesh = scores["cameras"], scores["mesh"]
    print(
        f"  cameras: {cameras['num_placed']} of {cameras['num_truth']} placed, centres within "
        f"{1000 * cameras['center_rmse']:.2f} mm ({cameras['center_rmse_gsd']:.2f} pixel footprints) RMSE"
    )
    for t, f1, accuracy, completeness in zip(
        mesh["thresholds_gsd"], mesh["f1"], mesh["accuracy"], mesh["completeness"]
    ):
        print(
            f"  mesh within {t:g} pixel footprints ({1000 * t * mesh['gsd']:.2f} mm): "
            f"F1 {f1:.3f} (accuracy {accuracy:.3f}, completeness {completeness:.3f})"
        )
    print(f"\nmodel   {house / 'export' / 'model.glb'}   (any glTF viewer opens it)")
    print(f"report  {house / 'export' / 'report.html'}")


if __name__ == "__main__":
    main()
