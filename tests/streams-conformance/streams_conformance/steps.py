"""One case against one target: its table, its steps, its end. README.md lists the steps."""

import itertools
import uuid

from . import reading
from .checks import CHECKS
from .matching import NOTHING, Wrong, difference, expand, pointed, shown
from .reading import Differs
from .target import Unreachable

RUN = uuid.uuid4().hex[:8]
_numbers = itertools.count(1)


class Context:
    """What a running case knows: the target, its saved names, the tables it has made."""

    def __init__(self, target, case, tables):
        self.target, self.case, self.tables = target, case, tables
        self.made = []
        self.names = {"region": target.region, "now": int(target.now())}
        self.seen = None

    def run(self):
        try:
            if "table" in self.case:
                self.create(self.case["table"])
            for at, step in enumerate(self.case["steps"], 1):
                self.step(at, step)
        finally:
            for target, name in self.made:
                self.remove(target, name)

    @staticmethod
    def remove(target, name):
        """A table whose stream is just being switched is busy for a moment."""
        try:
            target.until(lambda: target.call("DeleteTable", {"TableName": name}).code != "ResourceInUseException", "gone")
        except Unreachable:
            print(f"left behind: table {name}")

    def create(self, fixture, suffix="", name=None):
        """Makes a table; saves `table`, `arn`, and of its stream `stream`, `label`, `shard` (the first), `start`."""
        name = name or f"streams-conformance-{RUN}-{next(_numbers)}"
        self.target.done("CreateTable", {"TableName": name, **self.tables[fixture]})
        self.made.append((self.target, name))
        self.names["table" + suffix] = name
        self.wait_for_table(name)
        described = self.target.done("DescribeTable", {"TableName": name})["Table"]
        self.names["arn" + suffix] = described["TableArn"]
        self.names["account"] = described["TableArn"].split(":")[4]
        if "LatestStreamArn" in described:
            self.stream(described, suffix)

    def stream(self, described, suffix=""):
        arn = described["LatestStreamArn"]
        self.names["stream" + suffix], self.names["label" + suffix] = arn, described["LatestStreamLabel"]
        shards = self.target.until(lambda: self.enabled(arn), f"{arn} is ENABLED and has a shard")
        self.names["shard" + suffix] = shards[0]["ShardId"]
        self.names["start" + suffix] = shards[0]["SequenceNumberRange"]["StartingSequenceNumber"]

    def enabled(self, arn):
        answer = self.target.call("DescribeStream", {"StreamArn": arn})
        described = answer.body.get("StreamDescription", {})
        return described.get("StreamStatus") == "ENABLED" and described["Shards"]

    def wait_for_table(self, name):
        def active():
            table = self.target.call("DescribeTable", {"TableName": name}).body.get("Table", {})
            return table.get("TableStatus") == "ACTIVE"

        self.target.until(active, f"{name} is ACTIVE")

    def step(self, at, step):
        kind = next(iter(step))
        if kind not in STEPS:
            raise Wrong(f"step {at}: {kind} is no step")
        try:
            STEPS[kind](self, step)
        except Differs as why:
            raise Differs(f"step {at} ({kind}): {why}") from None

    def given(self, step, name, otherwise=None):
        return expand(step[name], self.names) if name in step else otherwise

    def save(self, step, value):
        for name, path in step.get("save", {}).items():
            found = pointed(path, value)
            if found is NOTHING:
                raise Differs(f"{path}: nothing there: {shown(value)}")
            self.names[name] = found

    def require(self, pattern, found):
        if why := difference(expand(pattern, self.names), found):
            raise Differs(why)


def call(context, step):
    """Any operation; without `error` it must succeed."""
    answer = context.target.call(step["call"], context.given(step, "request", {}))
    if "error" in step:
        wanted = context.given(step, "error")
        if answer.ok:
            raise Differs(f"answered {shown(answer.body)}, not {error(wanted)}")
        found = {"code": answer.code, "status": answer.status}
        found |= {"message": answer.message} if answer.message is not None else {}
        if difference({"status": 400, **wanted}, found):
            alike = (found["code"], found["status"]) == (wanted["code"], wanted.get("status", 400))
            text = f"the text is `{found.get('message')}`"
            raise Differs(text if alike else f"answered {error(found)}, not {error(wanted)}")
        return
    if not answer.ok:
        raise Differs(f"{step['call']} is refused: {answer.code}: {answer.message}")
    context.require(step.get("answer", {}), answer.body)
    context.save(step, answer.body)


def error(found):
    return f"{found.get('status', 400)} {found['code']}" + (f" `{found['message']}`" if found.get("message") else "")


def put(context, step):
    context.target.done("PutItem", {"TableName": context.names["table"], "Item": context.given(step, "put")})


def delete(context, step):
    context.target.done("DeleteItem", {"TableName": context.names["table"], "Key": context.given(step, "delete")})


def update(context, step):
    request = {"TableName": context.names["table"], "Key": context.given(step, "update")}
    request["UpdateExpression"] = step["set"]
    if "values" in step:
        request["ExpressionAttributeValues"] = context.given(step, "values")
    context.target.done("UpdateItem", request)


def write(context, step):
    """Many items: `keys` keys, each written `times` times with n = 0, 1, …; `from` goes on where an earlier write ended."""
    spec = step["write"]
    for n in range(spec.get("from", 0), spec.get("from", 0) + spec.get("times", 1)):
        for key in range(spec["keys"]):
            item = {"id": {"S": f"{spec.get('prefix', 'k')}{key}"}, "n": {"N": str(n)}}
            if "bytes" in spec:
                item["filler"] = {"S": "x" * spec["bytes"]}
            context.target.done("PutItem", {"TableName": context.names["table"], "Item": item})


def batches(context, step):
    """Many new items, 25 a call."""
    for at in range(step["batches"]["count"]):
        puts = [{"PutRequest": {"Item": {"id": {"S": f"{at}-{n}"}}}} for n in range(25)]
        context.target.done("BatchWriteItem", {"RequestItems": {context.names["table"]: puts}})


def wait(context, step):
    """Until a stream has a status, or a table is ACTIVE, or gone."""
    wanted, target = context.given(step, "wait"), context.target
    if "stream" in wanted:

        def status():
            described = target.done("DescribeStream", {"StreamArn": wanted["stream"]})
            return described["StreamDescription"]["StreamStatus"]

        target.until(lambda: status() == wanted["status"], f"the stream is {wanted['status']}")
    elif "gone" in wanted:

        def gone():
            return target.call("DescribeTable", {"TableName": wanted["gone"]}).code == "ResourceNotFoundException"

        target.until(gone, f"{wanted['gone']} is gone")
    else:
        context.wait_for_table(wanted["table"])


def table(context, step):
    """One more table, its names with a suffix."""
    context.create(step["table"], step.get("suffix", ""))


def again(context, step):
    """The table of that name once more, after it was dropped."""
    context.create(step["again"], step.get("suffix", ""), name=context.names["table"])


def switch(context, step):
    """The stream on or off, and until that is so; a new stream's names replace the old one's or take a suffix."""
    view, name = step["switch"], context.names["table"]
    spec = {"StreamEnabled": False} if view == "off" else {"StreamEnabled": True, "StreamViewType": view}
    context.target.done("UpdateTable", {"TableName": name, "StreamSpecification": spec})
    context.wait_for_table(name)
    if view == "off":
        wait(context, {"wait": {"stream": "$stream", "status": "DISABLED"}})
    else:
        context.stream(context.target.done("DescribeTable", {"TableName": name})["Table"], step.get("suffix", ""))


def records(context, step):
    """The whole stream, read along its lineage, has these records: per item in this order."""
    wanted = context.given(step, "records")
    count = wanted if isinstance(wanted, int) else len(wanted)
    context.seen = reading.follow(context.target, context.given(step, "of", context.names["stream"]), count)
    found = context.seen.records
    if len(found) != count:
        raise Differs(f"{count} records expected, found {len(found)}: {shown([brief(r) for r in found])}")
    if not isinstance(wanted, int):
        found = in_order_of(wanted, found)
        context.require(wanted, found)
    context.save(step, [{**r, "shard": s} for r, s in zip(context.seen.records, context.seen.shard_of)])


def in_order_of(wanted, found):
    """The records so that items come as the case names them: there is no order between items."""
    left, chosen = list(found), []
    for pattern in wanted:
        place = next((i for i, record in enumerate(left) if same_item(pattern, record)), 0)
        chosen.append(left.pop(place))
    return chosen


def same_item(pattern, record):
    keys = pattern.get("dynamodb", {}).get("Keys") if isinstance(pattern, dict) else None
    if isinstance(pattern, str):
        keys = {"id": {"S": pattern.partition(" ")[2]}}
    return keys is None or record.get("dynamodb", {}).get("Keys") == keys


def brief(record):
    return f"{record.get('eventName')} {record.get('dynamodb', {}).get('Keys')}"


def elsewhere(context, step):
    """A table of that kind on a second server, and an iterator of its stream; saved under `save`."""
    other = Context(context.target.second, context.case, context.tables)
    try:
        other.create(step["elsewhere"])
        iterator(other, {"iterator": "TRIM_HORIZON"})
        context.names[step["save"]] = other.names["iterator"]
    finally:
        context.made += other.made


def iterator(context, step):
    """A shard iterator of that type; saved as `iterator` or under `save`."""
    place = reading.iterator(
        context.target,
        context.given(step, "of", context.names["stream"]),
        context.given(step, "shard", context.names["shard"]),
        step["iterator"],
        context.given(step, "number"),
    )
    context.names[step.get("save", "iterator")] = place


def get(context, step):
    """What one iterator gives, page by page: these records, in this order, and whether there is a way on.

    `limit` bounds pages, `next` is `present` or `absent`; empty pages may come at any time.
    """
    wanted = context.given(step, "records", [])
    count = wanted if isinstance(wanted, int) else len(wanted)
    ends = step.get("next") == "absent"
    if step.get("once"):
        page, on = reading.page_of(context.target, context.given(step, "get"), step.get("limit"))
        pages = [page]
    else:
        pages, on = reading.drain(context.target, context.given(step, "get"), count, step.get("limit"), ends)
    found = [record for page in pages for record in page]
    if len(found) != count:
        raise Differs(f"{count} records expected, found {len(found)}: {shown([brief(r) for r in found])}")
    if not isinstance(wanted, int):
        context.require(wanted, found)
    if ends and on is not None:
        raise Differs("NextShardIterator is still there")
    if step.get("next") == "present" and on is None:
        raise Differs("NextShardIterator is missing")
    fullest = max(map(len, pages), default=0)
    if "fullest" in step:
        context.require(step["fullest"], fullest)
    context.save(step, {"records": found, "next": on, "fullest": fullest})


def check(context, step):
    """Rules of the whole stream, by name; the stream is read anew unless a step before has just done so."""
    seen = context.seen or reading.follow(context.target, context.given(step, "of", context.names["stream"]))
    for name in [step["check"]] if isinstance(step["check"], str) else step["check"]:
        if wrong := CHECKS[name](context, seen):
            raise Differs(f"{name}: {shown(wrong)}")


def shards(context, step):
    """The list of shards, oldest first."""
    wanted = step["shards"]
    found = reading.described(context.target, context.given(step, "of", context.names["stream"]), step.get("limit"))
    if isinstance(wanted, int) and len(found) != wanted:
        raise Differs(f"{wanted} shards expected, found {len(found)}: {shown(found)}")
    if not isinstance(wanted, int):
        context.require(wanted, found)
    context.save(step, found)


def compare(context, step):
    """Two sequence numbers, as integers of any size."""
    left, how, right = step["compare"]
    a, b = (int(expand(side, context.names)) for side in (left, right))
    if not {"<": a < b, "<=": a <= b, "=": a == b}[how]:
        raise Differs(f"{left} {how} {right}: {a} and {b}")


def listed(context, step):
    """ListStreams, followed to its end with `limit`: has these streams of ours, each once."""
    wanted, found, start = context.given(step, "listed"), [], None
    for _ in range(reading.PAGES_MAX):
        request = dict(context.given(step, "request", {})) | ({"Limit": step["limit"]} if "limit" in step else {})
        body = context.target.done("ListStreams", request | ({"ExclusiveStartStreamArn": start} if start else {}))
        if len(body["Streams"]) > step.get("limit", 100):
            raise Differs(f"{len(body['Streams'])} streams on a page of {step.get('limit', 100)}")
        found += [stream["StreamArn"] for stream in body["Streams"]]
        start = body.get("LastEvaluatedStreamArn")
        if start is None:
            break
    counts = {arn: found.count(arn) for arn in wanted}
    if any(count != 1 for count in counts.values()):
        raise Differs(f"each once expected, found {shown(counts)}")


def control(context, step):
    """What only a target with a control interface can be told."""
    given = context.given(step, "with", {})
    context.seen = None
    for _ in range(step.get("times", 1)):
        context.target.control.do(step["control"], {"table": context.names.get("table"), **given})


STEPS = {
    step.__name__: step
    for step in (
        call, put, delete, update, write, batches,
        wait, table, again, switch,
        records, elsewhere, iterator, get, check, shards, compare, listed, control,
    )
}  # fmt: skip
