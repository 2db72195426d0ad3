"""A trial of a model that somebody has uploaded, run as a pipeline is: in a worker process, with limits."""

import json
from collections.abc import Mapping
from typing import ClassVar

from pipelines.plugin import BadInput, Parameter, Result, WithModel, Work
from pipelines.registry import make


class ModelTrial:
    """Has the pipeline that is to use the model try it. Raises ``BadInput`` with what is wrong with the model."""

    topic = "model-trial"
    name = "Trial of a model"
    description = "Tries an uploaded model before jobs may use it"
    parameters: ClassVar[Mapping[str, Parameter]] = {}

    def run(self, work: Work) -> Result:
        """``plugin`` among the parameters: the pipeline, as ``module:Class``."""
        plugin = make(work.parameters["plugin"])
        if not isinstance(plugin, WithModel):
            raise BadInput(f"the pipeline {plugin.topic} uses no model: upload none for it")
        assert work.model is not None
        return Result(results=json.dumps({"seconds": plugin.try_model(work.model)}))
