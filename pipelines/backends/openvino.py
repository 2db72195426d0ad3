"""OpenVINO in this process: compiled once for each shape, asked by a queue of requests, or at once."""

import asyncio
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov  # type: ignore[import-untyped]
from numpy.typing import NDArray

from pipelines.backends.address import Address
from pipelines.backends.errors import BadAddress, BadModel, Refused, TooSlow
from pipelines.backends.tensors import Answer, Arrays, ModelRef, Signature, Tensor, check_inputs

THREADS = "CYTOBUS_INFERENCE_THREADS"
"""Environment: threads of one inference; 1 unless set, because workers are processes, one for each core."""
CACHE = "CYTOBUS_INFERENCE_CACHE"
"""Environment: a folder in which compiled models are kept between processes; none unless set."""
SHAPES_KEPT = 8
"""Compiled shapes of a model held in memory; the one not used for longest makes room."""
MOST_REQUESTS = 16
SMALL = 2**20
"""Bytes of inputs up to which they are copied."""

Source = Callable[[ModelRef], tuple[str, bytes, bytes]]
"""Finds a model: its version, its network (OpenVINO's XML, or ONNX) and its weights. Raises ``BadModel``."""


@dataclass(frozen=True)
class Settings:
    """How models run. Empty: as serving on this processor is best, or as the environment says."""

    device: str = "CPU"
    """CPU, GPU, NPU, AUTO, ``HETERO:GPU,CPU`` …"""
    hint: str = "latency"
    """latency: one request has all threads; throughput: several requests share them."""
    precision: str = "auto"
    """f32, bf16, or auto: bf16 where the processor computes in it, which is faster and needs no calibration."""
    threads: int = 0
    cache: str = ""
    timeout: float = 60.0
    """Seconds for one inference."""

    @classmethod
    def of(cls, address: Address, precision: str = "auto") -> "Settings":
        """As a setting says; ``precision`` holds unless it names one. Raises ``BadAddress``."""
        return cls(
            device=address.text("device", "CPU").upper(),
            hint=address.text("hint", "latency", ("latency", "throughput")),
            precision=address.text("precision", precision, ("auto", "f32", "bf16")),
            threads=int(address.number("threads", 0)),
            cache=address.text("cache", ""),
            timeout=address.number("timeout", 60.0, least=0.001),
        )


class OpenVino:
    """Models of a source, each compiled for every shape that it is asked with."""

    def __init__(self, source: Source, settings: Settings | None = None) -> None:
        """Raises ``BadAddress`` if this machine has no such device."""
        self._source, self._settings = source, settings or Settings()
        self._core = ov.Core()
        self._device = checked_device(self._settings.device, self._core.available_devices)
        self.place = f"openvino in this process ({self._device})"
        self.properties = self._properties()
        self._models: dict[ModelRef, _Model] = {}
        self._reading = threading.Lock()

    def check(self) -> None:
        """It is always there."""

    async def load(self, ref: ModelRef) -> Signature:
        """Read and check the model; it is compiled when its shapes are known."""
        return (await asyncio.to_thread(self._model, ref)).signature

    def load_now(self, ref: ModelRef) -> Signature:
        """As ``load``, for synchronous callers."""
        return self._model(ref).signature

    async def infer(self, ref: ModelRef, inputs: Arrays) -> Answer:
        """By the queue of requests; as many run at once as the hint makes of the device."""
        model = await asyncio.to_thread(self._model, ref)
        check_inputs(ref, model.signature, inputs)
        compiled = await asyncio.to_thread(model.compiled, inputs)
        try:
            async with asyncio.timeout(self._settings.timeout):
                outputs = await compiled.queue.run(inputs)
        except TimeoutError as error:
            compiled.renew()
            raise TooSlow(f"{ref} at {self.place}: not done within {self._settings.timeout:g} s (?timeout=)") from error
        except RuntimeError as error:
            raise Refused(f"{ref} at {self.place} failed: {_first_line(error)}") from error
        return Answer(outputs, model.signature.versions[-1])

    def infer_now(self, ref: ModelRef, inputs: Arrays) -> Answer:
        """In the caller's own thread; from one thread at a time."""
        model = self._model(ref)
        check_inputs(ref, model.signature, inputs)
        compiled = model.compiled(inputs)
        try:
            outputs = compiled.run(inputs)
        except RuntimeError as error:
            raise Refused(f"{ref} at {self.place} failed: {_first_line(error)}") from error
        return Answer(outputs, model.signature.versions[-1])

    async def healthy(self) -> bool:
        """It is always there."""
        return True

    async def close(self) -> None:
        """Forget all models."""
        self._models.clear()

    def _model(self, ref: ModelRef) -> "_Model":
        with self._reading:
            if ref not in self._models:
                self._models[ref] = self._read(ref)
            return self._models[ref]

    def _read(self, ref: ModelRef) -> "_Model":
        version, network, weights = self._source(ref)
        try:
            graph = self._core.read_model(network, weights)
            signature = Signature(_tensors(graph.inputs), _tensors(graph.outputs), (version,))
        except RuntimeError as error:
            named = ModelRef(ref.name, version)
            raise BadModel(f"{named} cannot be read by OpenVINO ({_first_line(error)}); export it again") from error
        return _Model(self._core, self._device, self.properties, (network, weights), signature)

    def _properties(self) -> dict[str, str]:
        mine = self._settings
        able = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        # Said, never left to the default, which differs between processors.
        precision = mine.precision if mine.precision != "auto" else "bf16" if able else "f32"
        properties = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": mine.hint.upper()}
        if self._device == "CPU":
            properties["INFERENCE_NUM_THREADS"] = str(mine.threads or os.environ.get(THREADS, "1"))
            # By default threads are bound to cores, those of each process to the same: two workers then share the first
            # core while the second idles, and one that is asked now and then waits for a core that others use.
            properties["ENABLE_CPU_PINNING"] = "NO"
        if cache := mine.cache or os.environ.get(CACHE, ""):
            properties["CACHE_DIR"] = cache
        return properties


@dataclass
class _Model:
    core: Any
    device: str
    properties: dict[str, str]
    files: tuple[bytes | str, bytes]
    signature: Signature
    _shapes: "OrderedDict[tuple[tuple[int, ...], ...], _Compiled]" = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def compiled(self, inputs: Arrays) -> "_Compiled":
        names = [tensor.name for tensor in self.signature.inputs]
        shape = tuple(inputs[name].shape for name in names)
        with self._lock:
            compiled = self._shapes.pop(shape, None)
            if compiled is None:
                graph = self.core.read_model(*self.files)
                # A known shape lets the compiler plan memory and choose kernels; dynamic ones are slower.
                graph.reshape(dict(zip(range(len(shape)), map(list, shape), strict=True)))
                network = self.core.compile_model(graph, self.device, self.properties)
                compiled = _Compiled(network, names, [tensor.name for tensor in self.signature.outputs])
            self._shapes[shape] = compiled
            if len(self._shapes) > SHAPES_KEPT:
                self._shapes.popitem(last=False)
            return compiled


class _Compiled:
    """A model for one shape."""

    def __init__(self, network: Any, inputs: list[str], outputs: list[str]) -> None:
        self._network, self._inputs, self._outputs = network, inputs, outputs
        self._request: Any = None
        self._given: dict[str, NDArray[Any]] = {}
        """The request's own inputs, where these are small."""
        self._queue: _Queue | None = None

    @property
    def queue(self) -> "_Queue":
        if self._queue is None:
            self._queue = _Queue(self._network, self._inputs, self._outputs)
        return self._queue

    def renew(self) -> None:
        """Another queue for the next: OpenVINO says nothing of a request that failed in one, and never frees it."""
        self._queue = None

    def run(self, inputs: Arrays) -> Arrays:
        if self._request is None:
            self._request = self._network.create_infer_request()
            if sum(inputs[name].nbytes for name in self._inputs) <= SMALL:
                self._given = {name: self._request.get_input_tensor(at).data for at, name in enumerate(self._inputs)}
        if self._given:  # handing arrays over takes longer than copying small ones
            for name, given in self._given.items():
                given[...] = inputs[name]
            self._request.infer()
        else:
            self._request.infer([np.ascontiguousarray(inputs[name]) for name in self._inputs], share_inputs=True)
        return _outputs(self._request, self._outputs)


class _Queue:
    """OpenVINO's queue of requests for an event loop, which it must never block."""

    def __init__(self, network: Any, inputs: list[str], outputs: list[str]) -> None:
        wanted = min(MOST_REQUESTS, int(network.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")))
        self._queue = ov.AsyncInferQueue(network, wanted)
        self._queue.set_callback(self._done)
        self._free = asyncio.Semaphore(len(self._queue))
        self._inputs, self._outputs = inputs, outputs

    async def run(self, inputs: Arrays) -> Arrays:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Arrays] = loop.create_future()
        given = [np.ascontiguousarray(inputs[name]) for name in self._inputs]
        await self._free.acquire()
        # The arrays are kept with the request, which reads them while it runs, even if nobody waits any more.
        self._queue.start_async(given, (loop, done, given), share_inputs=True)
        return await done

    def _done(self, request: Any, told: tuple[asyncio.AbstractEventLoop, "asyncio.Future[Arrays]", Any]) -> None:
        """Called by OpenVINO in a thread of its own, before the request is free for the next."""
        loop, done, _ = told
        outputs = _outputs(request, self._outputs)
        with suppress(RuntimeError):  # nobody waits any more: the loop is closed
            loop.call_soon_threadsafe(self._tell, done, outputs)

    def _tell(self, done: "asyncio.Future[Arrays]", outputs: Arrays) -> None:
        self._free.release()
        if not done.done():
            done.set_result(outputs)


def _outputs(request: Any, names: list[str]) -> dict[str, NDArray[Any]]:
    # The buffers belong to the request, which will be used again.
    return {name: np.array(request.get_output_tensor(at).data) for at, name in enumerate(names)}


def _tensors(ports: Any) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(
            port.get_any_name(),
            str(np.dtype(port.get_element_type().to_dtype())),
            tuple(side.get_length() if side.is_static else None for side in port.get_partial_shape()),
        )
        for port in ports
    )


def checked_device(device: str, there: list[str]) -> str:
    """The device, if it is there. Raises ``BadAddress`` with those that are."""
    kind, _, several = device.partition(":")
    if kind in ("AUTO", "HETERO", "MULTI", "BATCH"):
        wanted = [name.partition("(")[0].strip("-") for name in several.split(",") if name]
    else:
        wanted = [device]
    for name in wanted:
        if name not in there and not any(has.partition(".")[0] == name for has in there):
            raise BadAddress(
                f"openvino: this machine has no device {name!r}, only {', '.join(there)}; set ?device= to one of them, "
                f"or install the driver"
            )
    return device


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__


def repository(folder: Path) -> Source:
    """Models of a folder as OVMS and Triton read it: ``NAME/VERSION/model.xml`` and ``model.bin``, or ``.onnx``."""

    def find(ref: ModelRef) -> tuple[str, bytes, bytes]:
        versions = sorted((p.name for p in (folder / ref.name).glob("*") if p.name.isdecimal()), key=int)
        version = ref.version or (versions[-1] if versions else "")
        place = folder / ref.name / version
        if version not in versions:
            there = f"there are versions {', '.join(versions)}" if versions else "there is none of that name"
            raise BadModel(f"{ref} is not in {folder}: {there}; export it there, or name another")
        try:
            if (place / "model.xml").exists():
                return version, (place / "model.xml").read_bytes(), (place / "model.bin").read_bytes()
            return version, (place / "model.onnx").read_bytes(), b""
        except OSError as error:
            raise BadModel(f"{ModelRef(ref.name, version)}: {error}; export it again") from error

    return find
