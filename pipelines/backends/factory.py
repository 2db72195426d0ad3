"""From a setting to a backend. Only what it names is imported."""

import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from pipelines.backends.address import CHOSEN as CHOSEN
from pipelines.backends.address import Address, parsed
from pipelines.backends.errors import BadAddress
from pipelines.backends.patience import Patience
from pipelines.backends.port import Backend

if TYPE_CHECKING:
    from pipelines.backends.openvino import Source


def chosen(topic: str) -> Address:
    """Where the models of a pipeline run. Raises ``BadAddress``."""
    return parsed(json.loads(os.environ.get(CHOSEN) or "{}").get(topic, "openvino"))


def backend(address: Address, source: "Source", precision: str = "auto") -> Backend:
    """The backend of an address. Where models run in this process, ``source`` has them and ``precision`` is theirs.

    Nothing is connected yet. Raises ``BadAddress`` where it cannot work on this machine, such as for want of a package.
    """
    if address.scheme == "openvino":
        from pipelines.backends.openvino import OpenVino, Settings

        return OpenVino(source, Settings.of(address, precision))
    return _REMOTE[address.scheme](address)


def patience(address: Address) -> Patience:
    """How a server is to be asked."""
    return Patience(
        str(address),
        deadline=address.number("timeout", 30.0, least=0.001),
        retries=int(address.number("retries", 2)),
    )


def _kserve(address: Address) -> Backend:
    try:
        from pipelines.backends.kserve import KServe, Wire
        from pipelines.backends.kserve_memory import memory_of

        wire: Wire
        if address.scheme == "kserve+grpc":
            from pipelines.backends.kserve_grpc import Grpc

            wire = Grpc(address)
        else:
            from pipelines.backends.kserve_http import Http

            wire = Http(address)
    except ImportError as error:
        raise _missing(address, "triton", error) from error
    return KServe(wire, patience(address), memory_of(address.text("shm", "auto"), wire.same_host))


def _ovms(address: Address) -> Backend:
    try:
        from pipelines.backends.ovms import Ovms
    except ImportError as error:
        raise _missing(address, "ovms", error) from error
    return Ovms(address, patience(address))


def _bentoml(address: Address) -> Backend:
    from pipelines.backends.bentoml import Bento

    return Bento(address, patience(address))


def _missing(address: Address, extra: str, error: ImportError) -> BadAddress:
    return BadAddress(
        f"backend {address} needs a package that is not installed ({error}): pip install cytobus[{extra}]"
    )


_REMOTE: dict[str, Callable[[Address], Backend]] = {
    "kserve+grpc": _kserve,
    "kserve+http": _kserve,
    "kserve+https": _kserve,
    "ovms": _ovms,
    "bentoml+http": _bentoml,
    "bentoml+https": _bentoml,
}
