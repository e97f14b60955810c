"""What the server refuses although the JSON Schemas accept it: the rules of schemas/README.md, each with its code."""
import json
import re

DEPTH_MAX, MEMBERS_MAX, NODES_MAX = 32, 1_000, 10_000
EVENT_BYTES_MAX, STRING_BYTES_MAX, NUMBER_CHARS_MAX = 256 * 1024, 64 * 1024, 64

JSON_CODES = {"bad_json", "bad_utf8", "bad_number", "duplicate_member", "too_deep", "too_large"}
EVENT_CODES = {"did_mismatch", "owner_not_participant", "conflicting_spellings", "too_long", "datetime_syntax",
               "wrong_type"}


class Fractional(float):
    """A number written with a fraction or an exponent. JSON Schema calls 1.0 and 1e2 integers."""


def read_json(body):
    """(value, codes for which the server does not take the bytes as JSON)"""
    codes = set()

    def integer(text):
        if len(text) > NUMBER_CHARS_MAX or not -2**63 <= int(text) < 2**64:
            codes.add("bad_number")
            return 0
        return int(text)

    def number(text):
        if len(text) > NUMBER_CHARS_MAX or float(text) in (float("inf"), float("-inf")):
            codes.add("bad_number")
        return Fractional(text)

    def constant(text):
        raise ValueError(text + " is not JSON")

    def members(pairs):
        if len({name for name, _ in pairs}) < len(pairs):
            codes.add("duplicate_member")
        if len(pairs) > MEMBERS_MAX:
            codes.add("too_large")
        return dict(pairs)

    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return None, {"bad_utf8", "bad_json"}
    try:
        value = json.loads(text, parse_int=integer, parse_float=number, parse_constant=constant,
                           object_pairs_hook=members)
    except ValueError:
        return None, JSON_CODES
    if any(has_half_a_pair(t) for t in texts(value)):
        codes.add("bad_utf8")
    if depth(value) > DEPTH_MAX:
        codes.add("too_deep")
    strings = re.findall(r'"((?:[^"\\]|\\.)*)"', text)
    if (len(body) > EVENT_BYTES_MAX or nodes(value) > NODES_MAX
            or any(len(raw.encode("utf-8")) > STRING_BYTES_MAX for raw in strings)):
        codes.add("too_large")
    return value, codes


def children(value):
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def texts(value):
    if isinstance(value, str):
        yield value
    if isinstance(value, dict):
        yield from value
    for child in children(value):
        yield from texts(child)


def depth(value):
    return 1 + max(map(depth, children(value)), default=0) if isinstance(value, (dict, list)) else 0


def nodes(value):
    return 1 + sum(map(nodes, children(value)))


def has_half_a_pair(text):
    return re.search("[\ud800-\udfff]", text) is not None


def is_integer_in_disguise(value):
    return isinstance(value, Fractional) and value.is_integer()


def microseconds(text):
    """The time a datetime of the right shape stands for, or None if there is no such time."""
    year, month, day, hour, minute, second = (int(part) for part in re.split("[-T:]", text[:19]))
    fraction, zone = re.fullmatch(r"(?:\.([0-9]+))?(Z|[+-].*)", text[19:]).groups()
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    lengths = [31, 29 if is_leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    if day > lengths[month - 1]:
        return None

    def leap_days(before):
        return (before + 3) // 4 - (before + 99) // 100 + (before + 399) // 400

    days = year * 365 + leap_days(year) + sum(lengths[:month - 1]) + day - 1
    offset = 0 if zone == "Z" else int(zone[0] + "1") * (int(zone[1:3]) * 60 + int(zone[4:6]))
    seconds = ((days * 24 + hour) * 60 + minute - offset) * 60 + second
    if second == 60 and seconds % 86_400 != 0:
        return None
    if not 0 <= seconds < (10_000 * 365 + leap_days(10_000)) * 86_400:
        return None
    return seconds * 1_000_000 + int(((fraction or "") + "000000")[:6])


def values(payload, field):
    """What a payload says of a field, in any of its spellings; null is nothing."""
    found = []
    for path in field["names"].split("|"):
        value = payload
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None:
            found.append(value)
    return found


def event_codes(event, types):
    """Codes for which the server refuses an event that the schemas accept."""
    codes = set()
    payload, did, kind = event["payload"], event["did"], event["event_type"]
    fields = types[kind]["fields"] if kind in types else []
    by_name = {field["names"].split("|")[0]: values(payload, field) for field in fields}

    if is_integer_in_disguise(event.get("priority")):
        codes.add("wrong_type")
    if event.get("timestamp") is not None and microseconds(event["timestamp"]) is None:
        codes.add("datetime_syntax")
    for field in fields:
        said = values(payload, field)
        if field["type"] == "integer" and any(map(is_integer_in_disguise, said)):
            codes.add("wrong_type")
        if field["type"] == "text" and any(len(value.encode("utf-8")) > field["max"] for value in said):
            codes.add("too_long")
        if field["type"] == "datetime":
            said = [microseconds(value) for value in said]
            if None in said:
                codes.add("datetime_syntax")
        if any(value != said[0] for value in said):
            codes.add("conflicting_spellings")
    if any(uri.split("/")[2] != did for uri in by_name.get("uri", [])):
        codes.add("did_mismatch")
    owner = {"attestation": "attester_did", "account": "did"}.get(kind.split(".")[0])
    if kind in types and any(value != did for value in by_name.get(owner, [])):
        codes.add("did_mismatch")
    if any(did not in pair for pair in by_name.get("participants", [])):
        codes.add("owner_not_participant")
    return codes
