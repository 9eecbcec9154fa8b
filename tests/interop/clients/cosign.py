"""cosign: a signature as a referrer and as a tag, made with a key pair and without any outside service."""

from harness import Client, CheckFailed, NotHere, sealstone_only


class Cosign(Client):
    name = "cosign"
    tools = ("cosign", "crane")

    def set_up(self):
        self.environment["COSIGN_PASSWORD"] = ""
        self.environment["SIGSTORE_ROOT_FILE"] = "/dev/null"
        self.write_login()
        self.run("cosign", "generate-key-pair")
        self.subject = f"{self.reference('').rstrip(':')}@{self.images.one['digest']}"
        self.run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{self.images.directory}:one", "docker://" + self.reference("one"))

    def plain(self, *words):
        return ("cosign", *words, "--allow-http-registry", "--allow-insecure-registry")

    def check_sign_and_verify(self):
        sign = self.plain("sign", "--yes", "--key", "cosign.key", "--tlog-upload=false", "--use-signing-config=false", self.subject)
        self.run(*sign)
        self.run(*self.plain("verify", "--key", "cosign.pub", "--insecure-ignore-tlog=true", "--private-infrastructure", self.subject))

    def check_tree(self):
        self.run(*self.plain("tree", self.subject))

    def check_sign_twice_with_the_older_tag_scheme(self):
        sign = self.plain("sign", "--yes", "--key", "cosign.key", "--tlog-upload=false", "--use-signing-config=false", "--new-bundle-format=false", self.subject)
        code, _, everything = self.execute(*sign)
        if code != 0 and "unknown flag" in everything:
            raise NotHere("this cosign has no older scheme")
        if code != 0:
            raise CheckFailed(everything[-1500:])
        self.run(*sign)
        self.run(*self.plain("verify", "--key", "cosign.pub", "--insecure-ignore-tlog=true", "--new-bundle-format=false", self.subject))

    def check_a_wrong_key_does_not_verify(self):
        other = self.home / "other"
        other.mkdir()
        self.run("cosign", "generate-key-pair", cwd=other)
        self.refused(*self.plain("verify", "--key", "other/cosign.pub", "--insecure-ignore-tlog=true", "--private-infrastructure", self.subject), says=())

    @sealstone_only
    def check_signature_is_a_referrer(self):
        self.write_login()
        path = f"/v2/{self.repository()}/referrers/{self.images.one['digest']}"
        answer = self.run("curl", "-sSf", "-H", f"Authorization: {self.server.basic()}", self.server.url + path)
        if "sigstore.bundle" not in answer:
            raise CheckFailed(f"no sigstore bundle among the referrers: {answer[:500]}")
