"""The job listing in the reader's language, where the contract translates it."""

from collections.abc import Callable, Mapping

from contracts.models import ErrorDetails, Job, OutputFile

CHINESE: Mapping[str, str] = {
    "none": "无",
    "file-watcher": "文件监视器",
    "data-organizer": "数据整理器",
    "file-sender-oem": "设备端文件发送器",
    "file-receiver-gateway": "网关文件接收器",
    "job-repository": "作业库",
    "task-launcher": "任务启动器",
    "file-sender-gateway": "网关文件发送器",
    "file-receiver-oem": "设备端文件接收器",
    "Complete": "完成",
    "Incomplete": "未完成",
    "NoPipelineFound": "未找到流水线",
    "PipelineError": "流水线错误",
    "TransmissionFailed": "传输失败",
    "FileErrored": "文件出错",
    "PipelineProcessing": "流水线处理中",
    "PipelineComplete": "流水线完成",
    "PipelineFailed": "流水线失败",
    "FileNotFound": "未找到文件",
    "FileComplete": "文件完成",
    "FileIncomplete": "文件未完成",
    "FileTransmissionFailed": "文件传输失败",
    "FileArchivalFailed": "文件归档失败",
    "FileWriteFailed": "文件写入失败",
    "FileInvalid": "文件无效",
    "no tasks could be matched to the input file name": "没有任务与输入文件名匹配",
    "failed to transmit job": "作业传输失败",
    "failed to transmit file": "文件传输失败",
    "an error occurred in the processing pipeline": "处理流水线发生错误",
    "failed to validate job": "作业验证失败",
    "failed to validate file": "文件验证失败",
    "failed to publish message to message bus": "向消息总线发布消息失败",
    "failed to archive file": "文件归档失败",
    "failed to write file": "文件写入失败",
    "the job was cancelled": "作业已取消",
}
"""Our own wording; a word that is missing stays as it is."""

DICTIONARIES: Mapping[str, Mapping[str, str]] = {"zh": CHINESE}


def language_of(header: str) -> str:
    """The best language of an ``Accept-Language`` header that we have; ``en`` when there is none (RFC 9110)."""
    wishes = []
    for place, part in enumerate(header.split(",")):
        tag, _, quality = part.strip().partition(";q=")
        try:
            weight = float(quality) if quality else 1.0
        except ValueError:
            weight = 0.0
        wishes.append((-weight, place, tag.split("-")[0].lower()))
    for weight, _, language in sorted(wishes):
        if weight < 0 and (language == "en" or language in DICTIONARIES):
            return language
    return "en"


def translated(job: Job, language: str) -> Job:
    """The job with owner, status words and error texts in that language."""
    dictionary = DICTIONARIES.get(language)
    if dictionary is None:
        return job

    def say(word: str) -> str:
        return dictionary.get(word, word)

    details = job.pipeline_details
    outputs = details.output_files
    if outputs is not None:
        outputs = tuple(_output(file, say) for file in outputs)
    return job.evolve(
        owner=say(job.owner),
        status=say(job.status),
        error_details=_error(job.error_details, say),
        pipeline_details=details.evolve(status=say(details.status), output_files=outputs),
    )


def _output(file: OutputFile, say: Callable[[str], str]) -> OutputFile:
    return file.evolve(status=say(file.status), owner=say(file.owner), error_details=_error(file.error_details, say))


def _error(details: ErrorDetails | None, say: Callable[[str], str]) -> ErrorDetails | None:
    if details is None:
        return None
    return details.evolve(owner=say(details.owner), error=say(details.error))
