"""The endpoint under test: calls through boto3, judged by what stood on the wire.

boto3 forgives much: a member that is null and one that is absent look the same to its users. So each answer is kept as
the JSON that came.
"""

import base64
import json
import threading
import time
from dataclasses import dataclass
from functools import cache

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

STREAMS_OPERATIONS = {"ListStreams", "DescribeStream", "GetShardIterator", "GetRecords"}

# What each kind of target can do beside answering; see README.md.
KINDS = {
    "headwater": {"quick-expiry"},
    "dynamodb-local": {"quick-expiry"},
    "aws": set(),
    "other": set(),
}

REASONS = {
    "split": "there is no way to force a split of a shard here",
    "roll-over": "there is no way to force a roll-over of a shard here",
    "clock": "there is no way to move the target's clock: records, iterators and shards would age for hours",
    "trim": "there is no way to force trimming here",
    "expire": "there is no way to expire iterators here but to wait 15 minutes",
    "second": "no second server of the kind was named (--second)",
    "quick-expiry": "items expire within days here, not within seconds",
}


class Unreachable(Exception):
    """The target gave no answer that could be judged."""


@cache
def session():
    """One for all targets: it keeps the services' models, which take long to load."""
    return boto3.Session()


@dataclass
class Answer:
    """What stood on the wire: the body as JSON, and of an error its code and message."""

    operation: str
    status: int
    body: dict

    @property
    def ok(self):
        return self.status == 200

    @property
    def code(self):
        return str(self.body.get("__type", "")).rpartition("#")[2]

    @property
    def message(self):
        return self.body.get("message", self.body.get("Message"))


class Target:
    """One endpoint. `can` says what it is able to do beside the API."""

    def __init__(self, kind, endpoint=None, region="us-east-1", control=None, second=None, patience_s=None, settle_s=None):
        self.kind, self.region, self.control, self.second = kind, region, control, second
        self.can = KINDS[kind] | (control.can if control else set()) | ({"second"} if second else set())
        remote = kind == "aws"
        self.patience_s = patience_s or (180.0 if remote else 10.0)
        # How long a stream must stay quiet before nothing more is expected of it.
        self.settle_s = settle_s if settle_s is not None else (2.0 if remote else 0.0)
        self.pause_s = 0.5 if remote else 0.01
        self._raw = threading.local()
        config = Config(
            retries={"total_max_attempts": 8 if remote else 1, "mode": "standard"},
            parameter_validation=False,
            max_pool_connections=64,
            connect_timeout=5,
            read_timeout=60,
        )
        keys = {} if remote else {"aws_access_key_id": "anyone", "aws_secret_access_key": "anything"}
        self._clients = {
            name: session().client(name, endpoint_url=endpoint, region_name=region, config=config, **keys)
            for name in ("dynamodb", "dynamodbstreams")
        }
        for client in self._clients.values():
            client.meta.events.register("before-parse", self._keep)

    def _keep(self, response_dict, **_):
        self._raw.status, self._raw.body = response_dict["status_code"], response_dict["body"]

    def call(self, operation, request):
        """Sends a request as it is, right or wrong, and gives the answer, whatever it is."""
        client = self._clients["dynamodbstreams" if operation in STREAMS_OPERATIONS else "dynamodb"]
        method = "".join("_" + c.lower() if c.isupper() else c for c in operation).lstrip("_")
        self._raw.status = None
        try:
            getattr(client, method)(**unwrapped(request))
        except ClientError:
            pass
        except Exception as failure:  # noqa: BLE001 - whatever it is, there is no answer
            if self._raw.status is None:
                raise Unreachable(f"{operation}: {failure}") from failure
        try:
            body = json.loads(self._raw.body or b"{}")
        except ValueError as failure:
            raise Unreachable(f"{operation}: the body is not JSON: {self._raw.body[:200]!r}") from failure
        return Answer(operation, self._raw.status, body)

    def now(self):
        """The target's time: of a moved clock it tells itself."""
        return self.control.now() if self.control else time.time()

    def answers(self):
        """Whether there is someone at all."""
        try:
            return self.call("ListTables", {"Limit": 1}).ok
        except Unreachable:
            return False

    def done(self, operation, request):
        """A call that must succeed; its body."""
        answer = self.call(operation, request)
        if not answer.ok:
            raise Unreachable(f"{operation}: {answer.code}: {answer.message}")
        return answer.body

    def until(self, condition, what):
        """Polls until `condition` gives something true."""
        end = time.monotonic() + self.patience_s
        while True:
            found = condition()
            if found:
                return found
            if time.monotonic() > end:
                raise Unreachable(f"not within {self.patience_s:.0f} s: {what}")
            time.sleep(self.pause_s)


def unwrapped(value):
    """The same request with binary values as bytes, as boto3 wants them."""
    if isinstance(value, dict):
        if len(value) == 1 and isinstance(value.get("B"), str):
            return {"B": base64.b64decode(value["B"])}
        if len(value) == 1 and isinstance(value.get("BS"), list):
            return {"BS": [base64.b64decode(one) for one in value["BS"]]}
        return {name: unwrapped(member) for name, member in value.items()}
    if isinstance(value, list):
        return [unwrapped(member) for member in value]
    return value
