"""Headwater's control interface: what no other target can be told. See the guide on it beside the server's."""

import json
import os
import urllib.error
import urllib.request

from .target import Unreachable


class Control:
    """Splits, roll-overs, the clock, trimming, iterators."""

    can = {"split", "roll-over", "clock", "trim", "expire"}

    def __init__(self, url, token=None):
        self.url, self.token = url.rstrip("/"), token or os.environ.get("HEADWATER_TOKEN", "")

    def post(self, path, body):
        request = urllib.request.Request(
            self.url + path,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - the user names the URL
                return json.loads(answer.read() or b"{}")
        except (urllib.error.URLError, ValueError) as failure:
            raise Unreachable(f"{path}: {failure}") from failure
