"""The command line where it needs no server: settings and where they come from, and shell completions."""
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

SLUICE = os.path.abspath(sys.argv.pop(1))
KEY = "0123456789abcdef0123456789abcdef"
DOCUMENTS_VARIABLES = ("INTERNAL_API_KEY", "ENVIRONMENT", "CACHE_BACKEND", "CACHE_DEFAULT_TTL", "CACHE_MAX_MEMORY_SIZE",
                       "REDIS_URL", "REDIS_TTL", "REDIS_MAX_CONNECTIONS", "DATABASE_URL", "DATABASE_POOL_SIZE",
                       "DATABASE_MAX_OVERFLOW", "DATABASE_POOL_TIMEOUT", "DATABASE_POOL_RECYCLE")
# A value for every setting that is not its default.
CHANGED = {
    "listen": "127.0.0.1:8000", "data": "it's \"here\"\\", "workers": "3", "http.hosts": "a.example,b.example",
    "http.open_status": "true", "http.streams_max": "10", "queue.capacity": "1000", "queue.bytes": "2097152",
    "queue.tier_limits": "80,80,80,80", "queue.producer_share": "50", "queue.wait_ms": "0", "log.reserve_bytes": "0",
    "log.low_water_bytes": "1", "log.reserve_file_bytes": "1048576", "checkpoint.events": "1000",
    "checkpoint.interval": "7", "checkpoint.bytes_per_second": "1048576", "cache.max_keys": "0",
    "cache.max_bytes": "65536", "cache.ttl": "60", "cache.backend": "memory", "redis.connections": "7",
    "redis.timeout_ms": "20", "database.pool_size": "7", "database.pool_overflow": "3", "database.pool_timeout": "5",
    "database.pool_recycle": "60", "database.statement_timeout_ms": "900", "database.slow_query_ms": "20",
    "dedupe.memory_ids": "5000", "dead_letter.max_events": "7", "dead_letter.max_bytes": "1048576",
    "dead_letter.park": "a.b,c.d", "parked.max_events": "9", "conviction.formula": "additive",
    "environment": "007",
}


class Verbs(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)

    def write(self, name, text, mode=0o600):
        path = os.path.join(self.directory.name, name)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def run_sluice(self, *words, program=SLUICE, user=None, **environment):
        clean = {name: value for name, value in os.environ.items()
                 if not name.startswith("SLUICE_") and name not in DOCUMENTS_VARIABLES}
        return subprocess.run([program, *words], cwd=self.directory.name, env={**clean, **environment}, timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, user=user)

    def output(self, *words, **environment):
        run = self.run_sluice(*words, **environment)
        self.assertEqual((run.returncode, run.stderr), (0, ""), words)
        return run.stdout

    def show(self, *words, **environment):
        return json.loads(self.output(*words, "--json", **environment))


class Config(Verbs):
    def test_show_prints_a_file_that_says_the_same(self):
        settings = self.show("config", "show")
        self.assertEqual(set(settings) - {"key", "key_file", "keys_file", "redis.url", "database.url"}, set(CHANGED))
        key_file = self.write("key", KEY + "\n")
        variables = {"SLUICE_" + key.upper().replace(".", "_"): value
                     for key, value in {**CHANGED, "key_file": key_file, "keys_file": "keys"}.items()}
        for environment in ({}, variables):
            before = self.show("config", "show", **environment)
            text = self.output("config", "show", **environment)
            self.write("sluice.toml", text)
            after = self.show("config", "show")
            values = {key: setting["value"] for key, setting in after.items()}
            self.assertEqual(values, {key: setting["value"] for key, setting in before.items()})
            self.assertEqual(self.output("config", "show"), text)
            lines = text.splitlines()
            for key, setting in after.items():
                if setting["origin"] == "file":
                    file, _, line = setting["name"].rpartition(":")
                    self.assertEqual(file, "sluice.toml")
                    self.assertTrue(lines[int(line) - 1].startswith(key.split(".")[-1] + " = "), key)
            os.remove(os.path.join(self.directory.name, "sluice.toml"))
        for key, value in CHANGED.items():
            self.assertEqual(values[key], value)
            self.assertNotEqual(settings[key]["value"], value)

    def test_show_never_prints_the_key(self):
        self.write("sluice.toml", 'key = "%s"\n' % KEY)
        for words in ((), ("--origin",), ("--json",)):
            self.assertNotIn(KEY, self.output("config", "show", *words))

    def test_a_redis_is_used_where_it_is_named_and_its_password_is_never_shown(self):
        url = "redis://:hunter2@cache:6379/1"
        for words in ((), ("--origin",), ("--json",)):
            self.assertNotIn("hunter2", self.output("config", "show", *words, REDIS_URL=url))
        self.assertEqual(self.show("config", "show", REDIS_URL=url)["redis.url"]["value"], "********")
        check = ("config", "check")
        self.assertEqual(self.output(*check, INTERNAL_API_KEY=KEY, REDIS_URL=url), "ok\n")
        self.assertEqual(self.output(*check, INTERNAL_API_KEY=KEY, REDIS_URL=url, CACHE_BACKEND="memory"), "ok\n")
        refused = self.run_sluice(*check, INTERNAL_API_KEY=KEY, CACHE_BACKEND="redis")
        self.assertEqual(refused.returncode, 2)
        self.assertIn("there is no redis.url", refused.stdout + refused.stderr)
        for bad in ("rediss://:hunter2@cache", "redis://:hunter2@cache/x", "hunter2"):
            refused = self.run_sluice(*check, INTERNAL_API_KEY=KEY, REDIS_URL=bad)
            self.assertEqual(refused.returncode, 2)
            self.assertIn("redis.url (environment REDIS_URL)", refused.stdout + refused.stderr)
            self.assertNotIn("hunter2", refused.stdout + refused.stderr)

    def test_of_two_names_of_the_documents_the_first_counts(self):
        ttl = lambda **environment: self.show("config", "show", **environment)["cache.ttl"]
        self.assertEqual(ttl(REDIS_TTL="70")["value"], "70")
        self.assertEqual(ttl(REDIS_TTL="70", CACHE_DEFAULT_TTL="80")["value"], "80")
        self.assertEqual(ttl(REDIS_TTL="70", CACHE_DEFAULT_TTL="")["name"], "REDIS_TTL")

    def test_origin_says_where_each_value_comes_from(self):
        self.write("sluice.toml", "workers = 1\n\n[queue]\ncapacity = 100\nbytes = 2097152\n")
        text = self.output("config", "show", "--origin", "--queue-bytes", "3145728", SLUICE_QUEUE_CAPACITY="200",
                           SLUICE_QUEUE_BYTES="4194304", INTERNAL_API_KEY=KEY)
        origins = {line.split()[0]: " ".join(line.split()[1:]) for line in text.splitlines()}
        self.assertEqual(origins["workers"], "1 file sluice.toml:1")
        self.assertEqual(origins["queue.capacity"], "200 environment SLUICE_QUEUE_CAPACITY")
        self.assertEqual(origins["queue.bytes"], "3145728 flag --queue-bytes")
        self.assertEqual(origins["key"], "******** environment INTERNAL_API_KEY")
        self.assertEqual(origins["listen"], "127.0.0.1:7480 default")

    def test_check_accepts_what_serve_would(self):
        self.assertEqual(self.output("config", "check", INTERNAL_API_KEY=KEY), "ok\n")
        self.assertEqual(self.output("config", "check", "--key-file", self.write("key", KEY)), "ok\n")
        self.assertEqual(json.loads(self.output("config", "check", "--json", INTERNAL_API_KEY=KEY)),
                         {"ok": True, "problems": []})

    def test_a_key_file_open_to_others_is_refused_unless_root_handed_it_over(self):
        key_file = self.write("key", KEY, 0o644)
        self.assertEqual(self.run_sluice("config", "check", "--key-file", key_file).returncode, 2)
        if os.geteuid() != 0:
            return  # only root can hand over
        os.chmod(self.directory.name, 0o755)
        program, nobody = shutil.copy(SLUICE, self.directory.name), 65534
        filesystem = subprocess.run(("stat", "-f", "-c", "%T", key_file), stdout=subprocess.PIPE, text=True).stdout
        everybodys = 0 if filesystem.strip() in ("tmpfs", "ramfs") else 2
        for owner, group, mode, code in ((0, 0, 0o640, 0), (0, 0, 0o644, everybodys), (nobody, nobody, 0o644, 2)):
            os.chown(key_file, owner, group)
            os.chmod(key_file, mode)
            check = self.run_sluice("config", "check", "--key-file", key_file, program=program, user=nobody)
            self.assertEqual(check.returncode, code, (owner, oct(mode), check.stderr))

    def test_every_mistake_in_a_keys_file_is_named_with_its_line(self):
        good = '[indexer-a]\nkey = "%s"\nrate = 100\nwindow = 10\nshare = 50\ntier_cap = "high"\n' % ("a" * 32)
        other = '[b_2]\nkey_file = "%s"\n' % self.write("b", "b" * 32 + "\n")
        keys = os.path.join(self.directory.name, "keys")
        check = ("config", "check", "--keys-file", keys)
        self.write("keys", good + other)
        self.assertEqual(self.output(*check), "ok\n")
        self.assertEqual(self.output(*check, INTERNAL_API_KEY=KEY), "ok\n")
        mistakes = {
            "keys:1: 'INDEXER' cannot be a producer's name": '[INDEXER]\nkey = "%s"\n' % ("c" * 32),
            "keys:1: 'default' cannot be a producer's name": '[default]\nkey = "%s"\n' % ("c" * 32),
            "keys:1: '%s' cannot be" % ("x" * 33): '[%s]\nkey = "%s"\n' % ("x" * 33, "c" * 32),
            "keys:1: 'key' is outside a producer's table": 'key = "%s"\n' % ("c" * 32),
            "keys:1: [c] needs a key or a key_file": "[c]\n",
            "keys:2: a key is a text": "[c]\nkey = 5\n",
            "keys:2: the key is shorter than 16": '[c]\nkey = "short"\n',
            "keys:2: the key is a sample": '[c]\nkey = "dev-internal-key-change-in-prod"\n',
            "keys:2: cannot read key_file": '[c]\nkey_file = "missing"\n',
            "open to others: chmod 600 it": '[c]\nkey_file = "%s"\n' % self.write("open", KEY, 0o644),
            "keys:10: the key is that of b_2 as well": good + other + '[c]\nkey = "%s"\n' % ("b" * 32),
            "keys:2: the key is that of default as well": '[c]\nkey = "%s"\n' % KEY,
            "keys:7: 'scopes' is not known here": good + "scopes = []\n",
            "keys:7: 'tier' is not known here": good + "tier = 1\n",
            "keys:3: rate is not a number": good.replace("100", "0"),
            "keys:3: rate is not a number from": good.replace("100", '"100"'),
            "keys:4: window is not a number": good.replace("10\n", "-1\n", 2).replace("rate = 1-1", "rate = 100"),
            "keys:3: window without rate": good.replace("rate = 100\n", ""),
            "keys:5: share is not a number from 1 to 100": good.replace("share = 50", "share = 101"),
            "keys:6: tier_cap is not low": good.replace("high", "urgent"),
            "keys:2: Error": "[c]\nkey =\n",
            "there are more than 64 producers": "".join('[p%d]\nkey = "%032d"\n' % (n, n) for n in range(65)),
        }
        for problem, text in mistakes.items():
            self.write("keys", text)
            run = self.run_sluice(*check, INTERNAL_API_KEY=KEY)
            self.assertEqual(run.returncode, 2, problem)
            self.assertIn(problem, run.stderr)
            self.assertNotIn("c" * 32, run.stderr)
        self.write("keys", good, 0o644)
        self.assertIn("keys is open to others", self.run_sluice(*check).stderr)
        os.remove(keys)
        self.assertIn("cannot read keys_file", self.run_sluice(*check).stderr)

    def test_check_names_every_problem_and_serve_refuses_each(self):
        key = {"INTERNAL_API_KEY": KEY}
        broken = {
            "serve needs a key": ("", {}),
            "the key is a sample": ("", {"INTERNAL_API_KEY": "dev-internal-key-change-in-prod"}),
            "the key is shorter than 16": ("", {"INTERNAL_API_KEY": "short"}),
            "cannot read key_file": ('key_file = "missing"\n', {}),
            "is open to others: chmod 600 it": ('key_file = "%s"\n' % self.write("open", KEY, 0o644), {}),
            "is empty": ('key_file = "%s"\n' % self.write("empty", ""), {}),
            "listen: 'nowhere' is not HOST:PORT": ('listen = "nowhere"\n', key),
            "listen: 'example.com' is not an IP address": ('listen = "example.com:80"\n', key),
            "sluice.toml:2: prot is not a setting": ("\nprot = 1\n", key),
            "sluice.toml:3: queue.size is not a setting": ("\n[queue]\nsize = 1\n", key),
            "sluice.toml:1: workers is not a text": ("workers = 1.5\n", key),
            "workers (file sluice.toml:1): '257' is not a number from 0 to 256": ("workers = 257\n", key),
            "sluice.toml:1: Error": ("workers =\n", key),
            "SLUICE_PROT is not a setting": ("", {"SLUICE_PROT": "1", **key}),
            "queue.capacity (environment SLUICE_QUEUE_CAPACITY)": ("", {"SLUICE_QUEUE_CAPACITY": "many", **key}),
        }
        for problem, (text, environment) in broken.items():
            self.write("sluice.toml", text)
            for verb in (("config", "check"), ("serve", "--data", "data")):
                run = self.run_sluice(*verb, **environment)
                self.assertEqual(run.returncode, 2, (problem, verb))
                self.assertIn(problem, run.stderr, verb)
        self.assertFalse(os.path.exists(os.path.join(self.directory.name, "data")))

        self.write("sluice.toml", 'listen = "nowhere"\nworkers = -1\n[queue]\nsize = 1\ncapacity = "many"\n')
        run = self.run_sluice("config", "check", "--json", SLUICE_PROT="1")
        self.assertEqual(run.returncode, 2)
        found = json.loads(run.stdout)
        self.assertFalse(found["ok"])
        self.assertEqual(len(found["problems"]), 6, found)
        for word in ("nowhere", "workers", "queue.size", "queue.capacity", "SLUICE_PROT", "serve needs a key"):
            self.assertTrue(any(word in problem for problem in found["problems"]), word)


class Completion(Verbs):
    def tree(self, path=()):
        """(path, verbs, options) of every verb, from the help texts."""
        text = self.output(*path, "--help")
        body, _, verbs = text.partition("\nSubcommands:\n")
        verbs = re.findall(r"^  (\S+)", verbs, re.MULTILINE)
        options = re.findall(r"^  (?:-\w,)?(--[\w-]+)", body, re.MULTILINE)
        yield path, verbs, options
        for verb in verbs:
            yield from self.tree((*path, verb))

    def complete(self, words):
        """What bash offers at the end of these words, the last of which is being typed."""
        script = self.output("completion", "bash") + """
COMP_WORDS=(%s) COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_sluice
printf '%%s\\n' "${COMPREPLY[@]}"
""" % " ".join(shlex.quote(word) for word in ("sluice", *words))
        run = subprocess.run(["bash", "--norc", "-c", script], check=True, stdout=subprocess.PIPE, text=True,
                             stderr=subprocess.PIPE)
        self.assertEqual(run.stderr, "")
        return run.stdout.split()

    def test_bash_offers_every_verb_and_option(self):
        tree = list(self.tree())
        self.assertIn((("config",), ["show", "check"], ["--help"]), tree)
        for path, verbs, options in tree:
            self.assertEqual(self.complete((*path, "--")), options, path)
            if verbs:
                self.assertEqual(self.complete((*path, "")), verbs, path)

    def test_bash_offers_only_what_fits(self):
        self.assertEqual(self.complete(["conf"]), ["config"])
        self.assertEqual(self.complete(["config", "s"]), ["show"])
        self.assertEqual(self.complete(["serve", "--que"]),
                         ["--queue-capacity", "--queue-bytes", "--queue-tier-limits", "--queue-producer-share",
                          "--queue-wait-ms"])
        self.assertEqual(self.complete(["--config", "a.toml", "config", "c"]), ["check"])
        # File names, which bash adds itself.
        self.assertEqual(self.complete(["serve", "--data", ""]), [])
        self.assertEqual(self.complete(["ingest", ""]), [])
        registered = subprocess.run(["bash", "--norc", "-c", self.output("completion", "bash") + "complete -p sluice"],
                                    check=True, stdout=subprocess.PIPE, text=True).stdout
        self.assertEqual(registered, "complete -o default -F _sluice sluice\n")

    def test_zsh_and_fish_know_every_verb_and_option(self):
        zsh, fish = self.output("completion", "zsh"), self.output("completion", "fish")
        for shell, text in (("zsh", zsh), ("fish", fish)):
            if shutil.which(shell):
                subprocess.run([shell, "-n", self.write("completion." + shell, text)], check=True)
        for path, verbs, options in self.tree():
            name = " ".join(("sluice", *path))
            block = re.search(r"^    '%s'\)\n(.*?);;" % name, zsh, re.MULTILINE | re.DOTALL).group(1)
            self.assertEqual(len(re.findall(r"'[\w-]+:", re.search(r"verbs=.*", block)[0])), len(verbs), name)
            lines = [line for line in fish.splitlines() if "= \"%s\"'" % name in line]
            for word in verbs:
                self.assertIn("'%s:" % word, block)
                self.assertTrue(any(" -a %s -d " % word in line for line in lines), (name, word))
            for option in options:
                self.assertIn("'%s:" % option, block)
                self.assertTrue(any(re.search(" -l %s " % option[2:], line) for line in lines), (name, option))

    def test_another_shell_is_refused(self):
        self.assertEqual(self.run_sluice("completion", "tcsh").returncode, 2)


if __name__ == "__main__":
    unittest.main()
