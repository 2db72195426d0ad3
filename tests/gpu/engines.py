"""Runs TensorRT engines: its runtime for the network, PyTorch for the memory of the GPU."""

from typing import Any

import numpy as np


def missing() -> str:
    """Why no engine can be run on this machine; empty where one can."""
    try:
        import tensorrt  # noqa: F401
        import torch
    except (ImportError, OSError, RuntimeError) as error:
        return f"{error}; pip install tensorrt, and torch for CUDA"
    return "" if torch.cuda.is_available() else "PyTorch finds no NVIDIA GPU with CUDA on this machine"


class Engine:
    """An engine with one input ``image`` and one output ``maps``, both float32. Not to be shared between threads."""

    def __init__(self, plan: bytes) -> None:
        import tensorrt as trt
        import torch

        self._torch = torch
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        assert self._engine is not None, "the engine cannot be read here: build it on this very GPU"
        self._context = self._engine.create_execution_context()
        self._stream = torch.cuda.Stream()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return self.on_gpu(self._torch.from_numpy(batch).cuda()).cpu().numpy()

    def on_gpu(self, image: Any) -> Any:
        """From a tensor on the GPU to one on the GPU, done when it returns."""
        assert self._context.set_input_shape("image", tuple(image.shape))
        maps = self._torch.empty(tuple(self._context.get_tensor_shape("maps")), device="cuda")
        self._torch.cuda.synchronize()
        self._context.set_tensor_address("image", image.data_ptr())
        self._context.set_tensor_address("maps", maps.data_ptr())
        assert self._context.execute_async_v3(self._stream.cuda_stream)
        self._stream.synchronize()
        return maps
