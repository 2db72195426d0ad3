"""The nuclei network at each library on this processor, in turns; ratios are to OpenVINO in FP32."""

import os

from pipelines.nuclei.model import shipped


def variants() -> dict[str, float | str]:
    """Images a second, ratio and latency of each; INT8 by ONNX Runtime is calibrated on rendered fields."""
    try:
        from pipelines.build import onnx_export, onnx_int8, source
        from pipelines.build import variants as at
    except ImportError as error:
        return {"left out": f"{error}: pip install '.[train]'"}
    import numpy as np

    from pipelines.build.compiling import can_compile
    from pipelines.build.errors import NoCompiler
    from pipelines.build.measure import Plan, measured
    from pipelines.nuclei.normalise import normalise
    from pipelines.samples import render_field

    folder, plan = shipped(), Plan(threads=os.cpu_count() or 1, streams=os.cpu_count() or 1)
    weights = folder.path / source.FILE
    network = onnx_export.Probabilities(source.load(weights)).eval()
    graph = onnx_export.exported(network)
    fields = np.stack([normalise(render_field(seed, shape=(256, 256), bits=8, nuclei=16)[0]) for seed in range(16)])
    names = onnx_export.convolutions(graph)
    rounded = onnx_int8.quantised(graph, fields, onnx_int8.ONNXRUNTIME, (names[0], names[-1]))
    files = {
        precision: {name: folder.read(f"{precision}/{name}") for name in ("model.xml", "model.bin")}
        for precision in ("fp32", "int8")
    }
    chosen = [
        at.openvino("openvino fp32", files["fp32"]),
        at.openvino("openvino bf16", files["fp32"], "bf16"),
        at.openvino("openvino int8", files["int8"]),
        at.onnxruntime_cpu("onnxruntime fp32", graph),
        at.onnxruntime_cpu("onnxruntime int8", rounded),
        at.pytorch("pytorch eager", network),
    ]
    figures: dict[str, float | str] = {}
    try:
        can_compile(weights, plan.side, plan.threads, 300)
        chosen.append(at.pytorch("pytorch compiled", network, compiled=True))
    except NoCompiler as error:
        figures["pytorch compiled"] = str(error)
    for name, speed in measured(chosen, plan, "openvino fp32").items():
        figures[f"{name}: images/s"] = speed.images_per_second
        figures[f"{name}: ratio"] = speed.ratio
        figures[f"{name}: p50 ms"] = speed.latency_p50_ms
        figures[f"{name}: p99 ms"] = speed.latency_p99_ms
    best = max(float(value) for name, value in figures.items() if name.endswith(": ratio"))
    eager = float(figures["pytorch eager: ratio"])
    return figures | {"best to openvino fp32": best, "best to pytorch eager": best / eager}
