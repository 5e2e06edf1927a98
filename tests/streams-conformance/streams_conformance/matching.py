"""What a case's data means: names that stand for values, and patterns that answers are held against.

In requests: `$name` stands for a saved value, also within a text; `{"$repeat": ["x", 40]}`, `{"$concat": [..]}`,
`{"$cut": [text, n]}` (without its last n characters), `{"$cut_before": [text, mark]}`,
`{"$replace": [text, old, new]}`, `{"$flip": [text, at]}` (another character at that place),
`{"$plus": [number, n]}` (of a number as text), `{"$now": n}` (n seconds from the case's begin) make values.

In patterns a text that begins with `$` matches by kind: `$any`, `$absent`, `$string`, `$integer`, `$number`,
`$list`, `$length n`, `$matches regex`. A whole text `INSERT a` stands for a record of that event and the key `id` = a.
Objects must hold at least the members named; lists as many elements; sets are compared without regard to order.
"""

import json
import re

NAME = re.compile(r"\$([a-z][a-z0-9_]*)")
EVENT = re.compile(r"(INSERT|MODIFY|REMOVE) (\S+)")
KINDS = {"$any", "$absent", "$string", "$integer", "$number", "$list", "$length", "$matches"}
MADE = {"$repeat", "$concat", "$cut", "$cut_before", "$replace", "$flip", "$plus", "$now"}
NOTHING = object()


class Wrong(Exception):
    """A case that cannot be read."""


def expand(value, names):
    """The value with saved names and made values put in."""
    if isinstance(value, str):
        whole = NAME.fullmatch(value)
        if whole and whole[1] in names:
            return names[whole[1]]
        return NAME.sub(lambda found: str(names.get(found[1], found[0])), value)
    if isinstance(value, list):
        return [expand(member, names) for member in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and next(iter(value)) in MADE:
        return made(*next(iter(value.items())), names)
    return {expand(name, names): expand(member, names) for name, member in value.items()}


def made(how, given, names):
    given = expand(given, names)
    if how == "$repeat":
        return given[0] * given[1]
    if how == "$concat":
        return "".join(map(str, given))
    if how == "$cut":
        return given[0][: -given[1]]
    if how == "$cut_before":
        return given[0].partition(given[1])[2]
    if how == "$replace":
        return given[0].replace(given[1], given[2])
    if how == "$flip":
        text, at = given
        at %= len(text)
        return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
    if how == "$now":
        return str(names["now"] + given)
    return str(int(given[0]) + given[1]).zfill(len(given[0]))


def difference(pattern, found, path=""):
    """Where `found` is not what the pattern says, in words; None where it is."""
    if isinstance(pattern, str) and (kind := pattern.split(" ", 1)[0]) in KINDS:
        well = fits(kind, pattern[len(kind) + 1 :], found)
        return None if well else f"{path or '/'}: {pattern} expected, found {shown(found)}"
    if isinstance(pattern, str) and isinstance(found, dict) and (event := EVENT.fullmatch(pattern)):
        pattern = {"eventName": event[1], "dynamodb": {"Keys": {"id": {"S": event[2]}}}}
    if found is NOTHING:
        return f"{path}: {shown(pattern)} expected, found nothing"
    if isinstance(pattern, dict) and isinstance(found, dict):
        for name, wanted in pattern.items():
            member = found.get(name, NOTHING)
            if name in ("SS", "NS", "BS") and isinstance(wanted, list) and isinstance(member, list):
                wanted, member = sorted(wanted), sorted(member)
            if why := difference(wanted, member, f"{path}/{name}"):
                return why
        return None
    if isinstance(pattern, list) and isinstance(found, list):
        if len(pattern) != len(found):
            return f"{path or '/'}: {len(pattern)} expected, found {len(found)}: {shown(found)}"
        return next((why for i, one in enumerate(pattern) if (why := difference(one, found[i], f"{path}/{i}"))), None)
    same_kind = isinstance(pattern, bool) == isinstance(found, bool)
    return None if same_kind and pattern == found else f"{path or '/'}: {shown(pattern)} expected, found {shown(found)}"


def fits(kind, rest, found):
    if kind == "$absent":
        return found is NOTHING
    if found is NOTHING:
        return False
    number = isinstance(found, (int, float)) and not isinstance(found, bool)
    return {
        "$any": lambda: True,
        "$string": lambda: isinstance(found, str) and found != "",
        "$integer": lambda: number and found == int(found),
        "$number": lambda: number,
        "$list": lambda: isinstance(found, list),
        "$length": lambda: isinstance(found, (list, str)) and len(found) == int(rest),
        "$matches": lambda: isinstance(found, str) and re.fullmatch(rest, found) is not None,
    }[kind]()


def pointed(path, value):
    """The member that a path like `/Shards/0/ShardId` leads to."""
    for part in path.strip("/").split("/"):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, ValueError, TypeError):
            return NOTHING
    return value


def shown(value):
    text = "nothing" if value is NOTHING else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 300 else text[:300] + "…"
