"""The schemas say what the decoder does: on every example, on the protocol's own cases, and on thousands of bodies made
from valid ones. Replay a run with the seed it prints: agreement_test.py DECODE_LINES --seed N [--count N]"""
import argparse
import collections
import copy
import json
import pathlib
import subprocess
import sys
import unittest
import warnings

import jsonschema

import beyond
from mutations import Mutator

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCHEMAS = ROOT / "schemas"
SHARED = {"event", "envelope", "syntax", "relationship.payload", "attestation.payload", "entity.profile.payload"}
SUFFIX = ".schema.json"
PLANTED = [  # what the schemas must not say
    ("syntax", ("$defs", "percentage", "maximum"), 101),
    ("syntax", ("$defs", "percentage", "type"), ["number", "null"]),
    ("syntax", ("$defs", "tid", "pattern"), "^[2-7a-z]{13}$(?!\\n)"),
    ("syntax", ("$defs", "did", "pattern"), "^did:[a-z]+:[A-Za-z0-9._:%-]+$"),
    ("syntax", ("$defs", "datetime", "maxLength"), 63),
    ("envelope", ("additionalProperties",), True),
    ("envelope", ("required",), ["event_type", "did"]),
    ("relationship.payload", ("properties", "participants", "uniqueItems"), False),
    ("relationship.payload", ("properties", "context", "maxLength"), 1999),
    ("relationship.payload", ("properties", "temporal", "properties"), {}),
    ("attestation.payload", ("properties", "subject"), True),
    ("entity.profile.payload", ("$defs", "entity_type", "enum"), ["person", "organization", "agent"]),
]


def load_schemas():
    return {path.name[:-len(SUFFIX)]: json.loads(path.read_text()) for path in SCHEMAS.glob("*" + SUFFIX)}


def make_validators(schemas):
    store = {name + SUFFIX: schema for name, schema in schemas.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return {name: jsonschema.Draft202012Validator(
            schema, resolver=jsonschema.RefResolver(name + SUFFIX, schema, store=store))
            for name, schema in schemas.items()}


def validator_for(validators, event):
    kind = event.get("event_type") if isinstance(event, dict) else None
    return validators[kind if isinstance(kind, str) and kind in OPTIONS.types else "event"]


def decode(bodies):
    run = subprocess.run([OPTIONS.decode_lines], input=b"".join(body + b"\n" for body in bodies), check=True,
                         stdout=subprocess.PIPE)
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(answers) == len(bodies)
    return answers


def disagreement(value, codes, answer, validators):
    """"" where decoder and schemas agree, or differ as schemas/README.md says they do. Also what decided.

    `value` and `codes` are what beyond.read_json says of the body, `answer` is the decoder's."""
    accepted = answer == {}
    if codes:
        ok = not accepted and not answer["is_json"] and answer["code"] in codes
        return "" if ok else "not JSON because of %s" % sorted(codes), "json"
    if not accepted and not answer["is_json"]:
        return "is JSON", "json"
    if not validator_for(validators, value).is_valid(value):
        return "the schema refuses it" if accepted else "", "schema"
    try:
        codes = beyond.event_codes(value, OPTIONS.types)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        return "the schema accepts what makes no sense: %r" % error, "beyond"
    if codes:
        ok = not accepted and answer["code"] in codes
        return "" if ok else "beyond the schema because of %s" % sorted(codes), "beyond"
    return "" if accepted else "the schema accepts it", "accepted"


def examples(verdict):
    return sorted(SCHEMAS.glob("examples/*/" + verdict + "/*.json"))


def compact(path):
    return b" ".join(path.read_bytes().splitlines())


def syntax_cases(name):
    lines = (ROOT / "tests/data/atproto-syntax" / (name + ".txt")).read_text().split("\n")
    return [line for line in lines if line and not line.startswith("#")]


class Schemas(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.schemas = load_schemas()
        cls.validators = make_validators(cls.schemas)

    def test_each_is_valid_itself(self):
        for name, schema in self.schemas.items():
            jsonschema.Draft202012Validator.check_schema(schema)
            self.assertEqual(schema["$id"], name + SUFFIX)

    def test_every_event_type_of_the_program_has_one_and_no_other_does(self):
        self.assertEqual(set(self.schemas) - SHARED, set(OPTIONS.types))
        for kind in OPTIONS.types:
            self.assertEqual(self.schemas[kind]["properties"]["event_type"], {"const": kind})
        branches = [branch["then"]["$ref"] for branch in self.schemas["event"]["allOf"]]
        self.assertEqual(sorted(branches), sorted(kind + SUFFIX for kind in OPTIONS.types))
        for branch in self.schemas["event"]["allOf"]:
            self.assertEqual(branch["if"]["properties"]["event_type"]["const"] + SUFFIX, branch["then"]["$ref"])

    def paths(self, schema, file):
        """The members a payload schema names, as a.b where they are inside others."""
        found = set()
        for part in schema.get("allOf", []) + schema.get("anyOf", []):
            found |= self.paths(part, file)
        if "$ref" in schema:
            name, _, pointer = schema["$ref"].partition("#")
            file = name[:-len(SUFFIX)] if name else file
            target = self.schemas[file]
            for part in pointer.split("/")[1:]:
                target = target[part]
            found |= self.paths(target, file)
        for name, part in schema.get("properties", {}).items():
            inside = self.paths(part, file)
            found |= {name + "." + path for path in inside} or {name}
        return found

    def test_fields_are_those_the_processors_list(self):
        for kind, table in OPTIONS.types.items():
            spellings = {path for field in table["fields"] for path in field["names"].split("|") if path}
            self.assertEqual(self.paths(self.schemas[kind]["properties"]["payload"], kind), spellings, kind)

    def test_required_fields_are_those_the_processors_list(self):
        for kind, table in OPTIONS.types.items():
            for path in (SCHEMAS / "examples" / kind / "accepted").glob("*.json"):
                for i, field in enumerate(table["fields"]):
                    event = json.loads(path.read_text())
                    for spelling in filter(None, field["names"].split("|")):
                        event["payload"].pop(spelling.split(".")[0], None)
                    self.assertEqual(self.validators[kind].is_valid(event), i not in table["required"],
                                     (path.name, kind, field["names"]))

    def test_borders_are_those_the_processors_list(self):
        for kind, table in OPTIONS.types.items():
            base = json.loads((SCHEMAS / "examples" / kind / "accepted/plain.json").read_text())
            for field in table["fields"]:
                at_border = {
                    "integer": [(field["min"], True), (field["max"], True), (field["min"] - 1, False),
                                (field["max"] + 1, False)],
                    "text": [("x" * field["min"], True), ("x" * field["max"], True), ("x" * (field["max"] + 1), False)]
                    + [("", False)] * (field["min"] > 0),
                    "choice": [(word, True) for word in field["choices"]] + [("x", False)],
                }.get(field["type"], [])
                for path in field["names"].split("|"):
                    for value, fits in at_border:
                        event = copy.deepcopy(base)
                        *outer, name = path.split(".")
                        whole = event["payload"]
                        for part in outer:
                            whole = whole.setdefault(part, {})
                        whole[name] = value
                        self.assertEqual(self.validators[kind].is_valid(event), fits, (kind, path, str(value)[:40]))

    def test_the_protocols_own_cases(self):
        def is_valid(definition, text):
            validator = self.validators["syntax"]
            return not list(validator.descend(text, self.schemas["syntax"]["$defs"][definition]))
        for name, definition in (("did", "did"), ("aturi", "at_uri"), ("tid", "tid"), ("datetime", "datetime")):
            for text in syntax_cases(name + "_valid"):
                self.assertTrue(is_valid(definition, text), text)
            for text in syntax_cases(name + "_invalid"):
                self.assertFalse(is_valid(definition, text), text)
        accepted = [text for text in syntax_cases("datetime_parse_invalid") if is_valid("datetime", text)]
        self.assertEqual(accepted, ["0000-01-01T00:00:00+01:00"])
        self.assertIsNone(beyond.microseconds(accepted[0]))

    def test_examples_are_accepted_or_refused_as_they_say(self):
        for verdict in ("accepted", "refused"):
            paths = examples(verdict)
            for path, answer in zip(paths, decode([compact(path) for path in paths])):
                kind = path.parts[-3]
                event = json.loads(path.read_text(), parse_float=beyond.Fractional)
                said = {validators.is_valid(event)
                        for validators in (self.validators[kind], self.validators["event"])}
                self.assertEqual(len(said), 1, path)
                if verdict == "accepted":
                    self.assertEqual((answer, said), ({}, {True}), path)
                    continue
                self.assertEqual(answer.get("code"), path.name.split(".")[0], path)
                if True in said:
                    self.assertIn(answer["code"], beyond.event_codes(event, OPTIONS.types), path)
                    self.assertIn(answer["code"], self.schemas[kind]["$comment"], path)

    def test_every_type_has_examples_and_one_of_each_code_beyond_its_schema(self):
        readme = (SCHEMAS / "README.md").read_text()
        for code in beyond.JSON_CODES | beyond.EVENT_CODES:
            self.assertIn("`" + code + "`", readme)
        self.assertEqual({path.name for path in (SCHEMAS / "examples").iterdir()}, set(OPTIONS.types) | {"event"})
        for kind in OPTIONS.types:
            accepted = [path for path in examples("accepted") if path.parts[-3] == kind]
            self.assertGreaterEqual(len(accepted), 2, kind)
            beyond_schema = set()
            for path in (path for path in examples("refused") if path.parts[-3] == kind):
                event = json.loads(path.read_text(), parse_float=beyond.Fractional)
                if self.validators[kind].is_valid(event):
                    beyond_schema.add(path.name.split(".")[0])
            named = self.schemas[kind]["$comment"].partition(": ")[2].split(", ")
            self.assertEqual(beyond_schema, set(named), kind)


class Agreement(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        print("seed %d, %d bodies" % (OPTIONS.seed, OPTIONS.count), flush=True)
        bases = [json.loads(path.read_text()) for path in examples("accepted")]
        syntax = {name: [line for suffix in suffixes for line in syntax_cases(name + suffix)]
                  for name, suffixes in {"did": ["_valid", "_invalid"], "aturi": ["_valid", "_invalid"],
                                         "tid": ["_valid", "_invalid"],
                                         "datetime": ["_valid", "_invalid", "_parse_invalid"]}.items()}
        mutator = Mutator(OPTIONS.seed, bases, OPTIONS.types, syntax)
        cls.bodies = list(mutator.bodies(OPTIONS.count))
        cls.answers = decode(cls.bodies)
        cls.read = [beyond.read_json(body) for body in cls.bodies]

    def test_decoder_and_schemas_agree(self):
        validators = make_validators(load_schemas())
        found, seen, codes = [], collections.Counter(), collections.Counter()
        for body, answer, (value, bad) in zip(self.bodies, self.answers, self.read):
            wrong, why = disagreement(value, bad, answer, validators)
            seen[why] += 1
            codes[answer.get("code", "accepted")] += 1
            if wrong:
                found.append("%s; the decoder: %s\n  %s" % (
                    wrong, answer or "accepted", body.decode(errors="replace")[:600]))
        print(dict(seen), dict(codes.most_common()), sep="\n", flush=True)
        self.assertEqual(len(found), 0, "%d of %d, the first:\n%s" % (
            len(found), len(self.bodies), "\n".join(found[:10])))
        for why in ("accepted", "schema", "beyond", "json"):
            self.assertGreater(seen[why], OPTIONS.count / 50, why)
        for code in beyond.JSON_CODES | beyond.EVENT_CODES:
            self.assertGreater(codes[code], 0, code)

    def test_a_wrong_schema_is_noticed(self):
        for name, path, wrong in PLANTED:
            schemas = load_schemas()
            whole = schemas[name]
            for part in path[:-1]:
                whole = whole[part]
            self.assertNotEqual(whole[path[-1]], wrong)
            whole[path[-1]] = wrong
            validators = make_validators(schemas)
            noticed = any(disagreement(value, codes, answer, validators)[0]
                          for answer, (value, codes) in zip(self.answers, self.read) if not codes)
            self.assertTrue(noticed, "nothing notices that %s of %s is %s" % ("/".join(path), name, wrong))


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("decode_lines")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=6_000)
    options = parser.parse_args()
    described = subprocess.run([options.decode_lines, "--types"], check=True, stdout=subprocess.PIPE)
    options.types = json.loads(described.stdout)
    return options


if __name__ == "__main__":
    OPTIONS = parse_options()
    unittest.main(argv=sys.argv[:1])
