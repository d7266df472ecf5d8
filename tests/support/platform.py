"""The demo's platform for tests: broker, S3 and the real rules-processing."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

from confluent_kafka import Consumer, TopicPartition
from support.agent import BUILD, HOOK, ROOT

VENVS = ROOT / "build" / "venvs"
CCX = ROOT / "fixtures" / "ccx"
TOPICS = ["ccx.archive.synced", "ccx.insights.rules.results", "platform.payload-status"]
BUCKET = "ccx-bucket"
GROUP = "ccx-rules-processing-service"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for_http(url, process, seconds=60):
    deadline = time.monotonic() + seconds
    while True:
        assert process.poll() is None, "%s ended" % process.args
        try:
            return urllib.request.urlopen(url, timeout=5).read()
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < deadline, "%s does not answer" % url
            time.sleep(0.05)


@contextlib.contextmanager
def started(arguments, interrupt=False, **options):
    process = subprocess.Popen([str(part) for part in arguments], **options)
    try:
        yield process
    finally:
        if interrupt and process.poll() is None:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
        process.kill()
        process.wait()


@contextlib.contextmanager
def platform():
    """Yields (broker address, S3 address) with topics and bucket made."""
    with contextlib.ExitStack() as stack:
        topics = [word for topic in TOPICS for word in ("--topic", topic)]
        broker = stack.enter_context(
            started(
                [BUILD / "bin" / "mock_broker", *topics],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        word, address = broker.stdout.readline().split()
        assert word == "ready"
        port = free_port()
        moto = stack.enter_context(
            started(
                [VENVS / "moto" / "bin" / "moto_server", "-H", "127.0.0.1", "-p", port],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        s3 = "http://127.0.0.1:%d" % port
        wait_for_http(s3 + "/moto-api/data.json", moto)
        urllib.request.urlopen(
            urllib.request.Request("%s/%s" % (s3, BUCKET), method="PUT")
        ).read()
        yield address, s3


@contextlib.contextmanager
def rules_processing(broker, s3, directory, log, venv="before", **variables):
    """The service under the inspector; yields its process once it answers."""
    metrics = free_port()
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CYCLESCOPE", "PYTHON", "AWS"))
    }
    environment.update(
        KAFKA_SERVER=broker,
        S3_ENDPOINT=s3,
        S3_BUCKET=BUCKET,
        AWS_DEFAULT_REGION="us-east-1",
        METRICS_PORT=str(metrics),
        EXTRACT_DIR=str(directory),
        CYCLESCOPE_DIR=str(directory),
        PYTHONPATH=str(HOOK),
        PYTHONUNBUFFERED="1",
    )
    environment.update(variables)
    # A shell's `&` leaves SIGINT ignored, and the service stops by it.
    arguments = [
        "env",
        "--default-signal=INT",
        VENVS / venv / "bin" / "ccx-messaging",
        CCX / "rules-processing.yaml",
    ]
    with started(
        arguments, interrupt=True, env=environment, stdout=log, stderr=log
    ) as service:
        wait_for_http("http://127.0.0.1:%d/metrics" % metrics, service)
        service.socket_path = str(
            pathlib.Path(directory) / ("cyclescope-%d.sock" % service.pid)
        )
        yield service


def consumer_from_the_start(broker, topic):
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "count-" + topic})
    consumer.assign([TopicPartition(topic, 0, 0)])
    return consumer


def wait_for_results(broker, count, seconds=120):
    consumer = consumer_from_the_start(broker, "ccx.insights.rules.results")
    deadline = time.monotonic() + seconds
    results = 0
    while results < count:
        assert time.monotonic() < deadline, "%d results of %d" % (results, count)
        results += sum(m.error() is None for m in consumer.consume(100, timeout=0.2))
    consumer.close()
