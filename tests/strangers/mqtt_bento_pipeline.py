"""A pipeline in AiCSD's way of a bento: orders by MQTT, a model at a BentoML service, two HTTP calls; none of our code.

It counts nuclei in grey images up to 1024 x 1024. usage: mqtt_bento_pipeline.py HOST PORT BENTO_URL
"""

import json
import pathlib
import sys

import httpx
import numpy as np
import paho.mqtt.client as mqtt
from PIL import Image
from scipy import ndimage

TOPIC = "mqtt-export/pipeline/params"


def counted(bento, image):
    """How many nuclei there are, and which pixels are theirs."""
    pixels = np.asarray(Image.open(image).convert("F"))
    low, high = np.percentile(pixels, (1, 99.9))
    plane = np.sqrt(np.clip((pixels - low) / max(high - low, 1), 0, 1))
    height, width = plane.shape
    plane = np.pad(plane, ((0, -height % 64), (0, -width % 64)), mode="symmetric")
    answer = httpx.post(f"{bento}/nuclei", json={"image": plane[None, None].tolist()}, timeout=120).raise_for_status()
    nucleus, boundary, _ = np.array(answer.json()["maps"][0], np.float32)[:, :height, :width]
    labels, count = ndimage.label((nucleus > 0.5) & (boundary < 0.5))
    return count, labels > 0, answer.json()["version"]


def carried_out(bento, params):
    """What is to be reported of an order."""
    image, folder = pathlib.Path(params["InputFileLocation"]), params["OutputFileFolder"]
    count, mask, version = counted(bento, image)
    name = f"{image.stem}-bento-mask.png"
    Image.fromarray(mask.astype(np.uint8) * 255).save(pathlib.Path(folder) / name)
    outputs = [{"DirName": folder, "Name": name, "Extension": ".png"}]
    results = json.dumps({"count": count, "model": {"name": "nuclei", "version": version, "place": bento}})
    return {"Status": "PipelineComplete", "QCFlags": "None", "OutputFiles": outputs, "Results": results}


def on_message(client, bento, message):
    params = json.loads(message.payload)
    try:
        report = carried_out(bento, params)
    except Exception as error:  # the order is answered whatever happens
        report = {"Status": "PipelineFailed", "Results": f"{type(error).__name__}: {error}"}
    httpx.put(params["JobUpdateUrl"], json=report).raise_for_status()
    httpx.post(params["PipelineStatusUrl"], content=report["Status"]).raise_for_status()
    print(report["Status"], params["InputFileLocation"], flush=True)


host, port, bento_url = sys.argv[1:]
stranger = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, userdata=bento_url.rstrip("/"))
stranger.on_connect = lambda client, *_: client.subscribe(TOPIC, qos=1)
stranger.on_subscribe = lambda *_: print("listening", flush=True)
stranger.on_message = on_message
stranger.connect(host, int(port))
stranger.loop_forever()
