"""Image pipelines, how they are plugged in and run."""

import sys

# OpenVINO's converter and NNCF tell their maker that they are used, without asking, from threads that fork: nothing
# leaves a laboratory unasked, and a fork in the middle of a product of matrices hangs OpenBLAS for good. Where this
# package cannot be imported, both do without.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
