"""A pipeline as a stranger writes it from the contract alone: MQTT in, two HTTP calls out; none of our code.

It listens where AiCSD's exporter speaks and turns texts to capitals. usage: mqtt_pipeline.py HOST PORT [USER PASSWORD]
"""

import json
import pathlib
import sys

import httpx
import paho.mqtt.client as mqtt


def on_connect(client, _data, _flags, _reason, _properties):
    client.subscribe("mqtt-export/pipeline/params", qos=1)


def on_subscribe(*_):
    print("listening", flush=True)


def on_message(_client, _data, message):
    params = json.loads(message.payload)
    source, folder = pathlib.Path(params["InputFileLocation"]), params["OutputFileFolder"]
    name = f"{source.stem}-capitals.txt"
    text = source.read_text()
    (pathlib.Path(folder) / name).write_text(text.upper())
    outputs = [{"DirName": folder, "Name": name, "Extension": ".txt"}]
    result = {"Status": "PipelineComplete", "OutputFiles": outputs, "Results": f"{len(text.split())} words"}
    httpx.put(params["JobUpdateUrl"], json=result).raise_for_status()
    httpx.post(params["PipelineStatusUrl"], content="PipelineComplete").raise_for_status()
    print("done", source.name, flush=True)


host, port, *login = sys.argv[1:]
stranger = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
stranger.on_connect, stranger.on_subscribe, stranger.on_message = on_connect, on_subscribe, on_message
if login:
    stranger.username_pw_set(*login)
stranger.connect(host, int(port))
stranger.loop_forever()
