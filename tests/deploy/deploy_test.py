"""What deploy/ and docker-compose.yml promise, as far as it shows without a container engine: their steps are carried
out on this machine where that changes nothing, and everything they name exists and is accepted by the binary."""
import fnmatch
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

import yaml

SLUICE = os.path.abspath(sys.argv.pop(1))
ROOT = pathlib.Path(__file__).resolve().parents[2]
KEY = "0123456789abcdef0123456789abcdef"


def clean_environment(**more):
    names = ("INTERNAL_API_KEY", "ENVIRONMENT")
    return {**{name: value for name, value in os.environ.items()
               if not name.startswith("SLUICE_") and name not in names}, **more}


def run(*words, **options):
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300, **options)


def drain_seconds():
    return int(re.search(r"drain_limit = std::chrono::seconds\((\d+)\)", (ROOT / "src/app/serve.cpp").read_text())[1])


def listed_packages(use):
    lines = (ROOT / "packaging/debian-12.txt").read_text().splitlines()
    return [package for line in lines if line.startswith(use + ":") for package in line.partition(":")[2].split()]


class Dockerfile:
    def __init__(self):
        text = (ROOT / "deploy/Dockerfile").read_text()
        text = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ")
        self.stages = []
        for line in filter(None, map(str.strip, text.splitlines())):
            word, rest = line.split(None, 1)
            if word == "FROM":
                self.stages.append([])
            self.stages[-1].append((word, rest.strip()))
        self.environment = dict(pair.split("=", 1) for pair in shlex.split(self.last("ENV")))

    def all(self, stage, word):
        return [rest for instruction, rest in self.stages[stage] if instruction == word]

    def last(self, word):
        return self.all(-1, word)[-1]

    def commands(self, stage):
        return [command.strip() for rest in self.all(stage, "RUN") for command in rest.split("&&")]


class Image(unittest.TestCase):
    def setUp(self):
        self.file = Dockerfile()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)

    def test_two_stages_of_debian_12_and_nothing_unknown(self):
        self.assertEqual([stage[0] for stage in self.file.stages], [("FROM", "debian:12 AS build"),
                                                                     ("FROM", "debian:12")])
        known = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "ENV", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK",
                 "ENTRYPOINT", "CMD"}
        self.assertEqual({word for stage in self.file.stages for word, _ in stage} - known, set())

    def copy(self, stage, to):
        """Carries out the COPY instructions of a stage, seeing only what is not ignored."""
        rules = (ROOT / "deploy/Dockerfile.dockerignore").read_text().split()
        self.assertEqual(rules[0], "*")
        for rest in self.file.all(stage, "COPY"):
            *sources, target = shlex.split(rest)
            if sources[0].startswith("--"):
                continue
            for source in sources:
                self.assertTrue(any(fnmatch.fnmatch(source.split("/")[0], rule[1:]) for rule in rules[1:]), source)
                place = to / target.lstrip("/")
                if target.endswith("/"):
                    place = place / source
                place.parent.mkdir(parents=True, exist_ok=True)
                (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, place)

    def test_what_is_copied_is_all_a_build_needs(self):
        self.copy(0, self.directory)
        configure, build = [command for command in self.file.commands(0) if command.startswith("cmake ")]
        configured = run(*shlex.split(configure), cwd=self.directory)
        self.assertEqual(configured.returncode, 0, configured.stderr)
        # What it would run, without compiling again.
        planned = run(*shlex.split(build), "--", "-t", "commands", cwd=self.directory)
        self.assertEqual(planned.returncode, 0, planned.stderr)
        compiled = set(re.findall(r" -c (\S+)$", planned.stdout, re.MULTILINE))
        sources = {path for folder in ("src", "processors") for path in (ROOT / folder).rglob("*.cpp")}
        missing = {path for path in sources if str(self.directory / path.relative_to(ROOT)) not in compiled}
        self.assertEqual(missing, set())
        self.assertTrue(planned.stdout.rstrip().splitlines()[-1].find(" -o sluice ") > 0)

        flag, source, target = shlex.split(self.file.all(-1, "COPY")[-1])
        presets = json.loads((ROOT / "CMakePresets.json").read_text())["configurePresets"]
        folder = [preset["binaryDir"] for preset in presets if preset["name"] == "release"]
        self.assertEqual((flag, source), ("--from=build",
                                          "/".join(self.file.all(0, "WORKDIR") + folder + ["sluice"])))
        self.assertEqual(target, "/usr/bin/sluice")

    def installed(self, stage):
        """What the stage asks apt-get to install."""
        self.copy(stage, self.directory)
        fake = self.directory / "bin/apt-get"
        fake.parent.mkdir()
        fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        fake.chmod(0o700)
        command, = [command for command in self.file.commands(stage) if "xargs" in command]
        command = command.replace(" /usr/share/", " usr/share/")
        asked = run("sh", "-euc", command, cwd=self.directory,
                    env={"PATH": "%s:%s" % (fake.parent, os.environ["PATH"])})
        self.assertEqual((asked.returncode, asked.stderr), (0, ""))
        words = asked.stdout.split()
        self.assertEqual(words[:3], ["install", "-y", "--no-install-recommends"])
        return words[3:]

    def test_the_build_stage_installs_the_packages_listed_for_builds(self):
        self.assertEqual(self.installed(0), listed_packages("build"))

    def test_the_last_stage_has_every_library_of_the_binary_and_no_other_package(self):
        installed = self.installed(1)
        self.assertEqual(installed, listed_packages("run"))
        owners = set()
        for line in run("ldd", SLUICE).stdout.splitlines():
            path = re.search(r"(/\S+) \(0x", line)
            if not path or re.search(r"lib(asan|ubsan)\.so", line):
                continue
            real = os.path.realpath(path[1])
            owner = run("dpkg", "-S", real).stdout or run("dpkg", "-S", real.removeprefix("/usr")).stdout
            owners.add(owner.partition(":")[0])
        self.assertGreater(len(owners), 10)
        self.assertEqual(owners, set(installed))

    def test_nobody_is_root(self):
        user = self.file.last("USER")
        self.assertGreater(int(user), 0)
        useradd, = [command for command in self.file.commands(1) if command.startswith("useradd ")]
        self.assertIn("--uid %s " % user, useradd)
        after_user = [word for word, _ in self.file.stages[-1]]
        self.assertNotIn("COPY", after_user[after_user.index("USER"):])

    def test_addresses_and_directories_fit_together(self):
        self.assertEqual(self.file.environment["SLUICE_DATA"], self.file.last("VOLUME"))
        self.assertEqual(self.file.environment["SLUICE_LISTEN"], "0.0.0.0:" + self.file.last("EXPOSE"))
        self.assertIn('"http://127.0.0.1:%s"' % self.file.last("EXPOSE"), self.file.last("HEALTHCHECK"))
        made = [command for command in self.file.commands(1) if command.startswith("install -d ")]
        self.assertTrue(made[0].endswith(" " + self.file.last("VOLUME")))

    def test_it_serves_is_healthy_and_stops_in_time(self):
        compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["sluice"]
        environment = clean_environment(**{
            **self.file.environment, **compose["environment"], "INTERNAL_API_KEY": KEY,
            "SLUICE_DATA": str(self.directory / "data"), "SLUICE_LISTEN": "127.0.0.1:0"})
        words = json.loads(self.file.last("ENTRYPOINT")) + json.loads(self.file.last("CMD"))
        self.assertEqual(words[0], "sluice")
        check = json.loads(self.file.last("HEALTHCHECK").partition("CMD ")[2])
        self.assertEqual(check[0], "sluice")

        def healthy(port):
            at_port = [re.sub(r":\d+$", ":" + port, word) for word in check[1:]]
            return run(SLUICE, *at_port, env=environment).returncode == 0

        with open(self.directory / "log", "w") as log, subprocess.Popen(
                [SLUICE, *words[1:]], env=environment, stdout=subprocess.PIPE, stderr=log, text=True) as server:
            try:
                port = server.stdout.readline().strip().rpartition(":")[2]
                self.assertTrue(healthy(port), (self.directory / "log").read_text())
                server.send_signal(getattr(signal, self.file.last("STOPSIGNAL")))
                self.assertEqual(server.wait(int(compose["stop_grace_period"].removesuffix("s"))), 0)
            finally:
                server.kill()
        self.assertFalse(healthy(port))


class Compose(unittest.TestCase):
    def setUp(self):
        self.compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
        self.service = self.compose["services"]["sluice"]
        self.image = Dockerfile()

    def test_builds_the_image(self):
        build = self.service["build"]
        self.assertEqual(build, {"context": ".", "dockerfile": "deploy/Dockerfile"})

    def test_the_key_must_be_set_and_the_settings_are_accepted(self):
        environment = dict(self.service["environment"])
        self.assertRegex(environment.pop("INTERNAL_API_KEY"), r"^\$\{INTERNAL_API_KEY:\?.+\}$")
        self.assertTrue(all(isinstance(value, str) and "$" not in value for value in environment.values()))
        self.assertEqual(environment["SLUICE_HTTP_OPEN_STATUS"], "true")
        settings = {**self.image.environment, **environment}
        self.assertEqual(run(SLUICE, "config", "check", env=clean_environment(**settings)).returncode, 2)
        checked = run(SLUICE, "config", "check", env=clean_environment(**settings, INTERNAL_API_KEY=KEY))
        self.assertEqual((checked.returncode, checked.stdout), (0, "ok\n"), checked.stderr)

    def test_only_this_machine_reaches_it(self):
        self.assertEqual(self.service["ports"], ["127.0.0.1:8000:" + self.image.last("EXPOSE")])

    def test_what_it_stores_is_in_a_volume_and_nothing_else_is_writable(self):
        volume, = self.service["volumes"]
        name, _, target = volume.partition(":")
        self.assertEqual(target, self.image.last("VOLUME"))
        self.assertIn(name, self.compose["volumes"])
        self.assertIs(self.service["read_only"], True)
        self.assertEqual(self.service["cap_drop"], ["ALL"])
        self.assertIn("no-new-privileges:true", self.service["security_opt"])

    def test_it_has_time_to_stop(self):
        self.assertGreater(int(self.service["stop_grace_period"].removesuffix("s")), 2 * drain_seconds())


class Unit(unittest.TestCase):
    def setUp(self):
        self.text = (ROOT / "deploy/sluice.service").read_text()
        self.settings = {}
        for line in self.text.splitlines():
            if re.match(r"[A-Z]\w+=", line):
                name, _, value = line.partition("=")
                self.settings.setdefault(name, []).append(value)
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)

    def one(self, name):
        value, = self.settings[name]
        return value

    def test_its_command_is_accepted(self):
        (self.directory / "key").write_text(KEY)
        (self.directory / "key").chmod(0o400)
        self.assertTrue(self.one("LoadCredential").startswith("key:"))
        start = self.one("ExecStart").replace("%S", str(self.directory)).replace("%d", str(self.directory))
        program, verb, *flags = shlex.split(start)
        self.assertEqual((program, verb), ("/usr/bin/sluice", "serve"))
        checked = run(SLUICE, "config", "check", *flags, env=clean_environment(), cwd=self.directory)
        self.assertEqual((checked.returncode, checked.stdout), (0, "ok\n"), checked.stderr)
        data = flags[flags.index("--data") + 1]
        self.assertEqual(data, str(self.directory / self.one("StateDirectory")))

    def test_it_has_time_to_stop(self):
        self.assertGreater(int(self.one("TimeoutStopSec")), 2 * drain_seconds())

    def test_it_is_not_started_again_where_that_cannot_help(self):
        codes = dict(re.findall(r"(\w+) = (\d+),", (ROOT / "src/app/exit_codes.hpp").read_text()))
        hopeless = [codes[name] for name in ("usage", "damaged_log", "newer_format", "already_running")]
        self.assertEqual(self.one("RestartPreventExitStatus").split(), hopeless)
        self.assertEqual(self.one("Restart"), "on-failure")

    def test_it_may_do_little(self):
        for name in ("DynamicUser", "NoNewPrivileges", "MemoryDenyWriteExecute", "PrivateDevices", "PrivateTmp",
                     "ProtectHome", "RestrictNamespaces", "LockPersonality"):
            self.assertEqual(self.one(name), "yes", name)
        self.assertEqual(self.one("ProtectSystem"), "strict")
        self.assertEqual(self.one("CapabilityBoundingSet"), "")
        self.assertEqual(self.one("RestrictAddressFamilies"), "AF_INET AF_INET6")
        self.assertEqual(self.settings["SystemCallFilter"],
                         ["@system-service", "~@privileged @resources", "setpriority"])
        self.assertGreaterEqual(int(self.one("LimitNOFILE")), 65536)

    def test_systemd_understands_it(self):
        if not shutil.which("systemd-analyze"):
            print("no systemd-analyze here: the unit was read by this test only", flush=True)
            return
        unit = self.directory / "sluice.service"
        unit.write_text(self.text.replace("/usr/bin/sluice", SLUICE))
        verified = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit))
        said = verified.stdout + verified.stderr
        self.assertEqual((verified.returncode, [line for line in said.splitlines() if "sluice" in line]), (0, []), said)
        # 0 is safest, 10 is open; in tenths.
        judged = run("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", str(unit))
        self.assertEqual(judged.returncode, 0, judged.stdout[-200:])


if __name__ == "__main__":
    unittest.main()
