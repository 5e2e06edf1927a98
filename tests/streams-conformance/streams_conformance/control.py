"""Headwater's control API (its guide: docs/guide/control.md): what no other target can be told."""

import json
import os
import urllib.error
import urllib.request

from .target import Unreachable


class Control:
    """Splits, roll-overs, the clock, trimming, iterators. The token comes from HEADWATER_CONTROL_TOKEN."""

    can = {"split", "roll-over", "clock", "trim", "expire"}

    def __init__(self, url, token=None):
        self.url, self.token = url.rstrip("/"), token or os.environ.get("HEADWATER_CONTROL_TOKEN", "")

    def do(self, what, given):
        """What a case's `control` step says."""
        table = {"table": given["table"]} if given.get("table") else {}
        shard = {"shard": given["shard"]} if "shard" in given else {}
        if what == "advance":
            return self.ask("/v1/clock/advance", {"by": f"{given['seconds']}s"})
        if what == "split":
            return self.ask("/v1/split", table | shard)
        if what == "roll-over":
            return self.ask("/v1/rollover", table | shard)
        if what == "trim":
            return self.ask("/v1/trim", table | shard | ({"before": given["below"]} if "below" in given else {}))
        if what == "expire-iterators":
            return self.ask("/v1/expire-iterators", {})
        raise ValueError(f"control knows no {what}")

    def now(self):
        """The target's own time, in seconds: records and expiry go by it."""
        return self.ask("/v1/clock")["store_ms"] / 1000

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data=data, headers=headers)  # noqa: S310 - the user names it
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as refusal:
            raise Unreachable(f"control {path}: {refusal.code} {refusal.read().decode(errors='replace')}") from refusal
        except (OSError, ValueError) as failure:
            raise Unreachable(f"control {path}: {failure}") from failure
