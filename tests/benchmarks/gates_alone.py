"""What gates, and the encoder of ``cells``, take of a processor without a stream around them."""

import time
from typing import Any

import numpy as np

from contracts.gates import Gate
from pipelines.embedding.model import WIDTH
from pipelines.embedding.streamed import StreamedCells
from pipelines.stream.judge import Judge, Known
from tests.benchmarks.stream import cells

CORNERS = 40
BATCHES = (1, 2, 4, 8, 16, 32)


def ring(radius: float) -> list[list[float]]:
    """A line as somebody draws one, with many corners."""
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    return (radius * (1 + 0.2 * np.sin(5 * angles))[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)).tolist()


ONE: dict[str, dict[str, Any]] = {"drawn": {"Model": "1", "Polygon": ring(8.0)}}
FIVE = ONE | {
    "drawn, of some classes": {"Polygon": ring(12.0), "Classes": ["normal", "target"], "Action": "reject"},
    "off the map": {"Bounds": [{"Feature": "novelty", "Least": 0.5}], "Action": "reject"},
    "sure": {"Bounds": [{"Feature": "probability", "Least": 0.6}]},
    "burr": {"Classes": ["burr"], "Action": "reject"},
}
ARMS: dict[str, dict[str, dict[str, Any]]] = {"none": {}, "one": ONE, "five": FIVE}


def alone(seconds: float) -> list[dict[str, Any]]:
    """What the gates of each arm take of a batch, without a stream: ms of the processor, and of the clock, the median
    and the tenth that others on the machine have disturbed least."""
    model, chance, found = StreamedCells(), np.random.default_rng(1), []
    model.warm()
    for size in BATCHES:
        vectors = chance.standard_normal((size, WIDTH)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        shares = chance.dirichlet(np.ones(len(model.classes)), size).astype(np.float32)
        findings = model.read({"probabilities": shares, "vectors": vectors})
        known = Known(model.map_of, model.classes, places=True, features=model.measures)
        for arm, rules in ARMS.items():
            gates = [Gate.model_validate({"Id": name, "Name": name, "Rule": rule}) for name, rule in rules.items()]
            judge, clock, took = Judge(known, 1, gates), [], []
            until = time.perf_counter() + seconds
            while time.perf_counter() < until:
                begun, busy = time.perf_counter(), time.process_time()
                judge(findings, model.map_of, time.time_ns)
                took.append((time.process_time() - busy) * 1e3)
                clock.append((time.perf_counter() - begun) * 1e3)
            figures = {"cpu": np.median(took), "cpu a frame": np.median(took) / size, "clock": np.median(clock)}
            figures["undisturbed"] = np.percentile(clock, 10)
            found.append({"batch": size, "gates": arm, **{name: float(value) for name, value in figures.items()}})
    return found


def encoder(seconds: float) -> list[dict[str, float]]:
    """What the encoder of ``cells`` takes of a thread, by the size of batches: ms a frame of each step."""
    from pipelines.backends.openvino import OpenVino, Settings
    from pipelines.backends.tensors import ModelRef

    model, frames = StreamedCells(), np.stack([np.frombuffer(one, np.uint8).reshape(64, 64, 1) for one in cells(1)])
    model.warm()
    place, ref = OpenVino(model.source, Settings(precision="f32", threads=1)), ModelRef("cells")
    found = []
    for size in BATCHES:
        took = dict.fromkeys(("prepare", "encoder", "places", "novelty"), 0.0)
        done, until = -1, 0.0
        while done < 3 or time.perf_counter() < until:
            steps = [time.perf_counter()]
            tensor = model.prepare(frames[:size])
            steps.append(time.perf_counter())
            findings = model.read(place.infer_now(ref, {"crops": tensor}).outputs)
            steps.append(time.perf_counter())
            assert findings.places is not None
            findings.places()
            steps.append(time.perf_counter())
            findings.features["novelty"]()
            steps.append(time.perf_counter())
            done += 1
            if not done:  # the first compiles
                until = time.perf_counter() + seconds
                continue
            for name, step in zip(took, np.diff(steps), strict=True):
                took[name] += step * 1e3
        each = {name: total / done / size for name, total in took.items()}
        found.append({"batch": size, **each, "frames/s": 1e3 / (each["prepare"] + each["encoder"] + each["places"])})
    return found
