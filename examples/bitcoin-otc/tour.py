#!/usr/bin/env python3
"""Asks a running server a few questions about the converted ratings: tour.py EVENTS.ndjson URL KEY_FILE"""
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter, defaultdict

PROJECTION_SECONDS_MAX = 120


class Server:
    def __init__(self, url, key):
        self.url, self.key = url, key
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never a proxy: it is this machine

    def get(self, path, **query):
        request = urllib.request.Request(f"{self.url}{path}?{urllib.parse.urlencode(query)}",
                                         headers={"X-Internal-Key": self.key})
        with self.opener.open(request, timeout=30) as response:
            return json.load(response)


def wait_until_projected(server):
    deadline = time.monotonic() + PROJECTION_SECONDS_MAX
    while sum(server.get("/v1/state")["pending"].values()) > 0:
        if time.monotonic() > deadline:
            sys.exit(f"tour: events are still pending after {PROJECTION_SECONDS_MAX} s")
        time.sleep(0.05)


def survey(path):
    """From the file: per relationship how many attestations it has and how sure they are; per person how many ties."""
    attested, ties = defaultdict(lambda: (0, 0)), Counter()
    with open(path) as file:
        for line in file:
            payload = json.loads(line)["payload"]
            if "target_uri" in payload:
                count, confidence = attested[payload["target_uri"]]
                attested[payload["target_uri"]] = count + 1, confidence + payload["confidence"]
            else:
                ties.update(payload["participants"])
    return attested, ties


def main():
    events, url, key_file = sys.argv[1:]
    with open(key_file) as file:
        server = Server(url, file.read().strip())
    attested, ties = survey(events)
    wait_until_projected(server)

    print("\nthe most attested relationships, and how far to believe them:")
    most = {}  # one of each owner
    for uri in sorted(attested, key=lambda uri: (attested[uri], uri)):
        most[uri.split("/")[2]] = uri
    for uri in sorted(most.values(), key=lambda uri: (attested[uri], uri), reverse=True)[:5]:
        score = server.get("/v1/conviction", uri=uri)["conviction"]
        print(f"  conviction {score['score']:3} of 100: {score['verifyCount']} verify, {score['disputeCount']} dispute"
              f"  {uri}")

    did = max(ties, key=lambda did: (ties[did], did))
    neighbors = server.get("/v1/graph/neighbors", did=did, minStrength=0, limit=5)["neighbors"]
    print(f"\nclosest to {did}, who has {ties[did]} ties, by strength as it is now:")
    for neighbor in neighbors:
        print(f"  {neighbor['effective_strength']:6.2f}  (stated {neighbor['strength']:3})  {neighbor['did']}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, urllib.error.URLError) as error:
        sys.exit(f"tour: {error}")
