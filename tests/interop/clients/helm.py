"""helm: charts as artifacts."""

import servers
from harness import IMMUTABLE, Client, sealstone_only


class Helm(Client):
    name = "helm"
    tools = ("helm",)

    def chart(self, version, word):
        directory = self.home / f"chart-{version}-{word}" / "hello"
        (directory / "templates").mkdir(parents=True)
        (directory / "Chart.yaml").write_text(f"apiVersion: v2\nname: hello\nversion: {version}\ndescription: {word}\n")
        (directory / "templates" / "map.yaml").write_text(f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {word}}}\n")
        self.run("helm", "package", "-d", directory.parent, directory)
        return directory.parent / f"hello-{version}.tgz"

    def place(self, kind):
        return f"oci://{self.host}/{kind}/helm"

    def check_login(self):
        self.run("helm", "registry", "login", "--plain-http", "-u", servers.USER, "--password-stdin", self.host, stdin=servers.PASSWORD, says="Login Succeeded")

    def check_push_pull_and_show(self):
        self.run("helm", "push", "--plain-http", self.chart("1.0.0", "first"), self.place("open/interop"))
        self.run("helm", "pull", "--plain-http", "--version", "1.0.0", "-d", self.home, self.place("open/interop") + "/hello")
        self.run("helm", "show", "chart", "--plain-http", "--version", "1.0.0", self.place("open/interop") + "/hello", says="first")

    def check_newest_version_by_range(self):
        self.run("helm", "push", "--plain-http", self.chart("1.1.0+build.5", "newer"), self.place("open/interop"))
        self.run("helm", "show", "chart", "--plain-http", "--version", "^1.0.0", self.place("open/interop") + "/hello", says="newer")

    @sealstone_only
    def check_an_immutable_tag_stays(self):
        self.run("helm", "push", "--plain-http", self.chart("2.0.0", "original"), self.place(IMMUTABLE))
        self.refused("helm", "push", "--plain-http", self.chart("2.0.0", "changed"), self.place(IMMUTABLE))
