"""Pin every package of the image to the version that pip would install today under the project's constraints."""

import json
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent.parent
PIP = (
    *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"),
    *("--constraint", "constraints.txt", ".[deployment]"),
)

if __name__ == "__main__":
    report = subprocess.run(PIP, cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout
    packages = {
        entry["metadata"]["name"].lower(): entry["metadata"]["version"] for entry in json.loads(report)["install"]
    }
    del packages["taxi-assets"]
    lines = [f"{name}=={version}" for name, version in sorted(packages.items())]
    header = "# All packages of the image with their pinned versions. To update them, run make lock."
    (CHECKOUT / "deploy" / "docker" / "requirements.txt").write_text("\n".join([header, *lines]) + "\n")
