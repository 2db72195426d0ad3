"""The routes of models, described."""

from collections.abc import Mapping

from contracts.models_of_pipelines import Choice, ModelInfo, ModelList, ModelVerdict
from contracts.openapi import (
    AWAY,
    FULL,
    UNREADABLE,
    Answer,
    Content,
    Operation,
    Operations,
    Parameter,
    empty,
    error,
    json,
    read,
    words,
    written,
)
from gateway.models.service import Chosen, Paused

ZIP = "application/zip"
FAULTY: Mapping[int, Answer] = {**UNREADABLE, **AWAY}
NO_MODEL: Mapping[int, Answer] = {404: error("There is no such model.")}
NO_PIPELINE: Mapping[int, Answer] = {404: error("There is no such model, or no runner has registered the pipeline.")}
UNFIT: Mapping[int, Answer] = {409: error("The model cannot be used so; the reason is told.")}
SHA256 = Parameter("sha256", words("^[0-9a-f]{64}$"), "Of its metadata.json.", place="path", required=True)
TOPIC = Parameter("topic", words("^[^/]+$"), place="path", required=True)


def operations() -> Operations:
    """What is served about models, beside the task launcher."""
    choice = json("From the next job on.", written(Choice))
    return {
        "GET /api/v1/models": Operation(
            "Models, and which each pipeline uses", {200: json("All.", written(ModelList)), **AWAY}
        ),
        "POST /api/v1/models": Operation(
            "Upload a model",
            {
                201: Answer("It is kept, or was there; a runner tries it next.", Content(written(ModelInfo))),
                409: error("The version is another model's."),
                **FAULTY,
                **FULL,
            },
            body=Content(
                {"type": "string", "format": "binary"}, ZIP, "The folder of one version: metadata.json and its files."
            ),
        ),
        "GET /api/v1/models/{sha256}/content": Operation(
            "A model's package", {200: Answer("As it was uploaded.", Content({}, ZIP)), **NO_MODEL, **AWAY}, (SHA256,)
        ),
        "POST /api/v1/models/{sha256}/verdict": Operation(
            "What a runner's trial has shown",
            {200: Answer("The model as it is now.", Content(written(ModelInfo))), **NO_MODEL, **FAULTY},
            (SHA256,),
            body=Content(read(ModelVerdict)),
        ),
        "DELETE /api/v1/models/{sha256}": Operation(
            "Forget a model", {200: empty("Forgotten."), **NO_MODEL, **UNFIT, **AWAY}, (SHA256,)
        ),
        "PUT /api/v1/pipelines/{topic}/model": Operation(
            "Choose a pipeline's model",
            {200: Answer("From the next job on.", choice.content), **NO_PIPELINE, **UNFIT, **FAULTY},
            (TOPIC,),
            body=Content(read(Chosen)),
        ),
        "POST /api/v1/pipelines/{topic}/rollback": Operation(
            "Choose the model before again",
            {200: Answer("From the next job on.", choice.content), **NO_PIPELINE, **UNFIT, **FAULTY},
            (TOPIC,),
        ),
        "PUT /api/v1/pipelines/{topic}/paused": Operation(
            "Let a pipeline take no jobs, or take them again",
            {200: Answer("Its jobs wait, or go on.", choice.content), **NO_PIPELINE, **FAULTY},
            (TOPIC,),
            body=Content(read(Paused)),
        ),
    }
