"""A pipeline as a stranger writes it from the contract alone: Redis in, two HTTP calls out; none of our code.

It turns texts to capitals. usage: redis_pipeline.py REDIS_URL TOPIC
"""

import base64
import json
import pathlib
import sys

import httpx
import redis

url, topic = sys.argv[1:]
subscription = redis.Redis.from_url(url).pubsub()
subscription.psubscribe(topic.replace("/", "."))
for message in subscription.listen():
    if message["type"] == "psubscribe":
        print("listening", flush=True)
    if message["type"] != "pmessage":
        continue
    envelope = json.loads(message["data"])
    event = json.loads(base64.b64decode(envelope["Payload"]))
    params = event["readings"][0]["objectValue"]
    source, folder = pathlib.Path(params["InputFileLocation"]), params["OutputFileFolder"]
    status, outputs, words = "PipelineComplete", [], ""
    try:
        text = source.read_text()
        name = f"{source.stem}-capitals.txt"
        (pathlib.Path(folder) / name).write_text(text.upper())
        outputs = [{"DirName": folder, "Name": name, "Extension": ".txt"}]
        words = f"{len(text.split())} words"
    except (OSError, UnicodeDecodeError) as error:
        status, words = "PipelineFailed", str(error)
    result = {"Status": status, "QCFlags": "", "OutputFiles": outputs, "Results": words}
    httpx.put(params["JobUpdateUrl"], json=result).raise_for_status()
    httpx.post(params["PipelineStatusUrl"], content=status).raise_for_status()
    print("done", source.name, flush=True)
