"""The nuclei models as a BentoML service: ``bentoml serve pipelines.nuclei.bento:Nuclei``, see ``backends.bentoml``."""

from typing import Annotated, Any, Literal

import bentoml
import numpy as np
from bentoml.validators import DType
from pydantic import BaseModel, ConfigDict, field_serializer

from pipelines.nuclei.model import PRECISIONS, VERSION, Model

Pictures = Annotated[np.ndarray, DType("float32")]  # type: ignore[type-arg] # it knows the bare name only


class Maps(BaseModel):
    """What ``Model`` gives for each plane of a batch, and by which version of it."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    maps: Pictures
    version: Literal[VERSION] = VERSION  # type: ignore[valid-type] # so that its description says it

    @field_serializer("maps", when_used="json")
    def _as_lists(self, maps: Any) -> Any:
        return maps.tolist()


@bentoml.service(name="nuclei", traffic={"timeout": 60})
class Nuclei:
    """One route for each precision, called as the model is. Takes float32 (N, 1, H, W)."""

    def __init__(self) -> None:
        self._models = {precision: Model(precision=precision) for precision in PRECISIONS}

    @bentoml.api(route="/nuclei")
    def nuclei(self, image: Pictures) -> Maps:
        return self._maps("fp32", image)

    @bentoml.api(route="/nuclei-int8")
    def nuclei_int8(self, image: Pictures) -> Maps:
        return self._maps("int8", image)

    def _maps(self, precision: str, image: Any) -> Maps:
        return Maps(maps=np.stack([self._models[precision](plane[0]) for plane in image]))
