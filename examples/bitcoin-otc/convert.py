#!/usr/bin/env python3
"""Turns the Bitcoin OTC trust ratings into Sluice events, one JSON object a line. README.md says how.

The same CSV and --newest give the same bytes on every machine: all arithmetic is on integers and fractions.
"""
import argparse
import base64
import csv
import functools
import hashlib
import pathlib
import sys
from collections import defaultdict
from datetime import datetime, timedelta, timezone
from fractions import Fraction

SPAN_MICROSECONDS = 190 * 24 * 3600 * 1_000_000
ATTESTATIONS_MAX = 3
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
TID_ALPHABET = "234567abcdefghijklmnopqrstuvwxyz"


def base32(data):
    return base64.b32encode(data).decode().rstrip("=").lower()


@functools.cache
def did_of(node):
    return "did:plc:" + base32(hashlib.sha256(f"bitcoin-otc:{node}".encode()).digest())[:24]


def tid_of(microseconds, line, position):
    # 53 bits of time, then 10 of "clock id": 8 from the line and 2 from the event's position within it.
    value = microseconds << 10 | line % 256 << 2 | position
    return "".join(TID_ALPHABET[value >> shift & 31] for shift in range(60, -1, -5))


def cid_of(data):
    # CIDv1, raw codec, sha2-256 of 32 bytes; "b": base32.
    return "b" + base32(b"\x01\x55\x12\x20" + hashlib.sha256(data).digest())


def envelope(event_type, did, uri, rev, members):
    # The cid is that of the payload as it is written here, without its cid member.
    first = f'{{"uri":"{uri}"'
    cid = cid_of(f"{first},{members}}}".encode())
    return (f'{{"event_type":"{event_type}","payload":{first},"cid":"{cid}",{members}}},'
            f'"did":"{did}","event_id":"{uri}@{rev}","rev":"{rev}"}}\n')


def relationship(rater, ratee, rating, created_at, rev):
    uri = f"at://{rater}/net.rhiz.relationship.record/{rev}"
    members = (f'"participants":["{rater}","{ratee}"],"type":"personal","strength":{50 + 5 * rating},'
               f'"context":"Bitcoin OTC rating {rating:+d}","created_at":"{created_at}"')
    return uri, envelope("relationship.created", rater, uri, rev, members)


def attestation(attester, target, verdict, rating, created_at, rev):
    uri = f"at://{attester}/net.rhiz.relationship.attestation/{rev}"
    members = (f'"attester_did":"{attester}","target_uri":"{target}","attestation_type":"{verdict}",'
               f'"confidence":{10 * abs(rating)},"evidence":null,"suggested_strength":null,'
               f'"created_at":"{created_at}","indexed_at":"{created_at}"')
    return envelope("attestation.created", attester, uri, rev, members)


def read_ratings(path):
    """(rater, ratee, rating, time) per line; time is exact."""
    with open(path, newline="") as file:
        rows = csv.reader(file)
        next(rows)
        return [(rater, ratee, int(rating), Fraction(time)) for rater, ratee, rating, time in rows]


def convert(ratings, newest):
    """Yields the events of every rating in order: its relationship, then its attestations."""
    oldest_time = ratings[0][3]
    scale = SPAN_MICROSECONDS / (ratings[-1][3] - oldest_time or 1)
    oldest = (newest - EPOCH) // timedelta(microseconds=1) - SPAN_MICROSECONDS
    held = defaultdict(list)  # ratee -> (rater, rating, uri) of the relationships others hold with it, oldest first
    last_rev = {}             # rater -> its newest revision

    for line, (rater, ratee, rating, time) in enumerate(ratings):
        microseconds = oldest + int((time - oldest_time) * scale)
        created_at = (EPOCH + timedelta(microseconds=microseconds)).isoformat(timespec="microseconds")[:-6] + "Z"
        me, them = did_of(rater), did_of(ratee)

        rev = tid_of(microseconds, line, 0)
        if rev <= last_rev.get(rater, ""):
            sys.exit(f"line {line + 2}: the revision of {rater} would not rise; are the lines in order of time?")
        uri, event = relationship(me, them, rating, created_at, rev)
        yield event

        others = (entry for entry in reversed(held[ratee]) if entry[0] != rater)
        for position, (_, other_rating, target) in enumerate(others, start=1):
            rev = tid_of(microseconds, line, position)
            verdict = "verify" if (rating > 0) == (other_rating > 0) else "dispute"
            yield attestation(me, target, verdict, rating, created_at, rev)
            if position == ATTESTATIONS_MAX:
                break

        held[ratee].append((rater, rating, uri))
        last_rev[rater] = rev


def utc(text):
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)


def main():
    parser = argparse.ArgumentParser(description="Writes the Bitcoin OTC ratings as Sluice events (NDJSON) to stdout.")
    parser.add_argument("--newest", type=utc, default="2026-01-01T00:00:00Z", metavar="TIME",
                        help="the moment the newest rating is moved to, in UTC (default: %(default)s)")
    parser.add_argument("csv", nargs="?", default=pathlib.Path(__file__).with_name("soc-sign-bitcoinotc.csv"),
                        metavar="CSV", help="rater,ratee,rating,seconds; ordered by time (default: the file beside me)")
    arguments = parser.parse_args()
    sys.stdout.reconfigure(newline="\n")
    sys.stdout.writelines(convert(read_ratings(arguments.csv), arguments.newest))


if __name__ == "__main__":
    main()
