"""Request bodies made from valid ones by seeded changes, most of them near a border of what is valid."""
import copy
import json
import random

BORDERS = ["0", "100", "101", "-1", "3", "4"]
INTEGERS = ["0", "1", "50", "100", "101", "-1", "-0", "1.5", "1e2", "100.0", "0.0", "1E+2", "0.1e1", "1e-2", "true",
            '"50"', "9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616",
            "-9223372036854775808", "-9223372036854775809", "1e999", "-1e999", "1e-999", "0" * 30 + "1", "5" * 64,
            "5" * 65, "0." + "0" * 62, "0." + "0" * 63, "NaN", "null"]
WRONG = [0, 1, -1, True, False, None, "", "x", [], {}, [None], {"a": 1}, ["a", "b"], "null", "\u0000"]
TAILS = ["\n", " ", "\u0000", "\u00e9", "\u2028", "\u0661", "\U0001f600", "\r\n", "\u200b", "'"]
EVENT_TYPES = ["trust.computed", "trust.computedly", "trust.compute", "dead_letter.x", "dead_letter", "job.", "jobs.x",
               "admin.x", "Relationship.created", "relationship.created\n", "", "x" * 128, "x" * 129, "a b", "a/b",
               "\u0430ccount.deleted", "badge.granted"]
EVENT_IDS = ["", "a", "x" * 256, "x" * 257, "a b", "a\n", "._:-/@%#+=~", "\u00e9", "a\"b", "a\\b", "a;b", "a$", None]
PRIORITIES = ["low", "LOW", "Normal", "hIGH", "cRiTiCaL", "urgent", "high ", " low", "", "low\n", "\uff2c\uff2f\uff37",
              "critica\u0131", "2", 0, 1, 2, 3, 4, -1, True, None, [], {}]
REVS = ["jzzzzzzzzzzzz", "jzzzzzzzzzzzy", "2222222222222", "kzzzzzzzzzzzz", "3m6w4jsghk22", "3m6w4jsghk2222",
        "3m6w4jsghk221", "3m6w4jsghk22\n", "3M6W4JSGHK222", "\u0663m6w4jsghk222", "", None]
NAMES = ["eventType", "", "\u00e9", "a/b", "a~b", "prio", "DID", "did ", "payload\u0000", "uri", "timestamp", "id"]


class Mutator:
    def __init__(self, seed, bases, types, syntax):
        self.rng = random.Random(seed)
        self.bases, self.types, self.syntax = bases, types, syntax
        self.weights = [len(base["payload"]) + 1 for base in bases]
        self.changes = [getattr(self, name) for name in sorted(dir(self)) if name.startswith("change_")]
        self.text_changes = [getattr(self, name) for name in sorted(dir(self)) if name.startswith("text_")]

    def bodies(self, count):
        for _ in range(count):
            yield self.body()

    def body(self):
        rng = self.rng
        self.raw = {}
        event = copy.deepcopy(rng.choices(self.bases, self.weights)[0])
        for _ in range(rng.choice([1, 1, 1, 1, 2, 2, 3])):
            self.change(event)
        text = json.dumps(event, ensure_ascii=rng.random() < 0.5, indent=None)
        for placeholder, token in self.raw.items():
            text = text.replace('"' + placeholder + '"', token)
        body = text.encode("utf-8", "surrogatepass")
        return rng.choice(self.text_changes)(body) if rng.random() < 0.06 else body

    def change(self, event):
        """One change, of those that mean something to this event."""
        before = copy.deepcopy(event)
        for _ in range(10):
            self.rng.choice(self.changes)(event)
            if event != before:
                return

    # ---- where

    def fields(self, event, *kinds):
        known = self.types.get(event.get("event_type") if isinstance(event.get("event_type"), str) else None)
        return [f for f in known["fields"] if f["names"] and (not kinds or f["type"] in kinds)] if known else []

    def put(self, event, path, value):
        whole = event.get("payload")
        *outer, name = path.split(".")
        for part in outer:
            if not isinstance(whole, dict):
                return
            whole = whole.setdefault(part, {})
        if isinstance(whole, dict):
            whole[name] = value

    def get(self, event, path):
        value = event.get("payload")
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def set_field(self, event, value, *kinds):
        fields = self.fields(event, *kinds)
        if not fields:
            return
        spellings = self.rng.choice(fields)["names"].split("|")
        used = [path for path in spellings if self.get(event, path) is not None]
        self.put(event, self.rng.choice(used or spellings), value)

    def integer(self):
        token = self.rng.choice(self.rng.choice([BORDERS, INTEGERS]))
        placeholder = "@raw%d@" % len(self.raw)
        self.raw[placeholder] = token
        return placeholder

    def somewhere(self, event):
        payload = event.get("payload")
        return payload if isinstance(payload, dict) and payload and self.rng.random() < 0.7 else event

    # ---- what

    def change_drop(self, event):
        whole = self.somewhere(event)
        if whole:
            del whole[self.rng.choice(sorted(whole))]

    def change_null(self, event):
        whole = self.somewhere(event)
        if whole:
            whole[self.rng.choice(sorted(whole))] = None

    def change_null_spelling(self, event):
        fields = self.fields(event)
        if fields:
            self.put(event, self.rng.choice(self.rng.choice(fields)["names"].split("|")), None)

    def change_wrong_type(self, event):
        whole = self.somewhere(event)
        if whole:
            whole[self.rng.choice(sorted(whole))] = copy.deepcopy(self.rng.choice(WRONG))

    def change_wrong_type_of_field(self, event):
        self.set_field(event, copy.deepcopy(self.rng.choice(WRONG)))

    def change_wrong_type_around_field(self, event):
        if self.fields(event, "did_pair"):
            self.put(event, self.rng.choice(["temporal", "privacy"]), copy.deepcopy(self.rng.choice(WRONG)))

    def change_extra_member(self, event):
        self.somewhere(event)[self.rng.choice(NAMES)] = copy.deepcopy(self.rng.choice(WRONG))

    def change_integer(self, event):
        self.set_field(event, self.integer(), "integer")

    def change_priority_number(self, event):
        event["priority"] = self.integer()

    def change_priority(self, event):
        event["priority"] = copy.deepcopy(self.rng.choice(PRIORITIES))

    def change_choice(self, event):
        fields = self.fields(event, "choice")
        words = sorted({word for f in fields for word in f["choices"]}) or ["x"]
        word = self.rng.choice(words)
        self.set_field(event, self.rng.choice([word, word, word, word.upper(), word + " ", word[:-1], ""]), "choice")

    def change_length(self, event):
        fields = self.fields(event, "text")
        if not fields:
            return
        field = self.rng.choice(fields)
        unit = self.rng.choice(["x", "x", "x", "\u00e9", "\u540d", "\U0001f600"])
        size = self.rng.choice([field["min"], field["max"], field["max"]]) // len(unit.encode())
        text = unit * max(0, size + self.rng.choice([0, 0, 1]))
        self.put(event, self.rng.choice(field["names"].split("|")), text)

    def change_long_member(self, event):
        self.somewhere(event)["note"] = "x" * self.rng.choice([65_536, 65_537])

    def change_did(self, event):
        event["did"] = self.did()

    def change_owner(self, event):
        """Everywhere, so that what depends on it stays consistent."""
        old, new = event.get("did"), self.did()
        if isinstance(old, str) and old.startswith("did:"):
            changed = json.loads(json.dumps(event).replace(json.dumps(old)[1:-1], json.dumps(new)[1:-1]))
            event.clear()
            event.update(changed)

    def change_did_field(self, event):
        self.set_field(event, self.did(), "did")

    def change_participants(self, event):
        own, other, third = event.get("did"), "did:web:example.com", "did:web:example.org"
        pair = self.rng.choice([
            [own, other], [other, own], [other, third], [own, own], [own, self.did()], [self.did(), own], [], [own],
            [own, other, third], [own, copy.deepcopy(self.rng.choice(WRONG))]])
        self.set_field(event, pair, "did_pair")

    def change_uri(self, event):
        self.set_field(event, self.uri(event), "at_uri")

    def change_rev(self, event):
        event["rev"] = self.rng.choice(REVS + self.syntax["tid"])

    def change_timestamp(self, event):
        event["timestamp"] = self.datetime()

    def change_datetime(self, event):
        self.set_field(event, self.datetime(), "datetime")

    def change_event_id(self, event):
        event["event_id"] = self.rng.choice(EVENT_IDS)

    def change_event_type(self, event):
        event["event_type"] = self.rng.choice(EVENT_TYPES + sorted(self.types))

    def change_spelling(self, event):
        """Moves or repeats a field, or says something else in another spelling."""
        fields = [f for f in self.fields(event) if "|" in f["names"]]
        if not fields:
            return
        field = self.rng.choice(fields)
        spellings = field["names"].split("|")
        used = [path for path in spellings if self.get(event, path) is not None]
        value = self.get(event, used[0]) if used else None
        how = self.rng.choice(["move", "repeat", "differ"])
        if how == "move" and used:
            self.put(event, used[0], None)
        if how == "differ":
            value = {"datetime": "2024-02-29T00:00:00Z", "choice": self.rng.choice(field["choices"] or ["x"]),
                     "integer": 7, "at_uri": self.uri(event), "did": self.did()}.get(field["type"], "other")
        elif field["type"] == "datetime" and isinstance(value, str) and value.endswith("Z"):
            value = self.rng.choice([value, value[:-1] + "+00:00"])
        self.put(event, self.rng.choice(spellings), value)

    def change_tail(self, event):
        whole = self.somewhere(event)
        strings = sorted(name for name, value in whole.items() if isinstance(value, str))
        if strings:
            whole[self.rng.choice(strings)] += self.rng.choice(TAILS)

    def change_digits(self, event):
        whole = self.somewhere(event)
        strings = sorted(name for name, value in whole.items() if isinstance(value, str))
        if strings:
            name = self.rng.choice(strings)
            whole[name] = "".join(chr(0x660 + int(c)) if c in "0123456789" else c for c in whole[name])

    def change_depth(self, event):
        value = 1
        for _ in range(self.rng.choice([29, 30, 31, 32])):
            value = [value] if self.rng.random() < 0.5 else {"a": value}
        self.somewhere(event)["note"] = value

    def change_size(self, event):
        count = self.rng.choice([1, 999, 1_000, 1_001])
        payload = event.get("payload")
        if isinstance(payload, dict):
            payload["note"] = {"m%d" % i: 1 for i in range(count)}

    # ---- values

    def did(self):
        long = "did:plc:" + "x" * self.rng.choice([2_040, 2_041])
        return self.rng.choice(self.syntax["did"] + [long, "did:a:b\n", "did:a:\u0661", "", "did:a:b%", "did:a:%"])

    def uri(self, event):
        if self.rng.random() < 0.4:
            return self.rng.choice(self.syntax["aturi"])
        label = self.rng.choice(["com", "x" * 63, "x" * 64, "a-b", "-a", "a-", "1a"])
        last = self.rng.choice(["record", "x" * 63, "x" * 64, "a-b", "a1", "1a", "p\n"])
        nsid = self.rng.choice([label + ".example." + last, "com." + label + "." + last, "a.b", "com.ex." + last,
                                ".".join(["x" * 62] * 4 + ["y" * self.rng.choice([61, 62]), "zz"]) + "z"])
        key = self.rng.choice(["self", ".", "..", "...", "k" * 512, "k" * 513, "a:b", "~", "", "a/b", "\u00e9", "..\n"])
        labels = self.rng.choice(["h" * 63, "h" * 64, "h"])
        handle = self.rng.choice([labels + ".example", "a.1b", ".".join(["h" * 62] * 4) + ".z", "a", "a..b",
                                  ".".join(["h" * 62] * 3 + ["h" * 61]) + ".z"])
        own = event.get("did") if isinstance(event.get("did"), str) else "did:a:b"
        return self.rng.choice(["at://" + authority + path
                                for authority in (own, own, own, self.did(), handle)
                                for path in ("", "/" + nsid, "/com.example.record/" + key, "/")])

    def datetime(self):
        if self.rng.random() < 0.4:
            return self.rng.choice(self.syntax["datetime"])
        pick = self.rng.choice
        if self.rng.random() < 0.2:
            zone = pick(["Z", "+01:00"])
            return "2024-02-29T12:00:00.".ljust(pick([64, 65]) - len(zone), "1") + zone
        year = pick(["0000", "0001", "1900", "2000", "2024", "2025", "2100", "9999"])
        date = year + "-" + pick(["00", "01", "02", "02", "04", "12", "13"]) + "-" + pick(["00", "01", "28", "29", "30",
                                                                                        "31", "32"])
        time = pick(["00:00:00", "23:59:59", "23:59:60", "00:59:60", "12:00:60", "24:00:00", "23:60:00", "07:00:61"])
        return (date + pick("TTTTt ") + time + pick(["", "", ".0", ".123456789", "."])
                + pick(["Z", "Z", "Z", "z", "+00:00", "-00:00", "+01:00", "-01:00", "+23:59", "-23:59", "+24:00", "",
                        "+0100"]))

    # ---- bytes

    def text_escaped(self, body):
        at = self.rng.randrange(len(body))
        c = body[at:at + 1]
        return body[:at] + (b"\\u%04x" % c[0] if c.isalnum() and c.isascii() else c) + body[at + 1:]

    def text_twice(self, body):
        return self.rng.choice([b'{"did":"did:a:b",', b'{"\\u0064id":null,', b'{"x":{"a":1,"a":1},']) + body[1:]

    def text_cut(self, body):
        return body[:self.rng.randrange(len(body))]

    def text_more(self, body):
        return body + self.rng.choice([b"x", b"{}", b" ", b"\t", b",", b"\x00"])

    def text_byte(self, body):
        at = self.rng.randrange(len(body))
        return body[:at] + self.rng.choice([b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\x01", b"\x7f", b'"']) + body[at:]

    def text_half_a_pair(self, body):
        return body.replace(b'"', b'"\\ud800', 2).replace(b'"\\ud800', b'"', 1)

    def text_before(self, body):
        return self.rng.choice([b"\xef\xbb\xbf", b" ", b"[", b"\t\r"]) + body
