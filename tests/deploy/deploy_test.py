"""What deploy/ and docker-compose.yml promise, as far as it shows without a container engine: their steps are carried
out on this machine where that changes nothing, and everything they name exists and is accepted by the binary."""
import contextlib
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
import time
import unittest
import urllib.parse
import urllib.request

import yaml

SLUICE = os.path.abspath(sys.argv.pop(1))
ROOT = pathlib.Path(__file__).resolve().parents[2]
KEY = "0123456789abcdef0123456789abcdef"


def clean_environment(**more):
    names = ("INTERNAL_API_KEY", "ENVIRONMENT", "DATABASE_URL", "REDIS_URL")
    return {**{name: value for name, value in os.environ.items()
               if not name.startswith("SLUICE_") and name not in names}, **more}


def run(*words, **options):
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300, **options)


def drain_seconds():
    return int(re.search(r"drain_limit = std::chrono::seconds\((\d+)\)", (ROOT / "src/app/serve.cpp").read_text())[1])


def with_dependencies(packages):
    options = ["--no-" + kind for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")]
    listed = run("apt-cache", "depends", "--recurse", "--installed", *options, *packages).stdout.splitlines()
    return {line.partition(":")[0] for line in listed if line[:1].isalnum()}


def listed_packages(use):
    lines = (ROOT / "packaging/debian-12.txt").read_text().splitlines()
    return [package for line in lines if line.startswith(use + ":") for package in line.partition(":")[2].split()]


@contextlib.contextmanager
def serving(directory, environment, *arguments):
    """A server and its port; it is killed if it still runs at the end."""
    log = pathlib.Path(directory) / "log"
    with open(log, "w") as errors, subprocess.Popen(
            [SLUICE, *arguments], env=environment, stdout=subprocess.PIPE, stderr=errors, text=True) as server:
        try:
            port = server.stdout.readline().strip().rpartition(":")[2]
            assert port.isdigit(), log.read_text()
            yield server, port
        finally:
            server.kill()


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

    def test_the_last_stage_has_every_library_of_the_binary_and_names_no_other_package(self):
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
        self.assertEqual(owners - with_dependencies(installed), set())
        self.assertEqual(set(installed) - owners, set())

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
            **self.file.environment, **interpolated(compose["environment"], {"INTERNAL_API_KEY": KEY}),
            "SLUICE_DATA": str(self.directory / "data"), "SLUICE_LISTEN": "127.0.0.1:0"})
        words = json.loads(self.file.last("ENTRYPOINT")) + json.loads(self.file.last("CMD"))
        self.assertEqual(words[0], "sluice")
        check = json.loads(self.file.last("HEALTHCHECK").partition("CMD ")[2])
        self.assertEqual(check[0], "sluice")

        def healthy(port):
            at_port = [re.sub(r":\d+$", ":" + port, word) for word in check[1:]]
            return run(SLUICE, *at_port, env=environment).returncode == 0

        with serving(self.directory, environment, *words[1:]) as (server, port):
            self.assertTrue(healthy(port))
            server.send_signal(getattr(signal, self.file.last("STOPSIGNAL")))
            self.assertEqual(server.wait(int(compose["stop_grace_period"].removesuffix("s"))), 0)
        self.assertFalse(healthy(port))


def interpolated(texts, variables):
    """As Compose does it, with a `.env` of these variables: ${NAME:-} and ${NAME:?what to do}."""
    def value(match):
        name, operator = match[1], match[2]
        if not variables.get(name) and operator == ":?":
            raise KeyError(name)
        return variables.get(name, "")

    return {name: re.sub(r"\$\{(\w+)(:[-?])[^}]*\}", value, text) for name, text in texts.items()}


class Compose(unittest.TestCase):
    def setUp(self):
        self.text = (ROOT / "docker-compose.yml").read_text()
        self.compose = yaml.safe_load(self.text)
        self.services = self.compose["services"]
        self.service = self.services["sluice"]
        self.image = Dockerfile()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)

    def of_profile(self, profile):
        return {name for name, service in self.services.items() if service.get("profiles") == [profile]}

    def test_builds_the_image(self):
        build = self.service["build"]
        self.assertEqual(build, {"context": ".", "dockerfile": "deploy/Dockerfile"})

    def test_the_key_must_be_set_and_the_settings_are_accepted(self):
        environment = self.service["environment"]
        self.assertRegex(environment["INTERNAL_API_KEY"], r"^\$\{INTERNAL_API_KEY:\?.+\}$")
        self.assertEqual(environment["SLUICE_HTTP_OPEN_STATUS"], "true")
        with self.assertRaises(KeyError):
            interpolated(environment, {})
        settings = {**self.image.environment, **interpolated(environment, {"INTERNAL_API_KEY": KEY})}
        checked = run(SLUICE, "config", "check", env=clean_environment(**settings))
        self.assertEqual((checked.returncode, checked.stdout), (0, "ok\n"), checked.stderr)
        settings.pop("INTERNAL_API_KEY")
        self.assertEqual(run(SLUICE, "config", "check", env=clean_environment(**settings)).returncode, 2)

    def test_alone_it_starts_the_server_only_and_everything_is_embedded(self):
        self.assertEqual({name for name, service in self.services.items() if "profiles" not in service}, {"sluice"})
        settings = interpolated(self.service["environment"], {"INTERNAL_API_KEY": KEY})
        self.assertEqual((settings["DATABASE_URL"], settings["REDIS_URL"]), ("", ""))

    def test_profiles_have_what_they_are_for(self):
        self.assertEqual(self.of_profile("pg"), {"postgres"})
        self.assertEqual(self.of_profile("redis"), {"redis"})
        self.assertEqual(self.of_profile("obs"), {"prometheus", "grafana"})
        self.assertRegex(self.services["postgres"]["image"], r"^postgres:15(\.|$)")
        self.assertRegex(self.services["redis"]["image"], r"^redis:7(\.|$)")

    def test_nothing_starts_before_what_it_needs_is_healthy(self):
        for name, service in self.services.items():
            self.assertIn("test", service.get("healthcheck", {"test": "the image's"}))
            self.assertTrue(name == "sluice" or "healthcheck" in service, name)
            for other, how in service.get("depends_on", {}).items():
                self.assertEqual(how["condition"], "service_healthy")
                is_always_there = self.services[other].get("profiles") in (None, service.get("profiles"))
                self.assertEqual(how.get("required", True), is_always_there, (name, other))
        self.assertEqual(set(self.service["depends_on"]), self.of_profile("pg") | self.of_profile("redis"))

    def test_only_this_machine_reaches_anything(self):
        self.assertEqual(self.service["ports"], ["127.0.0.1:8000:" + self.image.last("EXPOSE")])
        ports = [port for service in self.services.values() for port in service.get("ports", [])]
        self.assertTrue(all(port.startswith("127.0.0.1:") for port in ports), ports)
        self.assertFalse(any("ports" in self.services[name] for name in ("postgres", "redis")))

    def test_every_container_may_do_little(self):
        for name, service in self.services.items():
            self.assertIs(service["read_only"], True, name)
            self.assertEqual(service["cap_drop"], ["ALL"], name)
            self.assertIn("no-new-privileges:true", service["security_opt"], name)
            self.assertNotIn("privileged", service)
            self.assertRegex(service["image"], r"^sluice$|^[\w/]+:v?\d[\w.]*$")
            for volume in service.get("volumes", []):
                source, _, target = volume.partition(":")
                if source.startswith("./"):
                    self.assertTrue((ROOT / source).exists() and target.endswith(":ro"), volume)
                else:
                    self.assertIn(source, self.compose["volumes"])

    def test_no_secret_is_here_or_has_a_default(self):
        for name, operator, default in re.findall(r"(?<!\$)\$\{(\w+)(:?[^\w}]?)([^}]*)\}", self.text):
            self.assertTrue(operator == ":?" or (operator, default) == (":-", ""), name)
        for service in self.services.values():
            for name, value in service.get("environment", {}).items():
                if re.search("KEY|PASSWORD|URL", name) and "PATH" not in name:
                    self.assertRegex(value, r"^\$\{\w+:[-?][^}]*\}$", name)

    def written(self, profile):
        """Carries out the lines that the file's head gives for a profile: what is in `.env` then, and the last words."""
        (self.directory / "docker").write_text('#!/bin/sh\necho "$@"\n')
        (self.directory / "docker").chmod(0o700)
        lines = re.findall(r"^#   (\(umask(?:.*\\\n#)?.*)$", self.text, re.MULTILINE)
        line, = [line for line in lines if re.search(r"--profile %s " % profile if profile else "compose up", line)]
        ran = run("sh", "-euc", line.replace("\\\n#", ""), cwd=self.directory,
                  env={"PATH": "%s:%s" % (self.directory, os.environ["PATH"])})
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        env = self.directory / ".env"
        self.assertEqual(env.stat().st_mode & 0o777, 0o600)
        return dict(line.split("=", 1) for line in env.read_text().splitlines()), ran.stdout.strip()

    def test_the_lines_at_its_head_write_all_that_is_asked_for(self):
        variables, asked = self.written(None)
        self.assertEqual((set(variables), asked), ({"INTERNAL_API_KEY"}, "compose up -d"))
        for profile in ("pg", "redis", "obs"):
            variables, asked = self.written(profile)
            self.assertEqual(asked, "compose --profile %s up -d" % profile)
        self.assertEqual(set(variables), set(re.findall(r"(?<!\$)\$\{(\w+)", self.text)))
        for url, password in (("DATABASE_URL", "POSTGRES_PASSWORD"), ("REDIS_URL", "REDIS_PASSWORD")):
            parts = urllib.parse.urlsplit(variables[url])
            self.assertEqual(parts.password, variables[password])
            self.assertIn(parts.hostname, self.services)
        self.assertEqual(len(set(variables.values())), len(variables))
        postgres = self.services["postgres"]["environment"]
        parts = urllib.parse.urlsplit(variables["DATABASE_URL"])
        self.assertEqual((parts.username, parts.path), (postgres["POSTGRES_USER"], "/" + postgres["POSTGRES_DB"]))
        settings = {**self.image.environment, **interpolated(self.service["environment"], variables)}
        checked = run(SLUICE, "config", "check", env=clean_environment(**settings))
        self.assertEqual((checked.returncode, checked.stdout), (0, "ok\n"), checked.stderr)

    def test_redis_asks_for_the_password_and_refuses_to_start_without(self):
        service = self.services["redis"]
        script = service["command"][2].replace("$$", "$")
        self.assertEqual(service["command"][:2], ["sh", "-euc"])
        here = "redis-server - --bind 127.0.0.1 --port 0 --unixsocket %s/s --dir %s" % (self.directory, self.directory)
        script = script.replace("redis-server -", here, 1)
        refused = run("sh", "-euc", script, env={"PATH": os.environ["PATH"], "REDIS_PASSWORD": ""})
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("put REDIS_PASSWORD", refused.stderr)

        check = service["healthcheck"]["test"]
        self.assertEqual(check[0], "CMD-SHELL")
        check = check[1].replace("$$", "$").replace("redis-cli", "redis-cli -s %s/s" % self.directory)
        environment = {"PATH": os.environ["PATH"], "REDIS_PASSWORD": "of-tests-only"}
        with subprocess.Popen(["sh", "-euc", script], env=environment, stdout=subprocess.DEVNULL) as redis:
            try:
                deadline = time.monotonic() + 60
                while run("sh", "-c", check, env=environment).returncode != 0:
                    self.assertLess(time.monotonic(), deadline)
                self.assertNotEqual(run("sh", "-c", check, env={**environment, "REDIS_PASSWORD": "x"}).returncode, 0)
                self.assertNotEqual(run("sh", "-c", check, env={**environment, "REDIS_PASSWORD": ""}).returncode, 0)
                arguments = pathlib.Path("/proc/%d/cmdline" % redis.pid).read_text()
                self.assertNotIn("of-tests-only", arguments)
                redis.terminate()
                self.assertEqual(redis.wait(60), 0)
            finally:
                redis.kill()

    def test_grafana_refuses_to_start_without_a_password(self):
        shell, flags, script = self.services["grafana"]["entrypoint"]
        script = script.replace("$$", "$").replace("/run.sh", "echo started")
        for password, code in (("", 2), ("x", 0)):
            ran = run(shell, flags, script, env={"PATH": os.environ["PATH"], "GF_SECURITY_ADMIN_PASSWORD": password})
            self.assertEqual((ran.returncode, ran.stdout), (code, "" if code else "started\n"))

    def test_what_it_stores_is_in_a_volume_and_nothing_else_is_writable(self):
        volume, = self.service["volumes"]
        name, _, target = volume.partition(":")
        self.assertEqual(target, self.image.last("VOLUME"))
        self.assertIn(name, self.compose["volumes"])

    def test_it_has_time_to_stop(self):
        self.assertGreater(int(self.service["stop_grace_period"].removesuffix("s")), 2 * drain_seconds())


class Observing(unittest.TestCase):
    """Everything that names a metric names one that the server has."""

    @classmethod
    def setUpClass(cls):
        compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["sluice"]
        with tempfile.TemporaryDirectory() as directory:
            environment = clean_environment(**interpolated(compose["environment"], {"INTERNAL_API_KEY": KEY}))
            with serving(directory, environment, "serve", "--listen", "127.0.0.1:0", "--data",
                         directory + "/data") as (_, port):
                config = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())
                job, = config["scrape_configs"]
                target, = job["static_configs"][0]["targets"]
                asked = urllib.request.Request("http://127.0.0.1:%s/metrics" % port, headers={"Host": target})
                with urllib.request.urlopen(asked, timeout=60) as answer:
                    cls.metrics = answer.read().decode()
        cls.job, cls.target, cls.config = job["job_name"], target, config
        # name -> [{label: value}]; a name without samples has none.
        cls.series = {name: [] for name in re.findall(r"^# TYPE (\w+)", cls.metrics, re.MULTILINE)}
        for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? ", cls.metrics, re.MULTILINE):
            cls.series.setdefault(name, []).append(dict(re.findall(r'(\w+)="([^"]*)"', labels)))

    def rules(self):
        group, = yaml.safe_load((ROOT / "deploy/alerts.yml").read_text())["groups"]
        return group["rules"]

    def check_expression(self, expression, labels_used=()):
        names = re.findall(r"\bsluice_\w+", expression)
        self.assertEqual([name for name in names if name not in self.series], [])
        labels = {label for name in names for sample in self.series[name] for label in sample}
        self.assertEqual(set(labels_used) - labels, set(), expression)
        for name, selector in re.findall(r"(sluice_\w+)\{(.*?)\}", expression):
            for label, operator, value in re.findall(r'(\w+)(!?[=~]+)"([^"]*)"', selector):
                values = {sample.get(label) for sample in self.series[name]}
                self.assertLessEqual(set(value.split("|")), values, expression)
        return names

    def test_scraping_finds_the_server(self):
        services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
        host, port = self.target.split(":")
        self.assertIn(host, services)
        self.assertEqual(port, Dockerfile().last("EXPOSE"))
        mounted = dict(volume.split(":")[:2] for volume in services["prometheus"]["volumes"])
        self.assertEqual(mounted["./deploy/prometheus.yml"], "/etc/prometheus/prometheus.yml")
        for name in self.config["rule_files"]:
            self.assertEqual(mounted["./deploy/" + name], "/etc/prometheus/" + name)

    def test_alerts_name_metrics_that_exist_and_steps_that_are_written(self):
        conditions = re.findall(r"^## (.*)\n\n\*Alert:\*", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", condition).lower().replace(" ", "-") for condition in conditions}
        named = set()
        for rule in self.rules():
            labels = re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])
            if not self.check_expression(rule["expr"], labels):
                self.assertEqual(rule["expr"], 'up{job="%s"} == 0' % self.job)
            page, _, anchor = rule["annotations"]["runbook"].partition("#")
            self.assertTrue(page == "docs/runbook.md" and anchor in anchors, rule["alert"])
            self.assertIn(rule["labels"]["severity"], ("page", "ticket"))
            named.add(anchor)
        self.assertEqual(named, anchors, "every condition of the runbook has an alert")

    def test_the_dashboard_names_metrics_that_exist(self):
        dashboard = json.loads((ROOT / "deploy/grafana/dashboards/sluice.json").read_text())
        panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
        self.assertEqual([panel["title"] for panel in dashboard["panels"] if panel["type"] == "row"],
                         ["Admission", "Tiers", "Workers", "Projection", "Log", "Cache"])
        for panel in panels:
            for target in panel["targets"]:
                self.assertTrue(self.check_expression(
                    target["expr"], re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])))
        ids = [panel["id"] for panel in dashboard["panels"]]
        self.assertEqual(len(ids), len(set(ids)))

    def test_grafana_finds_its_data_and_the_dashboard(self):
        services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
        mounted = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
        provisioning = ROOT / "deploy/grafana/provisioning"
        self.assertEqual(mounted["./deploy/grafana/provisioning"], "/etc/grafana/provisioning")
        source, = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())["datasources"]
        address = urllib.parse.urlsplit(source["url"])
        self.assertEqual(services[address.hostname]["ports"][0].rpartition(":")[2], str(address.port))
        provider, = yaml.safe_load((provisioning / "dashboards/sluice.yml").read_text())["providers"]
        self.assertEqual(mounted["./deploy/grafana/dashboards"], provider["options"]["path"])
        text = (ROOT / "deploy/grafana/dashboards/sluice.json").read_text()
        self.assertEqual(set(re.findall(r'"uid": "(\w+)"', text)), {source["uid"], "sluice"})
        home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
        self.assertEqual(home, provider["options"]["path"] + "/sluice.json")

    def test_pages_name_metrics_that_exist(self):
        for page in ("docs/metrics.md", "docs/runbook.md"):
            text = (ROOT / page).read_text().replace("sluice_*", "")
            self.assertGreater(len(self.check_expression(text)), 10)

    def test_prometheus_understands_all_of_it(self):
        promtool = shutil.which("promtool")
        if not promtool:
            print("no promtool here: alerts and metrics were read by this test only", flush=True)
            return
        for words in (("check", "config", "deploy/prometheus.yml"), ("check", "rules", "deploy/alerts.yml"),
                      ("test", "rules", "tests/deploy/alerts_test.yml")):
            checked = run(promtool, *words, cwd=ROOT)
            self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)
        checked = run(promtool, "check", "metrics", input=self.metrics)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)


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
